import { join } from 'node:path';
import { type ArtifactSource, type EngineContext, Failure, type VerifyOutcome } from '@lastgood/core';
import { runTool } from '@lastgood/host';
import type { Finding, Manifest, VerificationLevel } from '@lastgood/protocol';
import { artifactsOf, type DatabaseArtifacts, databasesOf, encodingOf, globalsOf, sizeOf } from './artifacts.ts';
import { isRefusal, Session } from './connection.ts';
import type { PostgresConnection } from './connection-schema.ts';
import { countDataEntries } from './dump.ts';
import { compareFingerprints, STABLE_SETTINGS, takeFingerprint } from './fingerprint.ts';
import { statementsOf, withoutGrantor } from './globals.ts';
import { loadDump } from './load.ts';
import {
  refreshMaterializedViews,
  reportUnrefreshed,
  type UnrefreshedView,
  withoutUnrefreshed,
} from './materialized-views.ts';
import { createDatabase, giveProperties } from './properties.ts';
import { startScratch } from './scratch-server.ts';
import { findTools, parseVersion, type ToolFolder } from './tools.ts';

const DAY_MS = 86_400_000;

/** What a tool says when its proof broke down, not the backup: killed, out of space or memory, or the scratch server went away. */
const BROKEN_PROOF =
  /ended with SIG(KILL|TERM|INT|HUP|QUIT)|No space left on device|could not extend file|out of (shared )?memory|server closed the connection|connection to server|terminating connection|too many clients|in recovery mode|Input\/output error/;

/** What this host's PostgreSQL lacks and the source has: extensions, libraries that must be preloaded, locales, build options. */
export const LACKING =
  /extension "[^"]*" is not available|could not open extension control file|could not (access|load) (file|library)|(must|can only) be (pre)?loaded|security label provider "[^"]*" is not loaded|not supported (by|in) this build|requires the server to be built with|could not create locale|invalid (LC_\w+ )?locale name|could not open collator/i;

/** SerialQueue what says "this backup is bad" into a finding; anything else (no space, no tools, cancel, a proof that broke down) stays a failure (E3, E9). */
async function finding(level: number, object: string | null, work: () => Promise<void>): Promise<Finding[]> {
  try {
    await work();
    return [];
  } catch (error) {
    if (
      !(error instanceof Failure) ||
      !['BACKUP_CORRUPT', 'MANIFEST_INVALID', 'RESTORE_FAILED', 'TOOL_FAILED'].includes(error.code)
    )
      throw error;
    if (error.code !== 'BACKUP_CORRUPT' && BROKEN_PROOF.test(error.message)) {
      const full = /No space left on device|could not extend file/.test(error.message);
      throw new Failure(full ? 'NO_SPACE' : 'TOOL_FAILED', `the proof broke down: ${error.message}`, {
        cause: error,
        remedy: 'This says nothing about the backup: mend what the message names, then verify again.',
      });
    }
    if (error.code !== 'BACKUP_CORRUPT' && LACKING.test(error.message))
      throw new Failure('TOOL_NOT_FOUND', `the scratch server lacks what the source has: ${error.message}`, {
        cause: error,
        remedy:
          'This says nothing about the backup: install what is missing beside the PostgreSQL of this host, then verify again.',
      });
    return [{ level, object, message: error.message.slice(0, 500) }];
  }
}

/** Level 2: every artifact decodes to its end, and the dump through its own tool. */
async function checkDecodes(
  source: ArtifactSource,
  tools: ToolFolder,
  stallMs: number,
  context: EngineContext,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const object of source.manifest.objects.filter((candidate) => candidate.role === 'dump')) {
    context.progress({ phase: 'decode', doneBytes: 0, totalBytes: object.produced.size });
    findings.push(
      ...(await finding(2, object.name, async () => {
        const call = {
          file: join(tools.path, 'pg_restore'),
          args: ['--file=/dev/null'],
          stdin: source.open(object, context.signal),
          signal: context.signal,
          timeoutMs: 7 * DAY_MS,
          stallMs,
        };
        await runTool(call);
      })),
    );
  }
  for (const database of databasesOf(source))
    findings.push(...(await finding(2, null, async () => void (await artifactsOf(source, database, context.signal)))));
  findings.push(
    ...(await finding(2, null, async () => {
      if (!/CREATE ROLE/.test(await globalsOf(source, context.signal)))
        throw new Failure('BACKUP_CORRUPT', 'the globals name no role');
    })),
  );
  return findings;
}

/** Level 3: the archive's own table of contents holds what the fingerprint names. */
async function checkContents(
  source: ArtifactSource,
  tools: ToolFolder,
  stallMs: number,
  context: EngineContext,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const database of databasesOf(source)) {
    const { dump, fingerprint } = await artifactsOf(source, database, context.signal);
    findings.push(
      ...(await finding(3, dump.name, async () => {
        const entries = await countDataEntries(tools, source.open(dump, context.signal), context.signal, stallMs);
        const filled = fingerprint.tables.filter((table) => table.rows !== '0').length;
        if (entries < filled)
          throw new Failure(
            'BACKUP_CORRUPT',
            `the dump lists ${entries} tables with rows, its fingerprint names ${filled}`,
          );
      })),
    );
  }
  return findings;
}

/** Without it a role is not what it was; everything else only adorns it, and a restore leaves out what a server does not take. */
const MAKES_ROLE = /^(CREATE ROLE |ALTER ROLE ("(?:[^"]|"")*"|[a-z_][a-z0-9_$]*) WITH )/;
/** Settings of the session that are ours, and tablespaces, whose folders belong to the source. */
const NOT_OF_ROLES = /^(SET |(CREATE|ALTER|COMMENT ON|GRANT .* ON|REVOKE .* ON) TABLESPACE )/;

/** Roles first, as a person would do it. */
async function loadGlobals(source: ArtifactSource, scratch: PostgresConnection, context: EngineContext): Promise<void> {
  const statements = statementsOf(await globalsOf(source, context.signal));
  await using session = await Session.open(scratch, scratch.database, context.signal);
  for (const statement of statements.filter((each) => !NOT_OF_ROLES.test(each)))
    await session.run(withoutGrantor(statement)).catch((error: unknown) => {
      if (!isRefusal(error)) throw error;
      if (MAKES_ROLE.test(statement)) throw new Failure('RESTORE_FAILED', error.message, { cause: error });
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
  for (const view of unrefreshed) context.log(`${database}: ${reportUnrefreshed(view)}`);
  for (const warning of await giveProperties(session, properties, database, roles))
    context.log(`${database}: ${warning}`);
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
): Promise<Finding[]> {
  const databases = databasesOf(source);
  const needBytes = databases.reduce((sum, database) => sum + sizeOf(source, database), 200_000_000);
  await using scratch = await startScratch(connection, tools, needBytes, encodingOf(source), context);
  const findings: Finding[] = await finding(4, null, () => loadGlobals(source, scratch.connection, context));
  for (const database of databases) {
    const artifacts = await artifactsOf(source, database, context.signal);
    let unrefreshed: UnrefreshedView[] = [];
    const loading = await finding(4, artifacts.dump.name, async () => {
      unrefreshed = await loadDatabase(source, artifacts, scratch.connection, tools, context);
    });
    findings.push(...loading);
    if (loading.length > 0 || level < 5) continue;
    if (level === 6 && !artifacts.fingerprint.digests)
      findings.push({
        level: 6,
        object: null,
        message: `the fingerprint of "${database}" has no digests, though its manifest says so`,
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
      ...differences.slice(0, 20).map((difference) => ({
        level: difference.level,
        object: artifacts.dump.name,
        message: `${database}: ${difference.message}`,
      })),
    );
  }
  return findings;
}

/** BAD_INPUT for level 6 of a backup without digests: a wrong question, which says nothing against the backup. */
export function checkLevel(level: VerificationLevel, manifest: Manifest): void {
  if (level === 6 && manifest.engineFacts['digests'] !== true)
    throw new Failure('BAD_INPUT', 'the backup was taken without digests: its contents cannot be compared (level 6)', {
      remedy: 'Verify to level 5, or take a backup with --digests.',
    });
}

/** Levels 2 to 6; each includes those below it. Stops at the first level that found something, for what lies above proves nothing more. */
export async function verify(
  level: VerificationLevel,
  connection: PostgresConnection,
  source: ArtifactSource,
  context: EngineContext,
): Promise<VerifyOutcome> {
  if (level < 2) return { reached: level, findings: [] };
  checkLevel(level, source.manifest);
  const tools = await findTools(connection.binDir, context.signal, parseVersion(source.manifest.server.version).major);
  const steps: readonly (readonly [VerificationLevel, () => Promise<Finding[]>])[] = [
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
