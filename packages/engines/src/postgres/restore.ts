import {
  type ArtefactSource,
  type EngineContext,
  Failure,
  type RestoreRequest,
  type RestoreResult,
} from '@lastgood/core';
import { globalsOf } from './artefacts.ts';
import { type PostgresConnection, Session } from './connection.ts';
import { compareFingerprints, type Fingerprint, STABLE_SETTINGS, takeFingerprint } from './fingerprint.ts';
import { makeRoles, roleStatements } from './globals.ts';
import { loadDump } from './load.ts';
import { applyProperties, createDatabase } from './properties.ts';
import { makePlan, type RestorePlan } from './restore-plan.ts';
import { openServer, outside, type Server } from './server.ts';
import { besideName, swapIn } from './swap.ts';
import { dropOurs } from './sweep.ts';

async function rolesOf(session: Session): Promise<Set<string>> {
  return new Set(
    (await session.rows<{ name: string }>('select rolname as name from pg_roles')).map((role) => role.name),
  );
}

/** Counts of the restored database against those of the dump's snapshot: a restore that lost rows is not swapped in. */
async function check(
  connection: PostgresConnection,
  name: string,
  source: Fingerprint,
  context: EngineContext,
): Promise<{ tables: number; rows: number }> {
  context.progress({ phase: 'check', doneBytes: 0, totalBytes: null });
  await using session = await Session.open(connection, name, context.signal);
  await session.run('begin isolation level repeatable read');
  await session.run(STABLE_SETTINGS);
  const found = await takeFingerprint(session, false, () => undefined);
  const differences = compareFingerprints(source, found);
  if (differences.length > 0)
    throw new Failure(
      'RESTORE_FAILED',
      `the restored database differs from its backup: ${differences
        .slice(0, 3)
        .map((difference) => difference.message)
        .join('; ')}`,
    );
  return { tables: found.tables.length, rows: found.tables.reduce((sum, table) => sum + Number(table.rows), 0) };
}

interface RestoreRun {
  readonly connection: PostgresConnection;
  readonly server: Server;
  readonly plan: RestorePlan;
  readonly source: ArtefactSource;
  readonly request: RestoreRequest;
  readonly context: EngineContext;
}

/** Into a database of our own name, checked, then renamed: until the last step the old data is untouched (I7). */
async function restoreBeside({
  connection,
  server,
  plan,
  source,
  request,
  context,
}: RestoreRun): Promise<{ tables: number; rows: number; oldKeptAs: string | null; warnings: string[] }> {
  const { artefacts } = plan;
  const name = plan.summary.into;
  const fresh = besideName(name, 'new', request.jobId);
  const aside =
    request.mode.type === 'swap' && plan.existing !== undefined ? besideName(name, 'old', request.jobId) : null;
  const { session, tools } = server;
  await session.run(createDatabase(artefacts.properties, fresh, plan.home));
  try {
    const args = plan.missingTablespaces.length > 0 ? ['--no-tablespaces'] : [];
    const warnings = [
      ...(await loadDump({ connection, tools, source, dump: artefacts.dump, into: fresh, args }, context)),
    ];
    const counts = await check(connection, fresh, artefacts.fingerprint, context);
    for (const statement of applyProperties(artefacts.properties, fresh, await rolesOf(session)))
      await session.run(statement);
    context.signal.throwIfAborted();
    await swapIn(session, fresh, name, aside, request.jobId);
    return { ...counts, oldKeptAs: aside, warnings };
  } catch (error) {
    await using cleaner = await Session.open(connection, connection.database, AbortSignal.timeout(60_000));
    await dropOurs(cleaner, fresh);
    throw error;
  }
}

/** Over the existing database, in one transaction: a failure leaves the old contents. Refused unless named by the plan. */
async function restoreInPlace({
  connection,
  server,
  plan,
  source,
  context,
}: RestoreRun): Promise<{ tables: number; rows: number; oldKeptAs: null; warnings: string[] }> {
  const { artefacts } = plan;
  const args = [
    '--clean',
    '--if-exists',
    '--single-transaction',
    ...(plan.missingTablespaces.length > 0 ? ['--no-tablespaces'] : []),
  ];
  const warnings = await loadDump(
    { connection, tools: server.tools, source, dump: artefacts.dump, into: plan.summary.into, args },
    context,
  );
  const counts = await countOf(connection, plan.summary.into, context);
  return { ...counts, oldKeptAs: null, warnings: [...warnings] };
}

async function countOf(
  connection: PostgresConnection,
  database: string,
  context: EngineContext,
): Promise<{ tables: number; rows: number }> {
  await using session = await Session.open(connection, database, context.signal);
  await session.run('begin isolation level repeatable read');
  await session.run(STABLE_SETTINGS);
  const { tables } = await takeFingerprint(session, false, () => undefined);
  return { tables: tables.length, rows: tables.reduce((sum, table) => sum + Number(table.rows), 0) };
}

/** Executes exactly the plan that was consented to: PLAN_CHANGED when the situation differs, TARGET_NOT_EMPTY or RESTORE_FAILED when it refuses. */
export async function restore(
  connection: PostgresConnection,
  request: RestoreRequest,
  source: ArtefactSource,
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
  const from = outside(connection, plan.summary.into);
  await using server = await openServer(from, context);
  const warnings = [...plan.summary.warnings];
  if (plan.summary.missingRoles.length > 0) {
    const known = await rolesOf(server.session);
    const missing = plan.artefacts.fingerprint.roles.filter((role) => !known.has(role));
    const statements = roleStatements(await globalsOf(source, context.signal), missing, known);
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
