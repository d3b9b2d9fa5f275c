import { join } from 'node:path';
import type { EngineContext } from '@lastgood/core';
import { captureTool } from '@lastgood/host';
import { type Finding, makeFinding } from '@lastgood/protocol';
import pg from 'pg';
import { statementsOf } from './globals.ts';
import { type LoadRequest, listDump, loadDump, writeEntries } from './load.ts';
import { firingTriggers } from './materialized-views.ts';
import { isRefusal, ServerFailure } from './messages/server-failure.ts';
import { Session } from './session.ts';

const WEEK_MS = 7 * 86_400_000;
const MAX_SCRIPT_BYTES = 256 * 1024 * 1024;
const MAX_LISTED = 10;

/** Entries of foreign keys, and comments on constraints: these may be on a foreign key. */
const FOREIGN_KEY = /^\d+; \d+ \d+ (?:FK CONSTRAINT|COMMENT \S+ CONSTRAINT) /;
const CHECK_VIOLATION = '23514';
const FOREIGN_KEY_VIOLATION = '23503';

/** Check constraints of tables that hold for all rows, where they are defined: an inherited one follows its parent. */
const CHECKS = `select format('%I.%I', n.nspname, c.relname) as "table", quote_ident(k.conname) as name, pg_get_constraintdef(k.oid) as definition,
    obj_description(k.oid, 'pg_constraint') as comment
  from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
  where k.contype = 'c' and k.coninhcount = 0 and k.convalidated and n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
    and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
  order by 1, 2`;

interface Check {
  readonly table: string;
  readonly name: string;
  readonly definition: string;
  readonly comment: string | null;
}
interface Outcome {
  readonly notValid: string[];
  readonly leftOut: string[];
}

/**
 * Loads a dump whose rows violate their own constraints. Foreign keys and check constraints that do not hold become NOT VALID: the
 * server enforces them for new rows. Where a table cannot have such a constraint, it is left out. Any other refusal is RESTORE_FAILED.
 */
export async function loadWithInvalidConstraints(
  request: Omit<LoadRequest, 'select'>,
  context: EngineContext,
): Promise<Finding[]> {
  const { connection, into } = request;
  const outcome: Outcome = { notValid: [], leftOut: [] };
  const load = async (section: string, select?: (entry: string) => boolean): Promise<void> => {
    const args = [...request.args, `--section=${section}`];
    await loadDump({ ...request, args, ...(select === undefined ? {} : { select }) }, context);
  };
  await load('pre-data');
  const checks = await takeChecksOff(request, context.signal);
  await load('data');
  {
    await using session = await Session.open(connection, into, context.signal);
    for (const check of checks) await putCheckBack(session, check, outcome);
  }
  await load('post-data', (entry) => !FOREIGN_KEY.test(entry));
  const script = await foreignKeyScript(request, context);
  await using session = await Session.open(connection, into, context.signal);
  // Event triggers exist by now; they saw nothing of a restore in the source either.
  const triggers = await firingTriggers(session);
  for (const { name } of triggers) await session.run(`alter event trigger ${pg.escapeIdentifier(name)} disable`);
  for (const statement of statementsOf(script)) await addForeignKey(session, statement, outcome);
  for (const { name, again } of triggers)
    await session.run(`alter event trigger ${pg.escapeIdentifier(name)} ${again}`);
  return reportOutcome(outcome);
}

async function takeChecksOff(
  { connection, into }: Pick<LoadRequest, 'connection' | 'into'>,
  signal: AbortSignal,
): Promise<Check[]> {
  await using session = await Session.open(connection, into, signal);
  const checks = await session.rows<Check & pg.QueryResultRow>(CHECKS);
  for (const { table, name } of checks) await session.run(`alter table ${table} drop constraint ${name}`);
  return checks;
}

async function putCheckBack(
  session: Session,
  { table, name, definition, comment }: Check,
  outcome: Outcome,
): Promise<void> {
  const add = `alter table ${table} add constraint ${name} ${definition}`;
  await session.run(add).catch(async (error: unknown) => {
    if (!isViolation(error, CHECK_VIOLATION)) throw error;
    await session.run(`${add} not valid`);
    outcome.notValid.push(`${name} of ${table}`);
  });
  if (comment !== null) await session.run(`comment on constraint ${name} on ${table} is ${pg.escapeLiteral(comment)}`);
}

const isViolation = (error: unknown, sqlstate: string): boolean =>
  error instanceof ServerFailure && error.server.sqlstate === sqlstate;

/** The statements of pg_restore for the foreign keys of the dump. */
async function foreignKeyScript(request: Omit<LoadRequest, 'select'>, context: EngineContext): Promise<string> {
  const { source, dump, tools } = request;
  const entries = (await listDump(request, context.signal)).filter((entry) => FOREIGN_KEY.test(entry));
  if (entries.length === 0) return '';
  const list = await writeEntries(entries, context.workDir);
  const { stdout } = await captureTool(
    {
      file: join(tools.path, 'pg_restore'),
      args: ['--file=-', `--use-list=${list}`, '--no-owner'],
      stdin: source.open(dump, context.signal),
      mayStopReading: true,
      signal: context.signal,
      timeoutMs: WEEK_MS,
      redactStderr: () => null,
    },
    MAX_SCRIPT_BYTES,
  );
  return stdout;
}

async function addForeignKey(session: Session, statement: string, outcome: Outcome): Promise<void> {
  // Settings of the script are those of our session already.
  if (!/^(?:ALTER TABLE|COMMENT ON CONSTRAINT) /.test(statement)) return;
  const key = /^ALTER TABLE (?:ONLY )?(.+?)\s+ADD CONSTRAINT ("(?:[^"]|"")*"|\S+) /s.exec(statement);
  const label = `${key?.[2] ?? ''} of ${key?.[1] ?? ''}`;
  try {
    await session.run(statement);
  } catch (error) {
    // A comment on a foreign key that was left out.
    if (key === null && outcome.leftOut.length > 0 && isRefusal(error)) return;
    if (!isViolation(error, FOREIGN_KEY_VIOLATION)) throw error;
    await session.run(`${statement} NOT VALID`).then(
      () => outcome.notValid.push(label),
      (refused: unknown) => {
        if (!isRefusal(refused)) throw refused;
        outcome.leftOut.push(label);
      },
    );
  }
}

const reportOutcome = ({ notValid, leftOut }: Outcome): Finding[] =>
  (
    [
      ['CONSTRAINTS_NOT_VALID', notValid],
      ['CONSTRAINTS_LEFT_OUT', leftOut],
    ] as const
  ).flatMap(([code, names]) =>
    names.length === 0
      ? []
      : [makeFinding(code, null, { count: names.length, constraints: names.slice(0, MAX_LISTED) })],
  );
