import type { JobView } from '@lastgood/protocol';
import { afterEach, expect, test } from 'vitest';
import { BACKUP_ID, backup, jobIdOf, serve } from './fake-control.ts';
import { run } from './lastgood.ts';

const cleanup: AsyncDisposable[] = [];
afterEach(async () => {
  for (const entry of cleanup.splice(0)) await entry[Symbol.asyncDispose]();
});
const keep = <T extends AsyncDisposable>(entry: T): T => {
  cleanup.push(entry);
  return entry;
};
const done: Partial<JobView> = { state: 'succeeded', createdAt: 1_796_039_949_469, startedAt: 1, endedAt: 2 };
const INSTANT_KEYS = /At$|^startBy$|^since$|^at$|^recoveryPoint$/;

/** The values of all keys that name an instant, however deep. */
function instantsIn(value: unknown): unknown[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) =>
    INSTANT_KEYS.test(key) && typeof inner !== 'object' ? [inner] : instantsIn(inner),
  );
}

test.for([
  [['status'], 'targets'],
  [['jobs', 'list'], 'jobs'],
  [['jobs', 'show', jobIdOf(0)], 'job'],
  [['jobs', 'watch', jobIdOf(0)], 'job'],
  [['backups', 'list'], 'backups'],
  [['backups', 'show', BACKUP_ID], 'backup'],
  [['targets', 'list'], 'targets'],
  [['hosts', 'list'], 'hosts'],
  [['tokens', 'list'], 'tokens'],
  [['audit', 'list'], 'entries'],
] as const)('op-2.12: %j prints one object with a version and ISO times', async ([args, key]) => {
  const served = keep(await serve(() => done));
  await run(served.url, 'backup', 'shop', '--detach');
  const document = JSON.parse((await run(served.url, '--json', ...args)).stdout);
  expect(document).toMatchObject({ version: 1, [key]: expect.any(Object) });
  const instants = instantsIn(document);
  for (const at of instants) expect(at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
  if (key === 'job') expect(instants).toContain('2026-11-30T11:59:09.469Z');
});

test('op-2.12: a failure is one object with a version as well', async () => {
  const ran = await run('http://127.0.0.1:1', '--json', 'hosts', 'list');
  expect(JSON.parse(ran.stdout)).toEqual({
    version: 1,
    error: { code: 'CONTROL_UNREACHABLE', message: expect.any(String), remedy: expect.any(String) },
  });
});

test('a watch of a suspect backup ends with the same status as the backup command', async () => {
  const result = { command: 'backup', backup: { ...backup(BACKUP_ID, 2), state: 'suspect' }, durationMs: 1 } as const;
  const served = keep(await serve(() => ({ ...done, result })));
  expect((await run(served.url, 'backup', 'shop')).status).toBe(4);
  expect((await run(served.url, 'jobs', 'watch', jobIdOf(0))).status).toBe(4);
});
