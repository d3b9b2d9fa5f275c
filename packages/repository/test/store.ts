/** What the tests of this package share: one target's backups, made as an agent makes them. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import {
  type BackupFacts,
  type BackupMethodSupport,
  type BackupWriter,
  Failure,
  type Repository,
} from '@lastgood/core';
import { captureTool, uuidv7 } from '@lastgood/host';

export const ref = { environment: 'test', host: 'db-1', target: 'shop' };
export const dump = { role: 'dump', contents: 'shop', extension: 'dump' } as const;
export const globals = { role: 'globals', contents: null, extension: 'sql' } as const;
export const facts: BackupFacts = {
  method: 'logical',
  recoveryPoint: '2026-01-01T00:00:00Z',
  contents: [{ kind: 'database', name: 'shop', bytes: 16 }],
  dependsOn: [],
  logRange: null,
  tool: { name: 'pg_dump', version: '15.18' },
  server: { version: '15.18', systemId: 'sys' },
  engineFacts: {},
  warnings: [],
};
/** What this version can restore, as the tests see it. */
export const understood: readonly BackupMethodSupport[] = [
  { engine: 'postgres', method: 'logical', roles: ['dump', 'globals'] },
];
export const never = new AbortController().signal;

export const from = (bytes: Buffer) => (sink: Writable) => pipeline(Readable.from([bytes]), sink);
export const targetOf = (path: string): string => join(path, ref.environment, ref.host, ref.target);
export const folderOf = (path: string, backupId: string): string => join(targetOf(path), 'backups', backupId);

export async function begin(repository: Repository, backupId = uuidv7(), systemId = 'sys'): Promise<BackupWriter> {
  const about = { jobId: uuidv7(), attempt: 1, engine: 'postgres', lastgoodVersion: '0.1.0' } as const;
  return await repository.begin({ ref, backupId, startedAt: '2026-01-01T00:00:00Z', ...about }, systemId);
}

/** The partial file that a put of an object is writing. */
export async function partialOf(folder: string, object: string): Promise<string> {
  const names = await readdir(folder).catch(() => []);
  return join(folder, names.find((name) => name.startsWith(`${object}.`) && name.endsWith('.partial')) ?? '');
}

/** A published backup of two objects. */
export async function publish(repository: Repository, content = Buffer.from('rows of the shop')): Promise<string> {
  const backupId = uuidv7();
  const writer = await begin(repository, backupId);
  await writer.add(dump, from(content));
  await writer.add(globals, from(Buffer.from('create role a;')));
  await writer.publish(facts, '2026-01-01T00:00:01Z');
  return backupId;
}

/** The failure that this work ended with, or what it ended with instead. */
export async function failureOf(work: Promise<unknown>): Promise<Failure | string> {
  return await work.then(
    () => 'nothing was refused',
    (error: unknown) => (error instanceof Failure ? error : String(error)),
  );
}

/** The output of child.ts for one call on the repository, below strace when calls are traced or injected. */
export async function inChild(strace: readonly string[], ...args: readonly string[]): Promise<unknown> {
  const node = [process.execPath, new URL('child.ts', import.meta.url).pathname, ...args];
  const [file = '', ...rest] = strace.length === 0 ? node : ['/usr/bin/strace', '-f', '-qq', ...strace, ...node];
  const env = { UV_THREADPOOL_SIZE: '1' };
  const { stdout } = await captureTool({ file, args: rest, env, signal: never, timeoutMs: 60_000 });
  return JSON.parse(stdout);
}
