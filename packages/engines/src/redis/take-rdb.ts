import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { Failure } from '@lastgood/core';
import { CONTENT } from './backup-method.ts';
import { toFinding } from './catalog-findings.ts';
import { FanOut } from './fan-out.ts';
import { compareFingerprints, fingerprintOf, snapshotTimeOf } from './fingerprint.ts';
import { waitingClockOf } from './open-server.ts';
import { copyRdbFile } from './rdb-file.ts';
import { judgeRdb, type RdbReport } from './rdb-report.ts';
import { dumpByReplication } from './replication-dump.ts';
import { SCRATCH_FILES } from './scratch-server.ts';
import { rdbPathOf, serverFilesOf } from './server-files.ts';
import { takeSnapshot } from './snapshot.ts';
import { type BackupRun, storeWithDigests, type TakenBackup } from './taken-backup.ts';

/** Writes one snapshot of the server into the sink, and walks it. */
type WriteSnapshot = (sink: Writable) => Promise<RdbReport>;

/** Lets the server write its snapshot, or prepares to fetch one as a replica does. */
async function prepareSnapshot({ connection, server, context }: BackupRun): Promise<WriteSnapshot> {
  const { session, facts } = server;
  const { signal } = context;
  const onBytes = (doneBytes: number): void => context.progress({ phase: 'dump', doneBytes, totalBytes: null });
  if (!connection.fileAccess)
    return async (sink) => await dumpByReplication({ connection, serverVersion: facts.version, onBytes, signal }, sink);
  const files = serverFilesOf(facts.settings, connection.dataDir);
  if (files === null)
    throw new Failure('DATABASE_REFUSED', 'the agent may not ask the server where its files are', {
      remedy: 'Grant +config|get to the ACL user of the agent, or set fileAccess to false.',
    });
  const { notBefore } = await takeSnapshot(session, {
    clock: waitingClockOf(context),
    signal,
    timeoutMs: connection.snapshotMs,
  });
  return async (sink) => await copyRdbFile({ path: rdbPathOf(files), notBefore, onBytes, signal }, sink);
}

/** Stores the snapshot. `copyTo`: a file that gets the same bytes. */
async function storeSnapshot({ sink }: BackupRun, write: WriteSnapshot, copyTo: string | null): Promise<RdbReport> {
  let report: RdbReport | undefined;
  await sink.add({ role: 'rdb', contents: CONTENT.name, extension: 'rdb' }, async (out) => {
    const copy = copyTo === null ? null : createWriteStream(copyTo, { flags: 'wx', mode: 0o600 });
    report = await write(copy === null ? out : new FanOut([out, copy]));
  });
  if (report === undefined) throw new Failure('TOOL_FAILED', 'no snapshot was stored');
  return report;
}

const databasesOf = ({ counts }: RdbReport): TakenBackup['databases'] =>
  Object.fromEntries(
    Object.entries(counts.databases).map(([number, { keys, expires }]) => [number, { keys, expires }]),
  );

/** Stores a snapshot of the server. */
export async function takeRdb(run: BackupRun): Promise<TakenBackup> {
  const { connection, context } = run;
  const startedAt = context.clock.now();
  const write = await prepareSnapshot(run);
  const { value: report, fingerprint } = run.digests
    ? await storeWithDigests(run, 'rdb', async (dataDir) => {
        const value = await storeSnapshot(run, write, join(dataDir, SCRATCH_FILES.rdb));
        return { value, snapshotAt: snapshotTimeOf(value) };
      })
    : { value: await storeSnapshot(run, write, null), fingerprint: null };
  const counted = fingerprintOf(report);
  if (counted !== null && fingerprint !== null) {
    const { findings } = compareFingerprints(counted, fingerprint, context.clock.now());
    if (findings.length > 0)
      throw new Failure('TOOL_FAILED', 'a scratch server holds other keys than the snapshot that it has loaded', {
        remedy: 'Check the memory and the disk of the host, then take the backup again.',
      });
  }
  return {
    recoveryPoint: snapshotTimeOf(report) || startedAt,
    bytes: report.bytes,
    tool: connection.fileAccess ? 'BGSAVE' : 'SYNC',
    fingerprint: fingerprint ?? counted,
    databases: report.uncounted === null ? databasesOf(report) : null,
    rdb: report,
    warnings: judgeRdb(report).map((found) => toFinding(found)),
  };
}
