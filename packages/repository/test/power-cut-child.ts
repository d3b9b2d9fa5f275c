/** Works on one repository until it is ended, and tells every step before it begins and once it is done. `node power-cut-child.ts PATH TARGET` */
import { randomBytes } from 'node:crypto';
import { writeSync } from 'node:fs';
import { createFolderRepository } from '../src/index.ts';
import { dump, facts, from, globals, ref as shop, understood } from './store.ts';

const [path = '', target = ''] = process.argv.slice(2);
const ref = { ...shop, target };
const tell = (step: string, id: string): number => writeSync(1, `${step} ${id}\n`);
const uuid = (n: number): string => `01a20000-0000-7000-8000-${n.toString(16).padStart(12, '0')}`;

const repository = await createFolderRepository({ understood, path });
const made: string[] = [];
for (let n = 1; ; n += 1) {
  const backupId = uuid(n);
  tell('publishing', backupId);
  const about = { jobId: uuid(n), attempt: 1, engine: 'postgres', lastgoodVersion: '0.1.0' } as const;
  const writer = await repository.begin({ ref, backupId, startedAt: '2026-01-01T00:00:00Z', ...about }, 'sys');
  await writer.add(dump, from(randomBytes(50_000)));
  await writer.add(globals, from(Buffer.from('create role a;')));
  await writer.publish(facts, '2026-01-01T00:00:01Z');
  tell('published', backupId);
  made.push(backupId);
  await repository.recordVerified(ref, backupId, { level: 4, at: '2026-01-01T00:00:02Z', passed: true });
  tell('verified', backupId);
  if (made.length <= 2) continue;
  const old = made.shift() ?? '';
  tell('removing', old);
  await repository.remove(ref, old, 0);
  tell('removed', old);
  await repository.purge(ref, 1, 0);
  tell('purged', old);
}
