import { Readable, type Writable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import {
  type BackupFacts,
  type BackupMethodSupport,
  type BackupWriter,
  Bug,
  Failure,
  type ObjectStore,
  type Repository,
} from '@lastgood/core';
import { uuidv7 } from '@lastgood/host';
import { FaultyStore } from '../object-store/faulty-store.ts';
import { resealManifest } from '../reseal-manifest.ts';

export interface RepositoryUnderTest extends AsyncDisposable {
  /** The medium, initially empty. */
  readonly store: ObjectStore;
  /** Creates a repository in a store, or opens the existing one. */
  open(
    store: ObjectStore,
    options: { readonly writer: string; readonly understood: readonly BackupMethodSupport[] },
  ): Promise<Repository>;
}

/** The repository and stores that the tests use. */
export interface Parts {
  readonly under: () => RepositoryUnderTest;
  /** The store of the repository, with injected faults. */
  readonly faulty: () => FaultyStore;
  readonly repository: () => Repository;
}

export const HOLD = { reason: 'before the migration', by: 'alice', at: '2026-01-02T00:00:00Z' };
export const ref = { environment: 'test', host: 'db-1', target: 'shop' };
export const METHOD: BackupMethodSupport = { engine: 'any', method: 'whole', roles: ['dump', 'globals'] };
export const never = new AbortController().signal;
export const facts: BackupFacts = {
  method: METHOD.method,
  recoveryPoint: '2026-01-01T00:00:00Z',
  contents: [{ kind: 'database', name: 'shop', bytes: 16 }],
  dependsOn: [],
  logRange: null,
  tool: { name: 'tool', version: '1' },
  server: { version: '1', systemId: 'sys' },
  engineFacts: {},
  warnings: [],
};
export const DUMP = Buffer.from('rows of the shop');
const GLOBALS = Buffer.from('create role a;');

export const writeBytes =
  (bytes: Buffer) =>
  async (sink: Writable): Promise<void> =>
    await pipeline(Readable.from([bytes]), sink);
export const dump = { role: 'dump', contents: 'shop', extension: 'dump' } as const;
const globals = { role: 'globals', contents: null, extension: 'sql' } as const;

export async function begin(
  repository: Repository,
  backupId: string = uuidv7(),
  systemId = 'sys',
): Promise<BackupWriter> {
  const about = { jobId: uuidv7(), attempt: 1, engine: METHOD.engine, lastgoodVersion: '0.1.0' };
  return await repository.begin({ ref, backupId, startedAt: '2026-01-01T00:00:00Z', ...about }, systemId);
}

/** Publishes a backup of two objects. */
export async function publish(
  repository: Repository,
  more: Partial<BackupFacts> = {},
  backupId: string = uuidv7(),
): Promise<string> {
  const writer = await begin(repository, backupId);
  await writer.add(dump, writeBytes(DUMP));
  await writer.add(globals, writeBytes(GLOBALS));
  await writer.publish({ ...facts, ...more }, '2026-01-01T00:00:01Z');
  return backupId;
}

export async function namesOf(store: ObjectStore, prefix = ''): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of store.list(prefix)) names.push(name);
  return names.sort();
}

export async function listed(repository: Repository): Promise<{ good: string[]; broken: string[] }> {
  const { backups, broken } = await repository.list(ref);
  return {
    good: backups.map(({ manifest }) => manifest.backupId),
    broken: broken.map(
      ({ backupId, removed, error: { code, message } }) =>
        `${backupId} ${removed ? 'removed, and never purged: ' : ''}${code}: ${message}`,
    ),
  };
}

export const verify = (repository: Repository, backupId: string, level: 0 | 1 = 1) =>
  repository.verify(ref, backupId, level, never, () => undefined);

/** The bytes of the first object of a backup, as its tool produced them. */
export async function contentOf(repository: Repository, backupId: string): Promise<Buffer> {
  const { manifest, open } = await repository.open(ref, backupId);
  const [object] = manifest.objects;
  if (object === undefined) throw new Bug(`backup ${backupId} has no object`);
  return await buffer(open(object, never));
}

export const codeOf = async (work: Promise<unknown>): Promise<string> =>
  await work.then(
    () => 'succeeded',
    (error: unknown) => (error instanceof Failure ? error.code : String(error)),
  );

export const backupPrefix = (backupId: string): string => `test/db-1/shop/backups/${backupId}/`;
export const FIRST_OBJECT = 'data/0001.dump.zst';
export const read = async (store: ObjectStore, name: string): Promise<Buffer> => await buffer(await store.get(name));

/** Changes one object without the repository, like damage or another program. */
export async function change(store: ObjectStore, name: string, how: (bytes: Buffer) => Buffer): Promise<void> {
  await store.put(name, how(Buffer.from(await read(store, name))));
}
export const flipMiddle = (bytes: Buffer): Buffer => {
  const at = bytes.length >> 1;
  bytes.writeUInt8(bytes.readUInt8(at) ^ 4, at);
  return bytes;
};

/** Rewrites a manifest with a matching checksum, as another version would write it. */
export async function rewriteManifest(store: ObjectStore, backupId: string, more: object): Promise<void> {
  await change(store, `${backupPrefix(backupId)}manifest.json`, (bytes) =>
    Buffer.from(resealManifest(bytes.toString(), more)),
  );
}

export interface Crash {
  /** The change during which the process dies, counted from 1. */
  readonly change: number;
  readonly when: 'before' | 'after';
}

/**
 * Runs an operation repeatedly, each time on a new medium, and simulates a crash before and after each change that it makes to the store.
 * `check` then opens the medium as a new process would.
 */
export async function crashEverywhere<T>(
  make: () => Promise<RepositoryUnderTest>,
  prepare: (repository: Repository) => Promise<T>,
  work: (repository: Repository, prepared: T, under: RepositoryUnderTest, store: FaultyStore) => Promise<unknown>,
  check: (repository: Repository, under: RepositoryUnderTest, prepared: T, crash: Crash) => Promise<void>,
): Promise<number> {
  const options = { writer: 'ours', understood: [METHOD] };
  for (let count = 1; ; count += 1)
    for (const when of ['before', 'after'] as const) {
      await using under = await make();
      const prepared = await prepare(await under.open(under.store, options));
      const faulty = new FaultyStore(under.store);
      const repository = await under.open(faulty, options);
      const first = faulty.calls.filter(({ change }) => change !== null).length;
      let crashed = false;
      faulty.inject = (call) => {
        if (call.change !== first + count) return undefined;
        crashed = true;
        faulty.kill(when);
        return undefined;
      };
      await work(repository, prepared, under, faulty).catch((error: unknown) => {
        if (!(error instanceof Failure)) throw error;
      });
      if (!crashed) return count - 1;
      await check(await under.open(under.store, options), under, prepared, { change: count, when });
    }
}
