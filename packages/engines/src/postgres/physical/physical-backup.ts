import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type ArtifactSink, type BackupFacts, type BackupRequest, type EngineContext, Failure } from '@lastgood/core';
import { type Finding, makeFinding } from '@lastgood/protocol';
import { PHYSICAL, physicalOptionsSchema } from '../backup-methods.ts';
import type { PostgresConnection } from '../connection-schema.ts';
import { serverFacts } from '../server.ts';
import { Session } from '../session.ts';
import { awaitStream, type BackupWal, receiveForBackup } from '../wal/backup-wal.ts';
import { formatLsn } from '../wal/lsn.ts';
import { segmentAt, segmentBefore, segmentName } from '../wal/segment-name.ts';
import { BACKUP_WAL_STREAM, WAL_STREAM } from '../wal/streams.ts';
import { ArchiveChecker } from './archive-checker.ts';
import { compareFiles, parseBackupManifest } from './backup-manifest.ts';
import type { BackupEnd, BackupStart } from './base-backup-source.ts';
import type { DamagedPage } from './page-checksums.ts';
import type { PhysicalFacts } from './physical-facts.ts';
import { readFirstSuperuser, readRecoverySettings } from './recovery-settings.ts';
import { ReplicationBaseBackup } from './replication-base-backup.ts';

/** Longer than a stream needs to store a segment, and short enough for a backup that somebody waits for. */
const WAL_WAIT_MS = 10 * 60_000;
const CLOCK = `select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at`;

/** What the server reports before the backup begins. */
interface Source {
  readonly version: string;
  readonly majorVersion: number;
  readonly systemId: string;
  readonly standby: boolean;
  readonly databases: readonly { readonly name: string; readonly sizeBytes: number }[];
  readonly settings: PhysicalFacts['settings'];
  readonly superuser: string;
}

async function readSource(connection: PostgresConnection, signal: AbortSignal): Promise<Source> {
  await using session = await Session.open(connection, connection.database, signal);
  const { version, systemId, standby, databases } = await serverFacts(session);
  return {
    version: version.text,
    majorVersion: version.major,
    systemId,
    standby,
    databases,
    settings: await readRecoverySettings(session),
    superuser: await readFirstSuperuser(session),
  };
}

/** The clock after the end of the backup, and the databases that exist then. */
async function readEnd(
  connection: PostgresConnection,
  signal: AbortSignal,
): Promise<{ readonly at: string; readonly names: ReadonlySet<string> }> {
  await using session = await Session.open(connection, connection.database, signal);
  const { at } = await session.one<{ at: string }>(CLOCK);
  const rows = await session.rows<{ name: string }>('select datname as name from pg_database');
  return { at, names: new Set(rows.map(({ name }) => name)) };
}

interface Copied {
  readonly start: BackupStart;
  readonly end: BackupEnd;
  readonly checker: ArchiveChecker;
  readonly tablespaces: PhysicalFacts['tablespaces'];
}

/** Streams every archive and the manifest of PostgreSQL into the sink, and compares the files with the manifest. */
async function copyServer(
  connection: PostgresConnection,
  options: { readonly fastCheckpoint: boolean; readonly maxRateKb: number | null },
  sink: ArtifactSink,
  context: EngineContext,
): Promise<Copied> {
  const command = {
    label: 'lastgood',
    checkpoint: options.fastCheckpoint ? ('fast' as const) : ('spread' as const),
    maxRateKb: options.maxRateKb,
  };
  await using source = await ReplicationBaseBackup.open(connection, command, context.signal, (progress) =>
    context.progress({ phase: 'dump', ...progress }),
  );
  const start = await source.start();
  const checker = new ArchiveChecker(start.hasChecksums ? start : null);
  const tablespaces: PhysicalFacts['tablespaces'][number][] = [];
  for await (const { tablespace, content } of source.archives()) {
    const { name } = await sink.add({ role: 'archive', contents: null, extension: 'tar' }, (to) =>
      pipeline(checker.check(tablespace.oid, content), to, { signal: context.signal }),
    );
    tablespaces.push({ oid: tablespace.oid, location: tablespace.location, object: name });
  }
  const end = await source.finish();
  const { files } = parseBackupManifest(end.manifest);
  const [difference] = compareFiles(files, withoutUnlisted(checker));
  if (difference !== undefined)
    throw new Failure(
      'BACKUP_CORRUPT',
      `the server sent the file ${difference.path} other than its own manifest lists it (${difference.code})`,
    );
  await sink.add({ role: 'manifest', contents: null, extension: 'json' }, (to) =>
    pipeline(Readable.from([end.manifest]), to),
  );
  return { start, end, checker, tablespaces };
}

/** PostgreSQL does not list its manifest and the WAL. */
export function withoutUnlisted({ files }: ArchiveChecker): ReadonlyMap<string, { sizeBytes: number; sha256: string }> {
  return new Map([...files].filter(([path]) => path !== 'backup_manifest' && !path.startsWith('pg_wal/')));
}

export function damagedPages(count: number, [first]: readonly DamagedPage[]): Finding[] {
  if (first === undefined) return [];
  return [makeFinding('SOURCE_PAGES_DAMAGED', null, { pages: count, block: first.block, path: first.path })];
}

/**
 * A physical backup of the whole cluster. It counts when its WAL, from the start to the end of the backup, is in the repository. With a
 * stream (`streamed`) the backup waits for the stream; without one it receives that WAL itself.
 */
export async function backupPhysical(
  connection: PostgresConnection,
  request: Pick<BackupRequest, 'contents' | 'options'>,
  streamed: boolean,
  sink: ArtifactSink,
  context: EngineContext,
): Promise<BackupFacts> {
  const options = physicalOptionsSchema.parse(request.options);
  if (request.contents !== null)
    throw new Failure('BAD_INPUT', 'a physical backup holds the whole server, not single databases', {
      remedy: 'Leave the databases out, or use the method "logical".',
    });
  context.progress({ phase: 'snapshot', doneBytes: 0, totalBytes: null });
  const source = await readSource(connection, context.signal);
  const stream = streamed ? WAL_STREAM : BACKUP_WAL_STREAM;
  const log = sink.log(stream);
  await using wal: BackupWal = streamed
    ? awaitStream(log, WAL_WAIT_MS, context)
    : await receiveForBackup(connection, log, WAL_WAIT_MS, context);
  const { start, end, checker, tablespaces } = await copyServer(connection, options, sink, context);
  const { at: finishedAt, names } = await readEnd(connection, context.signal);
  await wal.untilStored(start.startLsn, end.endLsn, end.timeline, start.segmentBytes);
  const { segmentBytes } = start;
  const facts: PhysicalFacts = {
    timeline: end.timeline,
    startLsn: formatLsn(start.startLsn),
    endLsn: formatLsn(end.endLsn),
    finishedAt,
    majorVersion: source.majorVersion,
    segmentBytes,
    blockBytes: start.blockBytes,
    hasChecksums: start.hasChecksums,
    checkedPages: checker.checkedPageCount,
    standby: source.standby,
    superuser: source.superuser,
    tablespaces,
    settings: source.settings,
  };
  return {
    method: PHYSICAL.method,
    recoveryPoint: finishedAt,
    tool: { name: 'BASE_BACKUP', version: source.version },
    server: { version: source.version, systemId: start.systemId },
    contents: source.databases
      .filter(({ name }) => names.has(name))
      .map(({ name, sizeBytes }) => ({ kind: 'database', name, bytes: sizeBytes })),
    dependsOn: [],
    logRange: {
      stream,
      from: segmentName(start.timeline, segmentAt(start.startLsn, segmentBytes), segmentBytes),
      to: segmentName(end.timeline, segmentBefore(end.endLsn, segmentBytes), segmentBytes),
    },
    engineFacts: facts,
    warnings: damagedPages(checker.damagedPageCount, checker.damagedPages),
  };
}
