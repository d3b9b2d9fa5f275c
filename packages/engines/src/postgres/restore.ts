import {
  type ArtifactSource,
  assertConsented,
  type EngineContext,
  Failure,
  type RecoverySource,
  type RestoredRoles,
  type RestoreOrder,
  type RestoreResult,
} from '@lastgood/core';
import { type Finding, formatFinding, type ManifestObject, makeFinding } from '@lastgood/protocol';
import { globalsOf } from './artifacts.ts';
import { compareFingerprints, type Difference } from './compare-fingerprints.ts';
import type { PostgresConnection } from './connection-schema.ts';
import { type Fingerprint, STABLE_SETTINGS, takeFingerprint } from './fingerprint.ts';
import { makeRoles, roleStatements } from './globals.ts';
import { loadWithInvalidConstraints } from './invalid-constraints.ts';
import { loadDump } from './load.ts';
import { refreshMaterializedViews, reportUnrefreshed, withoutUnrefreshed } from './materialized-views.ts';
import { isRefusal } from './messages/server-failure.ts';
import type { ToolReport } from './messages/tool-messages.ts';
import { differingProperties, giveProperties, readProperties } from './properties.ts';
import { makePlan, type RestorePlan } from './restore-plan.ts';
import { connectVia, openServer, type Server } from './server.ts';
import { Session } from './session.ts';
import { createLockedDatabase } from './staging-database.ts';
import { asideName, endSessions, swapIn } from './swap.ts';
import { dropStagingDatabase, lockStagingDatabase } from './sweep.ts';

/** What leaves of a restore's warnings and names. */
const MAX_WARNINGS = 20;
const MAX_LISTED = 10;

async function rolesOf(session: Session): Promise<Set<string>> {
  return new Set(
    (await session.rows<{ name: string }>('select rolname as name from pg_roles')).map((role) => role.name),
  );
}

interface RestoreRun {
  readonly connection: PostgresConnection;
  readonly server: Server;
  readonly plan: RestorePlan;
  readonly source: ArtifactSource;
  readonly jobId: string;
  readonly context: EngineContext;
}
interface Restored {
  readonly tables: number;
  readonly rows: number;
  readonly setAsideAs: string | null;
  readonly warnings: readonly Finding[];
}

interface Counts {
  readonly tables: number;
  readonly rows: number;
  /** How the database is made differently from its source: a newer server may write a locale in another way. */
  readonly made: readonly Finding[];
}

/** What the restored database holds, and how that differs from the dump's snapshot. */
async function measure(
  { connection, server, plan, context }: RestoreRun,
  name: string,
  source: Fingerprint,
): Promise<Counts & { found: Fingerprint; differences: readonly Difference[] }> {
  context.progress({ phase: 'check', doneBytes: 0, totalBytes: null });
  await using session = await Session.open(connection, name, context.signal);
  await session.run('begin isolation level repeatable read');
  await session.run(STABLE_SETTINGS);
  const found = await takeFingerprint(session, false, () => undefined);
  const rows = found.tables.reduce((sum, table) => sum + Number(table.rows), 0);
  const properties = await readProperties(session, server.facts.version.major);
  const made = differingProperties(plan.artifacts.properties, properties);
  return { tables: found.tables.length, rows, made, found, differences: compareFingerprints(source, found) };
}

const summaryOf = (differences: readonly Difference[]): string =>
  differences
    .slice(0, 3)
    .map(({ finding }) => formatFinding(finding))
    .join('; ');

/** Counts of the restored database against those of the dump's snapshot: a restore that lost rows is not swapped in. */
async function check(run: RestoreRun, name: string, source: Fingerprint): Promise<Counts> {
  const { tables, rows, made, differences } = await measure(run, name, source);
  if (differences.length > 0)
    throw new Failure('RESTORE_FAILED', `the restored database differs from its backup: ${summaryOf(differences)}`);
  return { tables, rows, made };
}

/** What the server refuses here is the restore's failure. That it went away, is full or busy stays what it is. */
function refused(error: unknown): never {
  if (isRefusal(error) && error.code !== 'TARGET_BUSY')
    throw new Failure('RESTORE_FAILED', error.message, { cause: error, remedy: error.remedy });
  throw error;
}

const loadWarnings = ({ otherWarnings }: ToolReport): Finding[] =>
  otherWarnings === 0 ? [] : [makeFinding('TOOL_OUTPUT_LEFT_OUT', null, { tool: 'pg_restore', lines: otherWarnings })];

/** Into a database of our own name, checked, then renamed: until the last step the old data is untouched (I7). */
async function restoreBeside(run: RestoreRun): Promise<Restored> {
  const { connection, server, plan, source, jobId, context } = run;
  const { artifacts } = plan;
  const name = plan.summary.into;
  const staging = asideName(name, 'new', jobId);
  const aside = plan.mode.way === 'swap' && plan.existing !== undefined ? asideName(name, 'old', jobId) : null;
  const { session, tools } = server;
  await lockStagingDatabase(session, jobId);
  try {
    await createLockedDatabase(session, artifacts.properties, staging, plan.home, server.facts.version.major).catch(
      refused,
    );
    const args = plan.missingTablespaces.length > 0 ? ['--no-tablespaces'] : [];
    const load = { connection, tools, source, dump: artifacts.dump, into: staging, args };
    const warnings = plan.acceptInvalidConstraints
      ? await loadWithInvalidConstraints(load, context)
      : loadWarnings(await loadDump(load, context));
    const unrefreshed = await refreshMaterializedViews(connection, staging, artifacts, context);
    warnings.push(...unrefreshed.map(reportUnrefreshed));
    const { tables, rows, made } = await check(run, staging, withoutUnrefreshed(artifacts.fingerprint, unrefreshed));
    warnings.push(...made);
    const roles = await rolesOf(session);
    warnings.push(...(await giveProperties(session, artifacts.properties, staging, roles).catch(refused)));
    context.signal.throwIfAborted();
    await swapIn(session, staging, name, aside, jobId).catch(refused);
    return { tables, rows, setAsideAs: aside, warnings };
  } catch (error) {
    throw await dropStagingDatabase(connection, staging, error);
  }
}

/** Reads the dump to its end, where its source reports bytes that are not right (BACKUP_CORRUPT). */
async function readThrough(source: ArtifactSource, dump: ManifestObject, context: EngineContext): Promise<void> {
  let doneBytes = 0;
  for await (const chunk of source.open(dump, context.signal) as AsyncIterable<Buffer>) {
    doneBytes += chunk.length;
    context.progress({ phase: 'read', doneBytes, totalBytes: dump.produced.size });
  }
}

/** Compares after the commit: nothing can be taken back any more. */
async function checkInPlace(run: RestoreRun, name: string): Promise<Restored> {
  const { connection, plan, context } = run;
  const unrefreshed = await refreshMaterializedViews(connection, name, plan.artifacts, context);
  const fingerprint = withoutUnrefreshed(plan.artifacts.fingerprint, unrefreshed);
  const { found, ...counts } = await measure(run, name, fingerprint);
  const key = (table: Fingerprint['tables'][number]): string => JSON.stringify([table.schema, table.name]);
  const ours = new Set(fingerprint.tables.map(key));
  const others = found.tables.filter((table) => !ours.has(key(table)));
  const tables = found.tables.filter((table) => ours.has(key(table)));
  const largeObjects = BigInt(found.largeObjects.count) - BigInt(fingerprint.largeObjects.count);
  const expected = largeObjects > 0n ? fingerprint.largeObjects : found.largeObjects;
  const differences = compareFingerprints(fingerprint, { ...found, tables, largeObjects: expected });
  if (differences.length > 0)
    throw new Failure(
      'RESTORE_FAILED',
      `committed, but the database differs from its backup: ${summaryOf(differences)}`,
      {
        remedy:
          'The old contents are replaced. Clients that wrote since explain a difference; otherwise restore another backup beside it.',
      },
    );
  const names = others.slice(0, MAX_LISTED).map(({ schema, name: table }) => `${schema}.${table}`);
  const kept = largeObjects > 0n ? [makeFinding('LARGE_OBJECTS_KEPT', null, { count: String(largeObjects) })] : [];
  const warnings = [
    ...unrefreshed.map(reportUnrefreshed),
    ...counts.made,
    ...(others.length === 0 ? [] : [makeFinding('TABLES_KEPT', null, { count: others.length, tables: names })]),
    ...kept,
  ];
  return { tables: counts.tables, rows: counts.rows, setAsideAs: null, warnings };
}

/** Over the existing database, in one transaction: a failure leaves the old contents. Refused unless named by the plan. */
async function restoreInPlace(run: RestoreRun): Promise<Restored> {
  const { connection, server, plan, source, context } = run;
  const { artifacts } = plan;
  const args = [
    '--clean',
    '--if-exists',
    '--single-transaction',
    ...(plan.missingTablespaces.length > 0 ? ['--no-tablespaces'] : []),
  ];
  // pg_restore commits what it has read before the source, at its end, can report that it is damaged (I7).
  await readThrough(source, artifacts.dump, context);
  const { lockWaitMs } = connection;
  // As the plan announces. A client that reconnects at once may still hold a lock: the wait for it is limited.
  await endSessions(server.session, plan.summary.into).catch(refused);
  const loaded = await loadDump(
    { connection, tools: server.tools, source, dump: artifacts.dump, into: plan.summary.into, args, lockWaitMs },
    context,
  );
  const checked = await checkInPlace(run, plan.summary.into);
  return { ...checked, warnings: [...loadWarnings(loaded), ...checked.warnings] };
}

/** Executes exactly the plan that was consented to: PLAN_CHANGED when the situation differs, TARGET_NOT_EMPTY or RESTORE_FAILED when it refuses. */
export async function restore(
  connection: PostgresConnection,
  { request, jobId, planHash }: RestoreOrder,
  backups: RecoverySource,
  context: EngineContext,
  rights: RestoredRoles,
): Promise<RestoreResult> {
  const started = context.clock.monotonic();
  const plan = await makePlan(connection, request, backups, context, rights);
  const { source } = plan;
  assertConsented(plan.summary, planHash);
  const from = connectVia(connection, plan.summary.into);
  await using server = await openServer(from, context);
  const warnings = [...plan.summary.warnings];
  if (plan.missingRoles.length > 0) {
    const known = await rolesOf(server.session);
    const { roles, bootstrap } = plan.artifacts.fingerprint;
    const missing = roles.filter((role) => !known.has(role));
    const globals = await globalsOf(source, context.signal);
    const statements = roleStatements(globals, missing, known, bootstrap?.role ?? null, rights);
    warnings.push(...(await makeRoles(server.session, statements)));
  }
  const run: RestoreRun = { connection: from, server, plan, source, jobId, context };
  const done = plan.mode.way === 'in-place' ? await restoreInPlace(run) : await restoreBeside(run);
  return {
    command: 'restore',
    backupId: source.manifest.backupId,
    scope: request.scope,
    recoveryPoint: plan.summary.recoveryPoint,
    into: plan.summary.into,
    setAsideAs: done.setAsideAs,
    warnings: [...warnings, ...done.warnings].slice(0, MAX_WARNINGS),
    counts: [
      { label: 'tables', value: done.tables, unit: 'count' },
      { label: 'rows', value: done.rows, unit: 'count' },
    ],
    durationMs: Math.round(context.clock.monotonic() - started),
  };
}
