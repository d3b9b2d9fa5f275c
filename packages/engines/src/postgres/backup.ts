import { Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type ArtifactSink, type BackupFacts, type BackupRequest, type EngineContext, Failure } from '@lastgood/core';
import { type Finding, makeFinding } from '@lastgood/protocol';
import { LOGICAL, logicalOptionsSchema } from './backup-methods.ts';
import type { PostgresConnection } from './connection-schema.ts';
import { type BackupRun, dumpGlobals, dumpSnapshot } from './dump.ts';
import {
  type Fingerprint,
  holdTables,
  refuseReshaped,
  STABLE_SETTINGS,
  sequencesOf,
  tablesByOid,
  takeFingerprint,
  widenSequences,
} from './fingerprint.ts';
import { readProperties } from './properties.ts';
import { type DatabaseSize, openServer } from './server.ts';
import { Session } from './session.ts';
import { refuseUnreadableNames, warnOfUserMappings } from './unreachable-contents.ts';
import { codeOwners } from './untrusted-code-owners.ts';

const writeText = (text: string) => (sink: Writable) => pipeline(Readable.from([Buffer.from(text)]), sink);

interface DumpedDatabase {
  readonly fingerprint: Fingerprint;
  readonly sizeBytes: number;
  readonly dumpBytes: number;
  readonly warnings: readonly Finding[];
}

/** Settings with which a server gives damaged pages as empty ones or as they are, without an error: no backup could tell. */
async function refuseDamageMaskingSettings(session: Session): Promise<void> {
  const blind = await session.rows<{ name: string }>(
    "select name from pg_settings where name in ('zero_damaged_pages', 'ignore_checksum_failure') and setting = 'on'",
  );
  if (blind.length === 0) return;
  const names = blind.map(({ name }) => name).join(' and ');
  throw new Failure('DATABASE_REFUSED', `${names} is on: rows on damaged pages would be missing without a word`, {
    remedy: `Take ${names} back to off for the backup, or dump what is left by hand with pg_dump.`,
  });
}

/** One database: properties, dump and fingerprint, all of one exported snapshot. */
async function backupDatabase(
  run: BackupRun,
  database: DatabaseSize,
  dumped: (bytes: number) => void,
): Promise<DumpedDatabase> {
  const { connection, server, digests, sink, context } = run;
  await using session = await Session.open(connection, database.name, context.signal);
  await session.run('begin isolation level repeatable read read only');
  await session.run(`${STABLE_SETTINGS}; set local lock_timeout = ${connection.lockWaitMs}`);
  await refuseDamageMaskingSettings(session);
  await refuseUnreadableNames(session, database.name);
  const unread = await warnOfUserMappings(session, database.name);
  const { snapshot } = await session.one<{ snapshot: string }>('select pg_export_snapshot() as snapshot');
  const tables = await tablesByOid(session);
  const properties = await readProperties(session, server.facts.version.major);
  const before = await sequencesOf(session);
  let dumpBytes = 0;
  let holding: Promise<void> | undefined;
  let taking: Promise<Fingerprint> | undefined;
  const take = async (): Promise<Fingerprint> => {
    await holding;
    return await takeFingerprint(session, digests, (done, all) =>
      context.progress({ phase: 'fingerprint', doneBytes: 0, totalBytes: null, doneItems: done, totalItems: all }),
    );
  };
  const warnings = await dumpSnapshot(
    run,
    { session, properties, name: snapshot, tables },
    {
      bytes: (bytes) => {
        // The first bytes come when pg_dump holds its locks.
        holding ??= holdTables(session).catch(() => undefined);
        dumpBytes += bytes;
        dumped(bytes);
      },
      // The server has nothing to do while the dump is made durable and read back: it gives the fingerprint.
      ended: () => {
        taking = take();
        taking.catch(() => undefined);
      },
    },
  );
  const taken = await (taking ?? take());
  const fingerprint = await widenSequences(session, {
    ...taken,
    sequences: before,
    codeOwners: await codeOwners(session),
  });
  await using later = await Session.open(connection, database.name, context.signal);
  await refuseReshaped(session, later);
  await session.run('commit');
  await sink.add(
    { role: 'properties', contents: database.name, extension: 'json' },
    writeText(`${JSON.stringify(properties)}\n`),
  );
  await sink.add(
    { role: 'fingerprint', contents: database.name, extension: 'json' },
    writeText(`${JSON.stringify(fingerprint)}\n`),
  );
  return { fingerprint, sizeBytes: database.sizeBytes, dumpBytes, warnings: [...unread, ...warnings] };
}

function choose(all: readonly DatabaseSize[], wanted: readonly string[] | null): DatabaseSize[] {
  if (wanted === null) return [...all];
  return [...new Set(wanted)].map((name) => {
    const found = all.find((database) => database.name === name);
    if (found === undefined) throw new Failure('NOT_FOUND', `the server has no database "${name}"`);
    return found;
  });
}

/** A logical backup of the chosen databases (all when null), one snapshot each, with globals. */
export async function backup(
  connection: PostgresConnection,
  request: Pick<BackupRequest, 'contents' | 'options'>,
  sink: ArtifactSink,
  context: EngineContext,
): Promise<BackupFacts> {
  const { digests } = logicalOptionsSchema.parse(request.options);
  context.progress({ phase: 'snapshot', doneBytes: 0, totalBytes: null });
  await using server = await openServer(connection, context);
  const databases = choose(server.facts.databases, request.contents);
  if (databases.length === 0) throw new Failure('NOT_FOUND', 'the server has no database to back up');
  const run: BackupRun = { connection, server, digests, sink, context };
  const totalBytes = databases.reduce((sum, database) => sum + database.sizeBytes, 0);
  let doneBytes = 0;
  const dumped: DumpedDatabase[] = [];
  for (const database of databases) {
    dumped.push(
      await backupDatabase(run, database, (bytes) => {
        doneBytes += bytes;
        context.progress({ phase: 'dump', doneBytes, totalBytes });
      }),
    );
  }
  context.progress({ phase: 'globals', doneBytes, totalBytes });
  const globals = await dumpGlobals(run);
  const warnings = [...server.warnings, ...dumped.flatMap((one) => one.warnings), ...globals.warnings];
  const [first] = dumped;
  if (request.contents === null)
    for (const name of server.facts.closed)
      warnings.push(makeFinding('DATABASE_NOT_CONNECTABLE', { kind: 'database', name }));
  if (server.facts.standby) warnings.push(makeFinding('STANDBY_UNLOGGED_TABLES', null));
  return {
    method: LOGICAL.method,
    recoveryPoint: first?.fingerprint.snapshotAt ?? new Date(context.clock.now()).toISOString(),
    tool: { name: 'pg_dump', version: server.tools.version.text },
    server: { version: server.facts.version.text, systemId: server.facts.systemId },
    contents: dumped.map(({ fingerprint, dumpBytes }) => ({
      kind: 'database',
      name: fingerprint.database,
      bytes: dumpBytes,
    })),
    dependsOn: [],
    logRange: null,
    engineFacts: {
      digests,
      standby: server.facts.standby,
      encoding: globals.encoding,
      databases: dumped.map(({ fingerprint, sizeBytes }) => ({
        name: fingerprint.database,
        sizeBytes,
        snapshotAt: fingerprint.snapshotAt,
        tables: fingerprint.tables.length,
        rows: fingerprint.tables.reduce((sum, table) => sum + Number(table.rows), 0),
      })),
    },
    warnings,
  };
}
