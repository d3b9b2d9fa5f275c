import { chmod, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { Failure } from '@lastgood/core';
import { type Neo4jServer, type TemporaryFolder, temporaryFolder } from '@lastgood/testkit';
import {
  type AdminContext,
  type BoltTarget,
  boltTargetOf,
  foldersBelow,
  type Neo4jRuntime,
  neo4jConnectionSchema,
  type StoreFolders,
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
