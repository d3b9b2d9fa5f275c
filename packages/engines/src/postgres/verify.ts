import { join } from 'node:path';
import { type ArtifactSource, type EngineContext, Failure, type VerifyOutcome } from '@lastgood/core';
import { runTool, ToolFailure } from '@lastgood/host';
import {
  type Finding,
  findingOfError,
  formatFinding,
  type Manifest,
  makeFinding,
  type VerificationFinding,
  type VerificationLevel,
} from '@lastgood/protocol';
import { artifactsOf, type DatabaseArtifacts, databasesOf, encodingOf, globalsOf, sizeOf } from './artifacts.ts';
import { PHYSICAL } from './backup-methods.ts';
import { compareFingerprints } from './compare-fingerprints.ts';
import type { PostgresConnection } from './connection-schema.ts';
import { countDataEntries } from './dump.ts';
import { STABLE_SETTINGS, takeFingerprint } from './fingerprint.ts';
import { nameOf, statementsOf, withoutGrantor } from './globals.ts';
import { loadDump } from './load.ts';
import {
  refreshMaterializedViews,
  reportUnrefreshed,
  type UnrefreshedView,
  withoutUnrefreshed,
} from './materialized-views.ts';
import { isRefusal, ServerFailure } from './messages/server-failure.ts';
import { toolFailure } from './messages/tool-failure.ts';
import { ToolMessages } from './messages/tool-messages.ts';
import { createDatabase, giveProperties } from './properties.ts';
import { startScratch } from './scratch-server.ts';
import { Session } from './session.ts';
import { findTools, parseVersion, type ToolFolder } from './tools.ts';

const DAY_MS = 86_400_000;
const MAX_DIFFERENCES = 20;

/** SQLSTATEs of a server that ran out of something or was stopped: the test broke down, which says nothing about the backup. */
const BROKE_DOWN = /^(?:08|53|57P|58030)/;
const VERDICTS = ['BACKUP_CORRUPT', 'MANIFEST_INVALID', 'RESTORE_FAILED', 'TOOL_FAILED', 'DATABASE_ERROR'];

const brokeDown = (error: Failure): boolean =>
  error instanceof ToolFailure
    ? error.signal !== null
    : error instanceof ServerFailure && BROKE_DOWN.test(error.server.sqlstate ?? '');

/** The finding that a failure means: what the server refused, with its SQLSTATE, or the failure itself. */
function verdictOf(error: Failure): Finding {
  if (!(error instanceof ServerFailure)) return findingOfError(error.wireError, null);
  const refused = makeFinding('DUMP_REFUSED', null, { reason: error.message });
  const { sqlstate } = error.server;
  return sqlstate === null ? refused : { ...refused, params: { ...refused.params, sqlstate } };
}

/** Turns what means "this backup is bad" into a finding; anything else (no space, no tools, an abort, a test that broke down) stays a failure (E3, E9). */
async function findingsOf(
  level: VerificationLevel,
  object: string | null,
  work: () => Promise<void>,
): Promise<VerificationFinding[]> {
  try {
    await work();
    return [];
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    if (['DATABASE_UNREACHABLE', 'NO_SPACE', 'TARGET_BUSY'].includes(error.code) || brokeDown(error))
      throw new Failure(
        error.code === 'RESTORE_FAILED' ? 'TOOL_FAILED' : error.code,
        `the restore test broke down: ${error.message}`,
        {
          cause: error,
          remedy: 'This says nothing about the backup: correct what the message names, then verify again.',
        },
      );
    if (!VERDICTS.includes(error.code)) throw error;
    if (error instanceof ServerFailure && error.server.lacks)
      throw new Failure('TOOL_NOT_FOUND', `the scratch server lacks what the source has: ${error.message}`, {
        cause: error,
        remedy:
          'This says nothing about the backup: install what is missing beside the PostgreSQL of this host, then verify again.',
      });
    return [{ level, object, ...verdictOf(error) }];
  }
}

/** Level 2: every artifact decodes to its end, and the dump through its own tool. */
async function checkDecodes(
  source: ArtifactSource,
  tools: ToolFolder,
  stallMs: number,
  context: EngineContext,
): Promise<VerificationFinding[]> {
  const findings: VerificationFinding[] = [];
  for (const object of source.manifest.objects.filter((candidate) => candidate.role === 'dump')) {
    context.progress({ phase: 'decode', doneBytes: 0, totalBytes: object.produced.size });
    findings.push(
      ...(await findingsOf(2, object.name, async () => {
        const file = join(tools.path, 'pg_restore');
        const messages = new ToolMessages({ untranslated: true });
        await runTool({
          file,
          args: ['--file=/dev/null'],
          stdin: source.open(object, context.signal),
          signal: context.signal,
          timeoutMs: 7 * DAY_MS,
          stallMs,
          redactStderr: messages.take,
        }).catch((error: unknown) => {
          throw toolFailure(error, { file, report: messages.report, logFolder: null });
        });
      })),
    );
  }
  for (const database of databasesOf(source))
    findings.push(
      ...(await findingsOf(2, null, async () => void (await artifactsOf(source, database, context.signal)))),
    );
  let globals = '';
  const unreadable = await findingsOf(2, null, async () => {
    globals = await globalsOf(source, context.signal);
  });
  findings.push(...unreadable);
  if (unreadable.length === 0 && !/CREATE ROLE/.test(globals))
    findings.push({ level: 2, object: null, ...makeFinding('GLOBALS_WITHOUT_ROLES', null) });
  return findings;
}

/** Level 3: the archive's own table of contents holds what the fingerprint names. */
async function checkContents(
  source: ArtifactSource,
  tools: ToolFolder,
  stallMs: number,
  context: EngineContext,
): Promise<VerificationFinding[]> {
  const findings: VerificationFinding[] = [];
  for (const database of databasesOf(source)) {
    const { dump, fingerprint } = await artifactsOf(source, database, context.signal);
    let listed = 0;
    const unlisted = await findingsOf(3, dump.name, async () => {
      listed = await countDataEntries(tools, source.open(dump, context.signal), context.signal, stallMs);
    });
    findings.push(...unlisted);
    const expected = fingerprint.tables.filter((table) => table.rows !== '0').length;
    if (unlisted.length > 0 || listed >= expected) continue;
    const fewer = makeFinding('DUMP_LISTS_FEWER_TABLES', { kind: 'database', name: database }, { listed, expected });
    findings.push({ level: 3, object: dump.name, ...fewer });
  }
  return findings;
}

/** Without these a role is not what it was. Everything else (settings, comments, memberships) a restore leaves out when a server refuses it. */
const MAKES_ROLE = /^(?:CREATE ROLE|ALTER ROLE) ("(?:[^"]|"")*"|[a-z_][a-z0-9_$]*)(?:$| WITH )/;
/** Settings of the session that are ours, and tablespaces, whose folders belong to the source. */
const NOT_OF_ROLES = /^(SET |(CREATE|ALTER|COMMENT ON|GRANT .* ON|REVOKE .* ON) TABLESPACE )/;

/** Roles first, as a person would do it. */
async function loadGlobals(source: ArtifactSource, scratch: PostgresConnection, context: EngineContext): Promise<void> {
  const statements = statementsOf(await globalsOf(source, context.signal));
  await using session = await Session.open(scratch, scratch.database, context.signal);
  for (const statement of statements.filter((each) => !NOT_OF_ROLES.test(each)))
    await session.run(withoutGrantor(statement)).catch((error: unknown) => {
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
  source: ArtifactSource,
  artifacts: DatabaseArtifacts,
  scratch: PostgresConnection,
  tools: ToolFolder,
  context: EngineContext,
): Promise<UnrefreshedView[]> {
  const { database, dump, properties } = artifacts;
  await using session = await Session.open(scratch, scratch.database, context.signal);
  const exists = await session.rows('select from pg_database where datname = $1', [database]);
  if (exists.length > 0) await session.run(`drop database ${quote(database)}`);
  await session.run(createDatabase(properties, database, null, tools.version.major));
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

/** Levels 4 to 6 in a scratch server: it loads, its counts are those of the source, its contents equal the source. */
async function checkRestores(
  level: number,
  source: ArtifactSource,
  connection: PostgresConnection,
  tools: ToolFolder,
  context: EngineContext,
): Promise<VerificationFinding[]> {
  const databases = databasesOf(source);
  const needBytes = databases.reduce((sum, database) => sum + sizeOf(source, database), 200_000_000);
  await using scratch = await startScratch(connection, tools, needBytes, encodingOf(source), context);
  const findings: VerificationFinding[] = await findingsOf(4, null, () =>
    loadGlobals(source, scratch.connection, context),
  );
  for (const database of databases) {
    const artifacts = await artifactsOf(source, database, context.signal);
    let unrefreshed: UnrefreshedView[] = [];
    const loading = await findingsOf(4, artifacts.dump.name, async () => {
      unrefreshed = await loadDatabase(source, artifacts, scratch.connection, tools, context);
    });
    findings.push(...loading);
    if (loading.length > 0 || level < 5) continue;
    if (level === 6 && !artifacts.fingerprint.digests)
      findings.push({
        level: 6,
        object: null,
        ...makeFinding('FINGERPRINT_WITHOUT_DIGESTS', { kind: 'database', name: database }),
      });
    context.progress({ phase: 'compare', doneBytes: 0, totalBytes: null });
    await using session = await Session.open(scratch.connection, database, context.signal);
    await session.run('begin isolation level repeatable read');
    await session.run(STABLE_SETTINGS);
    const { digests, digestOf } = artifacts.fingerprint;
    const found = await takeFingerprint(session, level === 6 && digests, () => undefined, digestOf);
    const differences = compareFingerprints(withoutUnrefreshed(artifacts.fingerprint, unrefreshed), found).filter(
      (difference) => difference.level <= level,
    );
    findings.push(
      ...differences
        .slice(0, MAX_DIFFERENCES)
        .map(({ level: at, finding }) => ({ level: at, object: artifacts.dump.name, ...finding })),
    );
  }
  return findings;
}

/** BAD_INPUT for level 6 of a backup without digests: which does not make the backup bad. */
export function checkLevel(level: VerificationLevel, manifest: Manifest): void {
  if (level === 6 && manifest.method === PHYSICAL.method)
    throw new Failure('BAD_INPUT', 'a physical backup has no digests to compare with: level 5 is the highest', {
      remedy: 'Verify to level 5.',
    });
  if (level === 6 && manifest.engineFacts['digests'] !== true)
    throw new Failure('BAD_INPUT', 'the backup was taken without digests: its contents cannot be compared (level 6)', {
      remedy: 'Verify to level 5, or take a backup with --digests.',
    });
}

/** Levels 2 to 6; each includes those below it. Stops at the first level that found something, for the levels above would show nothing more. */
export async function verify(
  level: VerificationLevel,
  connection: PostgresConnection,
  source: ArtifactSource,
  context: EngineContext,
): Promise<VerifyOutcome> {
  if (level < 2) return { reached: level, findings: [] };
  checkLevel(level, source.manifest);
  const tools = await findTools(connection.binDir, context.signal, parseVersion(source.manifest.server.version).major);
  const steps: readonly (readonly [VerificationLevel, () => Promise<VerificationFinding[]>])[] = [
    [2, () => checkDecodes(source, tools, connection.stallMs, context)],
    [3, () => checkContents(source, tools, connection.stallMs, context)],
    [level > 4 ? level : 4, () => checkRestores(level, source, connection, tools, context)],
  ];
  let reached: VerificationLevel = 1;
  for (const [step, check] of steps) {
    if (step > level) break;
    const findings = await check();
    if (findings.length > 0)
      return { reached: Math.min(...findings.map((found) => found.level - 1), step) as VerificationLevel, findings };
    reached = step;
  }
  return { reached, findings: [] };
}
