import {
  type ArtifactSource,
  type EngineContext,
  Failure,
  type RestoreRequest,
  type RestoreResult,
} from '@lastgood/core';
import type { ManifestObject } from '@lastgood/protocol';
import { globalsOf } from './artifacts.ts';
import { isRefusal, Session } from './connection.ts';
import type { PostgresConnection } from './connection-schema.ts';
import {
  compareFingerprints,
  type Difference,
  type Fingerprint,
  STABLE_SETTINGS,
  takeFingerprint,
} from './fingerprint.ts';
import { makeRoles, roleStatements } from './globals.ts';
import { loadDump } from './load.ts';
import { refreshMaterializedViews, reportUnrefreshed, withoutUnrefreshed } from './materialized-views.ts';
import { differingProperties, giveProperties, readProperties } from './properties.ts';
import { makePlan, type RestorePlan } from './restore-plan.ts';
import { connectVia, openServer, type Server } from './server.ts';
import { createLockedDatabase } from './staging-database.ts';
import { asideName, endSessions, swapIn } from './swap.ts';
import { dropStagingDatabase, lockStagingDatabase } from './sweep.ts';

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
  readonly request: RestoreRequest;
  readonly context: EngineContext;
}
interface Restored {
  readonly tables: number;
  readonly rows: number;
  readonly oldKeptAs: string | null;
  readonly warnings: readonly string[];
}

interface Counts {
  readonly tables: number;
  readonly rows: number;
  /** How the database is made differently from its source: a newer server may write a locale in another way. */
  readonly made: readonly string[];
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

const told = (differences: readonly Difference[]): string =>
  differences
    .slice(0, 3)
    .map((difference) => difference.message)
    .join('; ');

/** Counts of the restored database against those of the dump's snapshot: a restore that lost rows is not swapped in. */
async function check(run: RestoreRun, name: string, source: Fingerprint): Promise<Counts> {
  const { tables, rows, made, differences } = await measure(run, name, source);
  if (differences.length > 0)
    throw new Failure('RESTORE_FAILED', `the restored database differs from its backup: ${told(differences)}`);
  return { tables, rows, made };
}

/** What the server says no to here is the restore's failure; that it went away, or has no space left, stays what it is. */
function refused(error: unknown): never {
  if (isRefusal(error)) throw new Failure('RESTORE_FAILED', error.message, { cause: error });
  throw error;
}

/** Into a database of our own name, checked, then renamed: until the last step the old data is untouched (I7). */
async function restoreBeside(run: RestoreRun): Promise<Restored> {
  const { connection, server, plan, source, request, context } = run;
  const { artifacts } = plan;
  const name = plan.summary.into;
  const fresh = asideName(name, 'new', request.jobId);
  const aside =
    request.mode.type === 'swap' && plan.existing !== undefined ? asideName(name, 'old', request.jobId) : null;
  const { session, tools } = server;
  await lockStagingDatabase(session, request.jobId);
  try {
    await createLockedDatabase(session, artifacts.properties, fresh, plan.home, server.facts.version.major).catch(
      refused,
    );
    const args = plan.missingTablespaces.length > 0 ? ['--no-tablespaces'] : [];
    const warnings = [
      ...(await loadDump({ connection, tools, source, dump: artifacts.dump, into: fresh, args }, context)),
    ];
    const unrefreshed = await refreshMaterializedViews(connection, fresh, artifacts, context);
    warnings.push(...unrefreshed.map(reportUnrefreshed));
    const { tables, rows, made } = await check(run, fresh, withoutUnrefreshed(artifacts.fingerprint, unrefreshed));
    warnings.push(...made);
    const roles = await rolesOf(session);
    warnings.push(...(await giveProperties(session, artifacts.properties, fresh, roles).catch(refused)));
    context.signal.throwIfAborted();
    await swapIn(session, fresh, name, aside, request.jobId).catch(refused);
    return { tables, rows, oldKeptAs: aside, warnings };
  } catch (error) {
    throw await dropStagingDatabase(connection, fresh, error);
  }
}

/** Reads the dump to its end, where its source says whether the bytes were right (BACKUP_CORRUPT). */
async function readThrough(source: ArtifactSource, dump: ManifestObject, context: EngineContext): Promise<void> {
  let doneBytes = 0;
  for await (const chunk of source.open(dump, context.signal) as AsyncIterable<Buffer>) {
    doneBytes += chunk.length;
    context.progress({ phase: 'read', doneBytes, totalBytes: dump.produced.size });
  }
}

/** Nothing can be taken back here, so that all that is left is to tell the truth. */
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
    throw new Failure('RESTORE_FAILED', `committed, but the database differs from its backup: ${told(differences)}`, {
      remedy:
        'The old contents are replaced. Clients that wrote since explain a difference; otherwise restore another backup beside it.',
    });
  const names = others.slice(0, 5).map(({ schema, name: table }) => `${schema}.${table}`);
  const warnings = [
    ...unrefreshed.map(reportUnrefreshed),
    ...counts.made,
    ...(others.length === 0
      ? []
      : [`${others.length} tables that the backup does not hold were left as they are: ${names.join(', ')}`]),
    ...(largeObjects > 0n ? [`${largeObjects} large objects that the backup does not hold were left as they are`] : []),
  ];
  return { tables: counts.tables, rows: counts.rows, oldKeptAs: null, warnings };
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
  // pg_restore commits what it has read before the end of the source could say that it was damaged (I7).
  await readThrough(source, artifacts.dump, context);
  const { lockWaitMs } = connection;
  // As the plan says. Whoever comes back at once may still hold a lock: that has its limit.
  await endSessions(server.session, plan.summary.into).catch(refused);
  const warnings = await loadDump(
    { connection, tools: server.tools, source, dump: artifacts.dump, into: plan.summary.into, args, lockWaitMs },
    context,
  );
  const checked = await checkInPlace(run, plan.summary.into);
  return { ...checked, warnings: [...warnings, ...checked.warnings] };
}

/** Executes exactly the plan that was consented to: PLAN_CHANGED when the situation differs, TARGET_NOT_EMPTY or RESTORE_FAILED when it refuses. */
export async function restore(
  connection: PostgresConnection,
  request: RestoreRequest,
  source: ArtifactSource,
  context: EngineContext,
): Promise<RestoreResult> {
  const started = context.clock.monotonic();
  const plan = await makePlan(connection, request.mode, source, context);
  if (plan.summary.hash !== request.planHash)
    throw new Failure(
      'PLAN_CHANGED',
      `the plan is now ${plan.summary.hash.slice(0, 12)}, not ${request.planHash.slice(0, 12)}`,
    );
  const [refusal] = plan.summary.refusals;
  if (refusal !== undefined)
    throw new Failure(
      /already exists/.test(refusal) ? 'TARGET_NOT_EMPTY' : 'RESTORE_FAILED',
      plan.summary.refusals.join('; '),
    );
  const from = connectVia(connection, plan.summary.into);
  await using server = await openServer(from, context);
  const warnings = [...plan.summary.warnings];
  if (plan.summary.missingRoles.length > 0) {
    const known = await rolesOf(server.session);
    const { roles, bootstrap } = plan.artifacts.fingerprint;
    const missing = roles.filter((role) => !known.has(role));
    const globals = await globalsOf(source, context.signal);
    const statements = roleStatements(globals, missing, known, bootstrap?.role);
    warnings.push(...(await makeRoles(server.session, statements)));
  }
  const run: RestoreRun = { connection: from, server, plan, source, request, context };
  const done = request.mode.type === 'inPlace' ? await restoreInPlace(run) : await restoreBeside(run);
  return {
    command: 'restore',
    backupId: source.manifest.backupId,
    database: request.mode.database,
    into: plan.summary.into,
    oldKeptAs: done.oldKeptAs,
    warnings: [...warnings, ...done.warnings].slice(0, 20).map((warning) => warning.slice(0, 300)),
    tables: done.tables,
    rows: done.rows,
    durationMs: Math.round(context.clock.monotonic() - started),
  };
}
