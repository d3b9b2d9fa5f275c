import { type ArtifactSink, Bug, type EngineContext, type RestoreTestLimits } from '@lastgood/core';
import { type Sandbox, withSandbox } from '@lastgood/host';
import type { Finding } from '@lastgood/protocol';
import type { RedisConnection } from './connection-schema.ts';
import type { RedisFingerprint } from './fingerprint.ts';
import { type OpenServer, waitingClockOf } from './open-server.ts';
import { findServerProgram } from './programs.ts';
import type { RdbReport } from './rdb-report.ts';
import { readFingerprint } from './read-fingerprint.ts';
import { startScratchServer } from './scratch-server.ts';
import type { EngineFacts } from './stored-backup.ts';

export interface BackupRun {
  readonly connection: RedisConnection;
  readonly limits: RestoreTestLimits;
  readonly server: OpenServer;
  readonly sink: ArtifactSink;
  readonly context: EngineContext;
  readonly digests: boolean;
}

/** What a method has stored. */
export interface TakenBackup {
  /** Milliseconds since the epoch, by the clock of the server. */
  readonly recoveryPoint: number;
  readonly bytes: number;
  readonly tool: string;
  readonly fingerprint: RedisFingerprint | null;
  readonly databases: EngineFacts['databases'];
  /** The RDB file, or that at the start of the base file. */
  readonly rdb: RdbReport | null;
  readonly warnings: readonly Finding[];
}

type Store<T> = (dataDir: string) => Promise<{ readonly value: T; readonly snapshotAt: number }>;

/** Stores a backup and loads a copy of it into a scratch server, which returns its digests. `store` gets the data folder for the copy. */
export async function storeWithDigests<T>(
  run: BackupRun,
  kind: 'rdb' | 'aof',
  store: Store<T>,
): Promise<{ readonly value: T; readonly fingerprint: RedisFingerprint }> {
  const { limits, connection, context } = run;
  // The files are those of the running server: they need no consent where they cannot be contained.
  const request = { limits, scratchUser: connection.scratchUser, needsConsent: false, signal: context.signal };
  return await withSandbox(request, (sandbox) => storeAndLoad(run, kind, store, sandbox));
}

async function storeAndLoad<T>(
  { connection, server, context }: BackupRun,
  kind: 'rdb' | 'aof',
  store: Store<T>,
  sandbox: Sandbox,
): Promise<{ readonly value: T; readonly fingerprint: RedisFingerprint }> {
  const { product, version, memory } = server.facts;
  const stored: { value: T; snapshotAt: number }[] = [];
  await using scratch = await startScratchServer({
    program: await findServerProgram(product, version, connection.binDir, context.signal),
    connection,
    kind,
    place: async (dataDir) => {
      stored.push(await store(dataDir));
    },
    needDiskBytes: memory.usedBytes,
    needMemoryBytes: memory.usedBytes,
    clock: waitingClockOf(context),
    signal: context.signal,
    sandbox,
  });
  const [first] = stored;
  if (first === undefined) throw new Bug('the scratch server was started without files');
  const fingerprint = await readFingerprint({
    connection: scratch.connection,
    snapshotAt: first.snapshotAt,
    digests: true,
    signal: context.signal,
    onProgress: (doneItems) => context.progress({ phase: 'fingerprint', doneBytes: 0, totalBytes: null, doneItems }),
  });
  return { value: first.value, fingerprint };
}
