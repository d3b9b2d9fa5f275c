import type { ArtifactSink, EngineContext } from '@lastgood/core';
import { type AdminContext, dumpDatabase } from './admin-tool.ts';
import type { GraphFingerprint } from './fingerprint.ts';
import type { DatabaseFacts } from './server-facts.ts';
import { SYSTEM_DATABASE } from './store-folders.ts';
import type { Neo4jTarget } from './target.ts';

/** A fingerprint of the running server, and the transaction that it belongs to. */
export interface LiveFingerprint {
  readonly transaction: number;
  readonly fingerprint: GraphFingerprint;
}
/** What all ways of a backup work with. */
export interface BackupRun {
  readonly target: Neo4jTarget;
  readonly admin: AdminContext;
  readonly databases: readonly DatabaseFacts[];
  readonly digests: boolean;
  readonly live: ReadonlyMap<string, LiveFingerprint>;
  readonly sink: ArtifactSink;
  readonly context: EngineContext;
}
/** The store of one database as it is dumped. */
export interface StoreState {
  readonly name: string;
  readonly storeFormat: string;
  readonly lastTransaction: number;
}
export interface DumpedDatabase extends StoreState {
  /** Size of the unpacked store. */
  readonly storeBytes: number;
  readonly dumpBytes: number;
}
/** What one way of a backup has done. */
export interface TakenBackup {
  readonly dumped: readonly DumpedDatabase[];
  /** How long (ms) the server did not work. */
  readonly pauseMs: number;
  /** The instant (ms since the epoch) that the backup brings back. */
  readonly takenAt: number;
  /** What the graphs contain; a database that could not be counted is missing. */
  readonly fingerprints: ReadonlyMap<string, GraphFingerprint>;
}

/** Dumps one database of a clean store into the backup. */
export async function addDump(run: BackupRun, admin: AdminContext, state: StoreState): Promise<DumpedDatabase> {
  const { name } = state;
  let sizes = { storeBytes: 0, dumpBytes: 0 };
  await run.sink.add({ role: 'dump', contents: name, extension: 'dump' }, async (sink) => {
    const { bytes, archiveBytes } = await dumpDatabase(admin, name, sink);
    sizes = { storeBytes: bytes, dumpBytes: archiveBytes };
  });
  return { ...state, ...sizes };
}

/**
 * The fingerprints of what was dumped. That of the running server counts when nothing was committed between it and the dump; otherwise
 * `count` reads the graph from a copy, or nobody does.
 */
export async function fingerprintsOf(
  { live }: BackupRun,
  dumped: readonly StoreState[],
  count: ((state: StoreState) => Promise<GraphFingerprint>) | null,
): Promise<Map<string, GraphFingerprint>> {
  const found = new Map<string, GraphFingerprint>();
  for (const state of dumped) {
    if (state.name === SYSTEM_DATABASE) continue;
    const before = live.get(state.name);
    if (before?.transaction === state.lastTransaction) found.set(state.name, before.fingerprint);
    else if (count !== null) found.set(state.name, await count(state));
  }
  return found;
}
