import { type ArtifactSource, type EngineContext, Failure, type RestoreTestLimits } from '@lastgood/core';
import { type Sandbox, withSandbox } from '@lastgood/host';
import { type Finding, formatFinding, makeFinding, type VerificationFinding } from '@lastgood/protocol';
import { artifactsOf, type DatabaseArtifacts, databasesOf, encodingOf, globalsOf, sizeOf } from './artifacts.ts';
import { compareFingerprints } from './compare-fingerprints.ts';
import type { PostgresConnection } from './connection-schema.ts';
import { STABLE_SETTINGS, takeFingerprint } from './fingerprint.ts';
import { nameOf, statementsOf, withoutGrantor, withoutPassword } from './globals.ts';
import { loadDump } from './load.ts';
import {
  refreshMaterializedViews,
  reportUnrefreshed,
  type UnrefreshedView,
  withoutUnrefreshed,
} from './materialized-views.ts';
import { isRefusal } from './messages/server-failure.ts';
import { choosePreloads, type Preloads } from './preloaded-libraries.ts';
import { createDatabase, giveProperties } from './properties.ts';
import { startScratch } from './scratch-server.ts';
import { Session } from './session.ts';
import { findServerPrograms, parseVersion, type ToolFolder } from './tools.ts';
import { findingsOf } from './verification-verdict.ts';

const MAX_DIFFERENCES = 20;
const MAX_LISTED = 10;

interface RestoreTestRequest {
  readonly limits: RestoreTestLimits;
  readonly source: ArtifactSource;
  readonly connection: PostgresConnection;
  /** They read the dump. */
  readonly tools: ToolFolder;
  readonly context: EngineContext;
}
/** A restore test that this host can run. */
export interface RestoreTest extends RestoreTestRequest {
  readonly server: ToolFolder;
  readonly databases: readonly DatabaseArtifacts[];
  readonly preloads: Preloads;
  readonly remarks: readonly Finding[];
}

/**
 * Checks that this host can test the backup on a server of the source's own major version: on another one a test shows nothing about
 * the source. Throws RESTORE_TEST_IMPOSSIBLE.
 */
export async function prepareRestoreTest(request: RestoreTestRequest): Promise<RestoreTest> {
  const { source, connection, context } = request;
  const { major } = parseVersion(source.manifest.server.version);
  const server = await findServerPrograms(connection.binDir, major, context.signal);
  if (server === null)
    throw new Failure('RESTORE_TEST_IMPOSSIBLE', `this host has no server programs of PostgreSQL ${major}`, {
      remedy: `This says nothing about the backup. Install the server programs of PostgreSQL ${major} (Debian: postgresql-${major}), or verify to level 3.`,
    });
  const databases: DatabaseArtifacts[] = [];
  for (const database of databasesOf(source)) databases.push(await artifactsOf(source, database, context.signal));
  const preloads = choosePreloads(
    databases.map(({ fingerprint }) => fingerprint),
    connection.preloadLibraries,
  );
  const remarks = [
    makeFinding('TESTED_ON', null, { version: server.version.text }),
    ...(preloads.missing.length === 0
      ? []
      : [makeFinding('PRELOADED_LIBRARIES_NOT_LOADED', null, { libraries: preloads.missing })]),
    ...databases.flatMap(({ database, fingerprint: { uncovered } }) =>
      uncovered.length === 0
        ? []
        : [
            makeFinding('EXTENSION_RELATIONS_NOT_COMPARED', null, {
              database,
              count: uncovered.length,
              relations: uncovered.slice(0, MAX_LISTED),
            }),
          ],
    ),
  ];
  return { ...request, server, databases, preloads, remarks };
}

/** Without these a role is not what it was. Everything else (settings, comments, memberships) a restore leaves out when a server refuses it. */
const MAKES_ROLE = /^(?:CREATE ROLE|ALTER ROLE) ("(?:[^"]|"")*"|[a-z_][a-z0-9_$]*)(?:$| WITH )/;
/** Settings of the session that are ours, and tablespaces, whose folders belong to the source. */
const NOT_OF_ROLES = /^(SET |(CREATE|ALTER|COMMENT ON|GRANT .* ON|REVOKE .* ON) TABLESPACE )/;

/** Roles first, as a person would do it. Their passwords stay outside. */
async function loadGlobals(source: ArtifactSource, scratch: PostgresConnection, context: EngineContext): Promise<void> {
  const statements = statementsOf(await globalsOf(source, context.signal));
  await using session = await Session.open(scratch, scratch.database, context.signal);
  for (const statement of statements.filter((each) => !NOT_OF_ROLES.test(each)))
    await session.run(withoutPassword(withoutGrantor(statement))).catch((error: unknown) => {
      if (!isRefusal(error)) throw error;
      const [, role] = MAKES_ROLE.exec(statement) ?? [];
      if (role !== undefined)
        throw new Failure('RESTORE_FAILED', `role "${nameOf(role)}" cannot be created: ${error.message}`, {
          cause: error,
        });
      context.log(`left out of the roles: ${error.message}`);
    });
}

/** Loads one database as a restore does; returns the materialized views that stayed empty, which are no verdict on the backup. */
async function loadDatabase(
  { source, tools, server, context }: RestoreTest,
  artifacts: DatabaseArtifacts,
  scratch: PostgresConnection,
): Promise<UnrefreshedView[]> {
  const { database, dump, properties } = artifacts;
  await using session = await Session.open(scratch, scratch.database, context.signal);
  const exists = await session.rows('select from pg_database where datname = $1', [database]);
  if (exists.length > 0) await session.run(`drop database ${quote(database)}`);
  await session.run(createDatabase(properties, database, null, server.version.major));
  await loadDump({ connection: scratch, tools, source, dump, into: database, args: ['--no-tablespaces'] }, context);
  const roles = new Set(
    (await session.rows<{ name: string }>('select rolname as name from pg_roles')).map((role) => role.name),
  );
  const unrefreshed = await refreshMaterializedViews(scratch, database, artifacts, context);
  for (const view of unrefreshed) context.log(`${database}: ${formatFinding(reportUnrefreshed(view))}`);
  for (const warning of await giveProperties(session, properties, database, roles))
    context.log(`${database}: ${formatFinding(warning)}`);
  return unrefreshed;
}
const quote = (name: string): string => `"${name.replaceAll('"', '""')}"`;

/**
 * Levels 4 to 6: each database loads, its counts are those of the source, its contents equal the source. Each has a scratch server and a
 * sandbox of its own: the code of its owner reaches no other database, and is gone before the next one is loaded (E5).
 */
export async function testRestore(level: number, test: RestoreTest): Promise<VerificationFinding[]> {
  const { limits, connection, context, databases } = test;
  const request = { limits, scratchUser: connection.scratchUser, needsConsent: true, signal: context.signal };
  const findings: VerificationFinding[] = [];
  for (const artifacts of databases)
    findings.push(...(await withSandbox(request, (sandbox) => testDatabase(level, test, artifacts, sandbox))));
  return findings;
}

async function testDatabase(
  level: number,
  test: RestoreTest,
  artifacts: DatabaseArtifacts,
  sandbox: Sandbox,
): Promise<VerificationFinding[]> {
  const { source, connection, context, server, preloads } = test;
  const needBytes = 200_000_000 + sizeOf(source, artifacts.database);
  const options = { needBytes, encoding: encodingOf(source), preloads, sandbox };
  await using scratch = await startScratch(connection, server, options, context);
  const findings = await findingsOf(4, null, () => loadGlobals(source, scratch.connection, context));
  let unrefreshed: UnrefreshedView[] = [];
  const loading = await findingsOf(
    4,
    artifacts.dump.name,
    async () => {
      unrefreshed = await loadDatabase(test, artifacts, scratch.connection);
    },
    preloads.missing,
  );
  findings.push(...loading);
  if (loading.length > 0 || level < 5) return findings;
  context.progress({ phase: 'compare', doneBytes: 0, totalBytes: null });
  return [...findings, ...(await compareWithSource(level, artifacts, unrefreshed, scratch.connection, context))];
}

/** Levels 5 and 6: how a restored database differs from its source. */
async function compareWithSource(
  level: number,
  { database, dump, fingerprint }: DatabaseArtifacts,
  unrefreshed: readonly UnrefreshedView[],
  scratch: PostgresConnection,
  context: EngineContext,
): Promise<VerificationFinding[]> {
  const { digests, digestOf } = fingerprint;
  const unequipped: VerificationFinding[] =
    level === 6 && !digests
      ? [
          {
            level: 6,
            object: null,
            ...makeFinding('FINGERPRINT_WITHOUT_DIGESTS', { kind: 'database', name: database }),
          },
        ]
      : [];
  await using session = await Session.open(scratch, database, context.signal);
  await session.run('begin isolation level repeatable read');
  await session.run(STABLE_SETTINGS);
  const found = await takeFingerprint(session, level === 6 && digests, () => undefined, digestOf);
  const differences = compareFingerprints(withoutUnrefreshed(fingerprint, unrefreshed), found)
    .filter((difference) => difference.level <= level)
    .slice(0, MAX_DIFFERENCES);
  return [
    ...unequipped,
    ...differences.map(({ level: at, finding }) => ({ level: at, object: dump.name, ...finding })),
  ];
}
