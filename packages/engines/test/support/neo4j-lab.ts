import { chmod, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { Failure } from '@lastgood/core';
import { type Neo4jServer, type TemporaryFolder, temporaryFolder } from '@lastgood/testkit';
import {
  type AdminContext,
  type BoltTarget,
  boltTargetOf,
  dumpDatabase,
  foldersBelow,
  logsOf,
  type Neo4jRuntime,
  neo4jConnectionSchema,
  type StoreFolders,
  storeOf,
} from '../../src/neo4j/index.ts';

export const never = new AbortController().signal;
/** Generous: other tests keep the processors busy. */
export const TOOL_MS = 150_000;

/** A folder that every user can reach, and nobody else can list. */
export async function openFolder(): Promise<TemporaryFolder> {
  const folder = await temporaryFolder();
  await chmod(folder.path, 0o711);
  return folder;
}

export const runtimeOf = ({ programs }: Pick<Neo4jServer, 'programs'>): Neo4jRuntime => ({
  ...programs,
  heapMb: 256,
  pageCacheMb: 64,
  threads: 1,
});
export const storeOfServer = ({ dataFolder }: Pick<Neo4jServer, 'dataFolder'>): StoreFolders =>
  foldersBelow(dataFolder);

/** Runs neo4j-admin on the store of a server as the user who owns it. */
export const adminOf = (
  server: Neo4jServer,
  scratchFolder: string,
  changes: Partial<AdminContext> = {},
): AdminContext => ({
  runtime: runtimeOf(server),
  store: storeOfServer(server),
  user: server.owner,
  scratchFolder,
  signal: never,
  timeoutMs: TOOL_MS,
  stallMs: TOOL_MS,
  ...changes,
});

export const targetOf = (server: Neo4jServer): Promise<BoltTarget> =>
  boltTargetOf(neo4jConnectionSchema.parse(server.connection));

/** A sink that keeps what it gets. */
export class MemorySink extends Writable {
  readonly #chunks: Buffer[] = [];
  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#chunks.push(chunk);
    done();
  }
  get bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }
}
export const streamOf = (bytes: Buffer): Readable => Readable.from([bytes], { objectMode: false });

/** The code with which something failed; a text that fits no code when it did not. */
export const codeOf = async (work: Promise<unknown>): Promise<string> =>
  await work.then(
    () => 'nothing failed',
    (error: unknown) => (error instanceof Failure ? error.code : String(error)),
  );

/** Processes whose arguments name a path. */
export async function processesUnder(path: string): Promise<number[]> {
  const found: number[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name)))
    if ((await readFile(join('/proc', pid, 'cmdline'), 'utf8').catch(() => '')).includes(path)) found.push(Number(pid));
  return found.filter((pid) => pid !== process.pid);
}

/** Every file of a database with its size and time, to see that nothing touched it. */
export async function snapshotStore(store: StoreFolders, database: string): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  for (const folder of [storeOf(store, database), logsOf(store, database)])
    for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
      if (!entry.isFile() || entry.name === 'database_lock') continue;
      const path = join(entry.parentPath, entry.name);
      const { size, mtimeMs, uid } = await stat(path);
      files[path] = `${size} ${mtimeMs} ${uid}`;
    }
  return files;
}

/** Dumps a database into memory. */
export async function dumpOf(admin: AdminContext, database: string): Promise<Buffer> {
  const sink = new MemorySink();
  await dumpDatabase(admin, database, sink);
  return sink.bytes;
}

/** The damages of an archive that a backup must never be believed with. */
export function damagesOf(archive: Buffer): Readonly<Record<string, Buffer>> {
  const flipped = (at: number): Buffer => {
    const copy = Buffer.from(archive);
    copy[at] = (copy[at] ?? 0) ^ 0xff;
    return copy;
  };
  return {
    'cut at 90 %': archive.subarray(0, Math.floor(archive.length * 0.9)),
    'its last 10 bytes cut': archive.subarray(0, -10),
    'a byte flipped in the middle': flipped(Math.floor(archive.length / 2)),
    'a byte flipped near the end': flipped(archive.length - 6),
    'its magic flipped': flipped(0),
    'no bytes at all': Buffer.alloc(0),
    'random bytes': Buffer.from(Array.from({ length: 50_000 }, (_, index) => (index * 7919) % 251)),
  };
}
