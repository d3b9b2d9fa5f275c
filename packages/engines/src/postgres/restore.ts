import { setTimeout as delay } from 'node:timers/promises';
import {
  type ArtefactSource,
  type EngineContext,
  Failure,
  type RestoreRequest,
  type RestoreResult,
  type UndoResult,
} from '@lastgood/core';
import pg from 'pg';
import { z } from 'zod';
import { globalsOf } from './artefacts.ts';
import { type PostgresConnection, Session } from './connection.ts';
import { compareFingerprints, type Fingerprint, STABLE_SETTINGS, takeFingerprint } from './fingerprint.ts';
import { makeRoles, roleStatements } from './globals.ts';
import { loadDump } from './load.ts';
import { applyProperties, createDatabase, unmarkTemplate } from './properties.ts';
import { makePlan, type RestorePlan } from './restore-plan.ts';
import { sweepScratch } from './scratch-server.ts';
import { OURS, openServer, ours, outside, type Server } from './server.ts';

const id = pg.escapeIdentifier;
const text = pg.escapeLiteral;
const MAX_NAME_BYTES = 63;
const SWAP_TRIES = 5;
const DROP_TRIES = 20;

/** A name of ours beside `database`, no longer than PostgreSQL allows: `shop__lastgood_old_0123456789ab`. */
export function besideName(database: string, role: 'new' | 'old' | 'undone', jobId: string): string {
  const suffix = `${OURS}${role}_${jobId.replaceAll('-', '').slice(-12)}`;
  let base = database;
  while (Buffer.byteLength(base) > MAX_NAME_BYTES - suffix.length) base = [...base].slice(0, -1).join('');
  return `${base}${suffix}`;
}

/** What is noted on a database that was set aside, so that `undo` needs nothing but the server. */
const asideSchema = z.object({
  lastgood: z.literal('set aside'),
  restoreJobId: z.string(),
  database: z.string(),
  comment: z.string().nullable(),
});

async function rolesOf(session: Session): Promise<Set<string>> {
  return new Set(
    (await session.rows<{ name: string }>('select rolname as name from pg_roles')).map((role) => role.name),
  );
}

async function dropOurs(session: Session, name: string): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await unmarkTemplate(session, name);
      await session.run(`drop database if exists ${id(name)} with (force)`);
      return;
    } catch (error) {
      if (attempt === DROP_TRIES) throw error;
      await delay(500);
    }
  }
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

async function endSessions(session: Session, database: string): Promise<void> {
  await session.rows(
    'select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and pid <> pg_backend_pid()',
    [database],
  );
}

/** One transaction moves the old name aside and the new one in: there is no instant with neither. */
async function swapIn(
  session: Session,
  fresh: string,
  database: string,
  aside: string | null,
  restoreJobId: string,
): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      if (aside !== null) await endSessions(session, database);
      await endSessions(session, fresh);
      await session.run('begin');
      if (aside !== null) {
        const { comment } = await session.one<{ comment: string | null }>(
          "select shobj_description(oid, 'pg_database') as comment from pg_database where datname = $1",
          [database],
        );
        await session.run(`alter database ${id(database)} rename to ${id(aside)}`);
        await session.run(
          `comment on database ${id(aside)} is ${text(JSON.stringify({ lastgood: 'set aside', restoreJobId, database, comment }))}`,
        );
      }
      await session.run(`alter database ${id(fresh)} rename to ${id(database)}`);
      await session.run('commit');
      return;
    } catch (error) {
      await session.run('rollback').catch(() => undefined);
      // A client that reconnected in between holds the name; its session is ended once more.
      if (attempt === SWAP_TRIES || !(error instanceof Failure) || !/being accessed by other users/.test(error.message))
        throw error;
    }
  }
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
  await session.run(createDatabase(artefacts.properties, fresh, plan.home, server.facts.version.major));
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
    const { roles, bootstrap } = plan.artefacts.fingerprint;
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

/** Brings back what a swap restore set aside; what it replaced is kept under a name of ours. */
export async function undo(
  connection: PostgresConnection,
  restoreJobId: string,
  context: EngineContext,
): Promise<UndoResult> {
  const started = context.clock.monotonic();
  await using looking = await Session.open(connection, connection.database, context.signal);
  const kept = await looking.rows<{ name: string; note: string | null }>(
    "select datname as name, shobj_description(oid, 'pg_database') as note from pg_database where datname ~ $1",
    [ours('old')],
  );
  for (const { name, note } of kept) {
    const parsed = asideSchema.safeParse(parseJson(note));
    if (!parsed.success || parsed.data.restoreJobId !== restoreJobId) continue;
    const { database, comment } = parsed.data;
    const setAsideAs = besideName(database, 'undone', restoreJobId);
    const from = outside(connection, database);
    await using session = await Session.open(from, from.database, context.signal);
    await swapBack(session, name, database, setAsideAs, comment);
    return { command: 'undo', database, setAsideAs, durationMs: Math.round(context.clock.monotonic() - started) };
  }
  throw new Failure('UNDO_IMPOSSIBLE', `no database is kept aside by restore ${restoreJobId}`);
}

function parseJson(note: string | null): unknown {
  try {
    return JSON.parse(note ?? 'null');
  } catch {
    return null;
  }
}

async function swapBack(
  session: Session,
  aside: string,
  database: string,
  setAsideAs: string,
  comment: string | null,
): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await endSessions(session, database);
      await endSessions(session, aside);
      await session.run('begin');
      const present = await session.rows('select from pg_database where datname = $1', [database]);
      if (present.length > 0) await session.run(`alter database ${id(database)} rename to ${id(setAsideAs)}`);
      await session.run(`alter database ${id(aside)} rename to ${id(database)}`);
      await session.run(`comment on database ${id(database)} is ${comment === null ? 'null' : text(comment)}`);
      await session.run('commit');
      return;
    } catch (error) {
      await session.run('rollback').catch(() => undefined);
      if (attempt === SWAP_TRIES || !(error instanceof Failure) || !/being accessed by other users/.test(error.message))
        throw error;
    }
  }
}

/** After a crash: half-restored databases of no running job that nobody is connected to, and scratch servers without an agent. */
export async function sweep(
  connection: PostgresConnection,
  context: EngineContext,
  runningJobs: () => ReadonlySet<string>,
): Promise<string[]> {
  const swept = await sweepScratch(connection);
  await using session = await Session.open(connection, connection.database, context.signal);
  for (const { name } of await session.rows<{ name: string }>(
    'select datname as name from pg_database where datname ~ $1',
    [ours('new')],
  )) {
    for (let attempt = 1; attempt <= DROP_TRIES; attempt += 1) {
      if ([...runningJobs()].some((jobId) => name.endsWith(besideName('', 'new', jobId)))) break;
      const { busy } = await session.one<{ busy: boolean }>(
        'select exists (select from pg_stat_activity where datname = $1) as busy',
        [name],
      );
      if (!busy) {
        await dropOurs(session, name);
        swept.push(`half-restored database ${name}`);
        break;
      }
      await delay(500, undefined, { signal: context.signal });
    }
  }
  return swept;
}
