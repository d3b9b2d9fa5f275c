import { type EngineContext, Failure } from '@lastgood/core';
import type { PostgresConnection } from './connection-schema.ts';
import { hasSqlstate, meansChange, ServerFailure } from './messages/server-failure.ts';
import { isUnclassified, type ToolRun, toolFailure } from './messages/tool-failure.ts';
import { Session } from './session.ts';

/** pg_dump waits for its locks under a statement_timeout; no other statement of a dump has one. */
const LOCK_TIMEOUTS = ['55P03', '57014'];
const PROBE_MS = 30_000;

/** What a dump reads: the database, and the tables of its snapshot by oid. */
export interface DumpSource {
  readonly connection: PostgresConnection;
  readonly database: string;
  readonly tables: ReadonlyMap<string, string>;
}

/**
 * What it means that pg_dump or pg_dumpall failed: DATABASE_REFUSED names what the role may not read, SOURCE_CHANGED what was altered
 * meanwhile, TARGET_BUSY what is locked. Where the server's messages are in another language, the server is asked what stood in the way.
 */
export async function explainDumpFailure(
  error: unknown,
  run: ToolRun,
  source: DumpSource,
  { signal }: Pick<EngineContext, 'signal'>,
): Promise<unknown> {
  const failure = toolFailure(error, run);
  if (hasSqlstate(failure, ...LOCK_TIMEOUTS)) return lockTimeout(failure.message);
  if (failure instanceof ServerFailure && meansChange(failure.server))
    return new Failure('SOURCE_CHANGED', failure.message);
  if (signal.aborted || !isUnclassified(run.report) || !(failure instanceof ServerFailure)) return failure;
  return (await findObstacle(source, signal, failure.message)) ?? failure;
}

const lockTimeout = (message: string): Failure =>
  new Failure('TARGET_BUSY', `the dump waited too long for a lock and gave way: ${message}`);

/** Relations and large objects that pg_dump reads, and the role may not. With row_security=off a policy refuses the whole table. */
const UNREADABLE = `select kind, name from (
  select 1 as rank, 'schema' as kind, n.nspname::text as name from pg_namespace n
    where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and not has_schema_privilege(n.oid, 'usage')
      and exists (select from pg_class c where c.relnamespace = n.oid and c.relkind in ('r', 'p', 'S', 'm'))
  union all select 2, case c.relkind when 'S' then 'sequence' when 'm' then 'materialized view' else 'table' end, format('%s.%s', n.nspname, c.relname)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and c.relkind in ('r', 'p', 'S', 'm')
      and case when c.relkind = 'S' then not has_sequence_privilege(c.oid, 'select') else not has_table_privilege(c.oid, 'select') end
  union all select 3, 'table with row-level security', format('%s.%s', n.nspname, c.relname)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relrowsecurity and row_security_active(c.oid)
  union all select 4, 'large object', l.oid::text from pg_largeobject_metadata l
    where not (select rolsuper from pg_roles where rolname = current_user) and not pg_has_role(l.lomowner, 'usage')
      and not exists (select from aclexplode(l.lomacl) a where a.privilege_type = 'SELECT' and (a.grantee = 0 or pg_has_role(a.grantee, 'usage')))
  ) found order by rank, name limit 1`;

/** Who keeps others from reading a relation now. */
const LOCKED = `select format('%s.%s', n.nspname, c.relname) as name, l.pid from pg_locks l
  join pg_class c on c.oid = l.relation join pg_namespace n on n.oid = c.relnamespace
  where l.database = (select oid from pg_database where datname = current_database()) and l.mode = 'AccessExclusiveLock' and l.granted
    and l.pid <> pg_backend_pid() and n.nspname !~ '^pg_' order by 1 limit 1`;

const EXISTING = "select oid::text as oid from pg_class where relkind in ('r', 'm')";

async function findObstacle(
  { connection, database, tables }: DumpSource,
  signal: AbortSignal,
  message: string,
): Promise<Failure | undefined> {
  await using session = await Session.open(
    connection,
    database,
    AbortSignal.any([signal, AbortSignal.timeout(PROBE_MS)]),
  );
  const [unreadable] = await session.rows<{ kind: string; name: string }>(UNREADABLE);
  if (unreadable !== undefined)
    return new Failure('DATABASE_REFUSED', `${message}: the role may not read ${unreadable.kind} "${unreadable.name}"`);
  const existing = new Set((await session.rows<{ oid: string }>(EXISTING)).map(({ oid }) => oid));
  const gone = [...tables].find(([oid]) => !existing.has(oid));
  if (gone !== undefined)
    return new Failure('SOURCE_CHANGED', `${message}: table ${gone[1]} was dropped while it was backed up`);
  const [locked] = await session.rows<{ name: string; pid: number }>(LOCKED);
  if (locked !== undefined) return lockTimeout(`${message}: process ${locked.pid} holds table "${locked.name}"`);
  return undefined;
}
