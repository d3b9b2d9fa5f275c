import { chown, mkdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type ArtifactSource, type EngineContext, Failure } from '@lastgood/core';
import { storeFailure, type ToolCall } from '@lastgood/host';
import type { Manifest } from '@lastgood/protocol';
import type { PostgresConnection } from '../connection-schema.ts';
import { type PhysicalFacts, physicalFactsOf } from '../physical/physical-facts.ts';
import { findTools } from '../tools.ts';
import type { StoredWal } from '../wal/stored-wal.ts';
import { type RecoveredServer, recoverServer } from './recovery.ts';
import type { RecoveryPlan } from './target.ts';
import { type StoredArchive, type UnixUser, unpackServer } from './unpack.ts';
import { WalPrefetch } from './wal-prefetch.ts';

/** Segments that wait to be replayed. */
const AHEAD = 8;

/** The size of the unpacked backup, about. */
export const unpackedBytes = ({ objects }: Pick<Manifest, 'objects'>): number =>
  objects.filter(({ role }) => role === 'archive').reduce((sum, { produced }) => sum + produced.size, 0);

/** What the segments in flight need beside the backup. */
export const aheadBytes = ({ segmentBytes }: PhysicalFacts): number => (AHEAD + 2) * segmentBytes;

/** The folder of the server programs of a major version. Throws TOOL_NOT_FOUND. */
export async function findServerPrograms(
  connection: PostgresConnection,
  majorVersion: number,
  signal: AbortSignal,
): Promise<string> {
  const { path, version } = await findTools(connection.binDir, signal, majorVersion);
  const hasServer = await stat(join(path, 'postgres')).then(
    (found) => found.isFile(),
    () => false,
  );
  if (version.major !== majorVersion || !hasServer)
    throw new Failure(
      'TOOL_NOT_FOUND',
      `the server programs of PostgreSQL ${majorVersion} were not found on this host`,
      {
        remedy: `Install the package postgresql-${majorVersion}, or set binDir of the target.`,
      },
    );
  return path;
}

export interface CopyOptions {
  readonly backup: ArtifactSource;
  readonly plan: RecoveryPlan;
  readonly stored: StoredWal;
  /** Private; gets the folders `data` and `tablespaces`, and while the recovery runs `config` and `wal`. */
  readonly folder: string;
  /** Private and short, for the socket. */
  readonly socketFolder: string;
  readonly binDir: string;
  /** Who runs the server; null for ourselves. */
  readonly user: UnixUser | null;
  /** Contains the server of a restore test; null for a server that is restored. */
  readonly contain: ((call: ToolCall) => ToolCall) | null;
  readonly isDurable: boolean;
  readonly connection: PostgresConnection;
  readonly context: EngineContext;
}

async function* archivesOf({ manifest, open }: ArtifactSource, signal: AbortSignal): AsyncGenerator<StoredArchive> {
  for (const { oid, location, object: name } of physicalFactsOf(manifest).tablespaces) {
    const object = manifest.objects.find((each) => each.name === name);
    if (object === undefined) throw new Failure('MANIFEST_INVALID', `the backup has no object ${name}`);
    yield { tablespaceOid: oid, location, content: open(object, signal) as AsyncIterable<Buffer> };
  }
}

/** Unpacks a backup into a folder and recovers it to the stop of the plan, where it pauses. Errors as `unpackServer` and `recoverServer`. */
export async function recoverCopy(options: CopyOptions): Promise<RecoveredServer> {
  const { backup, plan, stored, folder, user, connection, context } = options;
  const facts = physicalFactsOf(backup.manifest);
  const totalBytes = unpackedBytes(backup.manifest);
  const at = (name: string): string => join(folder, name);
  try {
    for (const name of ['data', 'config', 'wal', 'tablespaces']) {
      await mkdir(at(name), { mode: 0o700 });
      if (user !== null) await chown(at(name), user.uid, user.gid);
    }
  } catch (error) {
    throw storeFailure(error, folder);
  }
  let doneBytes = 0;
  await unpackServer(archivesOf(backup, context.signal), {
    dataFolder: at('data'),
    tablespaceFolder: (oid) => at(`tablespaces/${oid}`),
    owner: user,
    limitBytes: totalBytes,
    signal: context.signal,
    onBytes: (bytes) => {
      doneBytes += bytes;
      context.progress({ phase: 'restore', doneBytes, totalBytes });
    },
  });
  const prefetch = new WalPrefetch({
    folder: at('wal'),
    files: plan.files,
    histories: stored.histories,
    segmentBytes: facts.segmentBytes,
    ahead: AHEAD,
    owner: user,
    source: stored.source,
  });
  return await recoverServer({
    plan,
    dataFolder: at('data'),
    configFolder: at('config'),
    socketFolder: options.socketFolder,
    binDir: options.binDir,
    majorVersion: facts.majorVersion,
    user,
    contain: options.contain,
    settings: facts.settings,
    preloadLibraries: '',
    isDurable: options.isDurable,
    prefetch,
    connection,
    superuser: facts.superuser,
    clock: context.clock,
    signal: context.signal,
    stallMs: connection.stallMs,
    onProgress: () =>
      context.progress({
        phase: 'replay',
        doneBytes: prefetch.fetched * facts.segmentBytes,
        totalBytes: plan.files.length * facts.segmentBytes,
      }),
  });
}

/** Removes what only the recovery needed. */
export async function removeRecoveryFolders(folder: string): Promise<void> {
  for (const name of ['config', 'wal']) await rm(join(folder, name), { recursive: true, force: true });
}
