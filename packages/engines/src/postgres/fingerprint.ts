import { Failure } from '@lastgood/core';
import pg from 'pg';
import { z } from 'zod';
import { type DigestOf, EMPTY_DIGEST, largeObjectDigest } from './digests.ts';
import { nameObject } from './messages/server-failure.ts';
import { neededRoles } from './needed-roles.ts';
import { REFUSE_VIEWS, sequenceReader } from './sequence-reader.ts';
import type { Session } from './session.ts';
import { tableReader } from './table-reader.ts';

const count = z.string().regex(/^\d+$/);
const tableSchema = z.object({
  schema: z.string(),
  name: z.string(),
  rows: count,
  digest: z.string().nullable(),
  /** A materialized view: a restore fills it anew, so that its rows need not be those of the source. */
  derived: z.boolean().default(false),
});
const sequenceSchema = z.object({
  schema: z.string(),
  name: z.string(),
  least: z.string(),
  most: z.string(),
  called: z.boolean().nullable(),
});

/** What a database held at the instant of its dump: the yardstick of verification levels 5 and 6. Counts are decimal text. */
export const fingerprintSchema = z.object({
  format: z.literal(1),
  database: z.string(),
  serverVersion: z.string(),
  snapshotAt: z.string(),
  digests: z.boolean(),
  /** Digests are compared with digests of the same kind; fingerprints of before there was a choice do not name theirs. */
  digestOf: z.enum(['row', 'columns', 'copy']).default('row'),
  tables: z.array(tableSchema),
  sequences: z.array(sequenceSchema),
  largeObjects: z.object({ count, digest: z.string().nullable() }),
  extensions: z.array(z.object({ name: z.string(), version: z.string() })),
  /** Roles that own something here, were granted something or have settings, and their members, who have rights through them: a restore needs them. */
  roles: z.array(z.string()),
  /** The superuser that initdb made, when it owns something here; one of `roles` then. */
  bootstrap: z.object({ role: z.string(), superuserOnly: z.boolean() }).nullable().default(null),
  /** Roles, superusers aside, whose code a load may run; absent in backups of before this was asked. */
  codeOwners: z.array(z.string()).optional(),
  tablespaces: z.array(z.string()),
  settings: z.record(z.string(), z.string()),
  /** Parameters of preloaded libraries that the configuration of the server sets: their restore test may need them. */
  librarySettings: z.record(z.string(), z.string()).default({}),
  /** Tables with rows and sequences of extensions that no dump carries, or only in part: they are not compared. */
  uncovered: z.array(z.string()).default([]),
});
export type Fingerprint = z.infer<typeof fingerprintSchema>;

/** Fixes every setting that changes how values print, refuses to see less than all rows (A11), and to read through views. */
export const STABLE_SETTINGS =
  "set local datestyle = 'ISO, YMD'; set local intervalstyle = 'postgres'; set local timezone = 'UTC'; set local extra_float_digits = 3; set local bytea_output = 'hex'; set local xmloption = 'content'; set local quote_all_identifiers = off; set local row_security = off; set local search_path = pg_catalog; set local lc_monetary = 'C'; " +
  REFUSE_VIEWS;

const USER_SCHEMAS = "n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'";
const OF_EXTENSION =
  "exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')";
/** A configuration table of an extension whose rows a dump carries: all of them, for it has no condition (db-D3). */
const CARRIED_CONFIGURATION =
  "exists (select from pg_extension e where e.extcondition[array_position(e.extconfig, c.oid)] = '')";
/** Objects that belong to an extension come back with it, unless they are configuration tables that the dump carries. */
const NOT_OF_EXTENSION = `(not ${OF_EXTENSION} or ${CARRIED_CONFIGURATION})`;
/** A standby has no contents of unlogged relations, and no dump of it carries them. */
const READABLE = "(c.relpersistence = 'p' or not pg_is_in_recovery())";
const TABLES = `select n.nspname as schema, c.relname as name, c.oid::text as oid, c.relkind = 'm' as derived, ${READABLE} as readable from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'm') and c.relpersistence <> 't' and (c.relkind = 'r' or c.relispopulated) and ${USER_SCHEMAS} and ${NOT_OF_EXTENSION} order by 1, 2`;
/** Of a sequence only who it is: ALTER SEQUENCE RESTART gives it a new file, and no dump another shape. */
const SHAPES = `select n.nspname as schema, c.relname as name, c.oid::text as oid, case c.relkind when 'S' then 'sequence' else 'table' end as kind,
  concat_ws(' ', n.nspname, c.relname, c.relkind, case c.relkind when 'r' then c.relfilenode end, (
    select md5(string_agg(concat_ws(' ', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attisdropped), ',' order by a.attnum))
    from pg_attribute a where a.attrelid = c.oid and a.attnum > 0)) as shape
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'S') and c.relpersistence <> 't' and ${READABLE} and ${USER_SCHEMAS} and ${NOT_OF_EXTENSION} order by 1, 2`;
const SEQUENCES = `select n.nspname as schema, c.relname as name, c.oid::text as oid, q.seqincrement > 0 as rises, q.seqcycle as cycles, q.seqmin::text as low, q.seqmax::text as high
  from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_sequence q on q.seqrelid = c.oid
  where c.relkind = 'S' and c.relpersistence <> 't' and ${READABLE} and ${USER_SCHEMAS} and ${NOT_OF_EXTENSION} order by 1, 2`;
const UNCOVERED = `select n.nspname as schema, c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'S') and c.relpersistence = 'p' and ${USER_SCHEMAS} and ${OF_EXTENSION} and not ${CARRIED_CONFIGURATION}
    and (c.relkind = 'S' or pg_relation_size(c.oid) > 0) order by 1, 2 limit 100`;
const LIBRARY_SETTINGS =
  "select name, setting from pg_settings where name like '%.%' and source in ('configuration file', 'command line') and length(setting) <= 1000 order by 1 limit 100";
const TABLESPACES =
  "select distinct t.spcname as name from pg_tablespace t join pg_class c on c.reltablespace = t.oid where t.spcname !~ '^pg_' order by 1";
const SETTINGS =
  "select name, setting from pg_settings where name in ('server_encoding', 'lc_collate', 'lc_ctype', 'TimeZone', 'DateStyle', 'shared_preload_libraries', 'default_tablespace', 'max_locks_per_transaction', 'password_encryption')";

interface Named extends pg.QueryResultRow {
  readonly schema: string;
  readonly name: string;
}
const quoted = ({ schema, name }: Named): string => `${pg.escapeIdentifier(schema)}.${pg.escapeIdentifier(name)}`;
interface Setting extends pg.QueryResultRow {
  readonly name: string;
  readonly setting: string;
}
const byName = (settings: readonly Setting[]): Record<string, string> =>
  Object.fromEntries(settings.map(({ name, setting }) => [name, setting]));
interface Shape extends Named {
  readonly oid: string;
  readonly kind: string;
  readonly shape: string;
}
interface Table extends Named {
  readonly oid: string;
  /** False for an unlogged table of a standby: nobody can read it there, and a dump of it restores it empty. */
  readonly readable: boolean;
  readonly derived: boolean;
}

/** Tables by oid that a dump of the session's snapshot must carry. */
export async function tablesByOid(session: Session): Promise<Map<string, string>> {
  const tables = await session.rows<Table>(TABLES);
  return new Map(tables.filter((table) => table.readable).map((table) => [table.oid, quoted(table)]));
}

/**
 * Keeps the tables from being truncated, dropped or altered until the end of the transaction, as far as that is possible without
 * waiting. Call it while pg_dump holds its own locks: before, a waiting ALTER TABLE would stand between our lock and pg_dump's,
 * and all three would wait for each other.
 */
export async function holdTables(session: Session): Promise<void> {
  const tables = await session.rows<Table>(TABLES);
  for (const table of tables.filter((each) => each.readable && !each.derived)) {
    const held = await session
      .run(
        `savepoint hold; set local lock_timeout = 500; lock table only ${quoted(table)} in access share mode; release savepoint hold; set local lock_timeout = '30s'`,
      )
      .then(
        () => true,
        () => false,
      );
    if (!held) {
      await session.run('rollback to savepoint hold');
      return;
    }
  }
}

/**
 * Refuses SOURCE_CHANGED when a table was emptied, rewritten, renamed or given other columns since the snapshot, or a sequence was
 * replaced: such changes reach into older snapshots, in the dump or in the fingerprint (A13). Call it when every table was read, with a session that sees now.
 */
export async function refuseReshaped(session: Session, now: Session): Promise<void> {
  const shapes = new Map((await now.rows<Shape>(SHAPES)).map((table) => [table.oid, table.shape]));
  const changed = (await session.rows<Shape>(SHAPES)).find((table) => shapes.get(table.oid) !== table.shape);
  if (changed === undefined) return;
  throw new Failure(
    'SOURCE_CHANGED',
    `${changed.kind} ${quoted(changed)} was emptied or altered while it was backed up`,
  );
}

/** How many relations are read before their locks, and those of their indexes, are given back. */
const LOCKED_AT_ONCE = 50;

/**
 * Reads one relation after the other and keeps no lock of them: the table of locks, which all sessions of the server share, stays
 * free whatever their number, and nobody who waits for one of them waits for us.
 */
async function readEach<T>(
  session: Session,
  relations: readonly T[],
  read: (relation: T) => Promise<void>,
): Promise<void> {
  for (let first = 0; first < relations.length; first += LOCKED_AT_ONCE) {
    await session.run('savepoint reading');
    for (const relation of relations.slice(first, first + LOCKED_AT_ONCE)) await read(relation);
    await session.run('rollback to savepoint reading; release savepoint reading');
  }
}

const rethrowNaming =
  (kind: string, { schema, name }: Named) =>
  (error: unknown): never => {
    throw nameObject(error, { kind, name: `${schema}.${name}` });
  };

/** Where every sequence stands now. */
export async function sequencesOf(session: Session): Promise<z.infer<typeof sequenceSchema>[]> {
  const found: z.infer<typeof sequenceSchema>[] = [];
  const standing = await sequenceReader(session);
  await readEach(session, await session.rows<Course>(SEQUENCES), async (sequence) => {
    const { value, called } = await standing(quoted(sequence), sequence.oid).catch(rethrowNaming('sequence', sequence));
    found.push({ schema: sequence.schema, name: sequence.name, least: value, most: value, called });
  });
  return found;
}

interface Course extends Named {
  readonly oid: string;
  readonly rises: boolean;
  readonly cycles: boolean;
  readonly low: string;
  readonly high: string;
}

/**
 * Sequences stand outside of every snapshot: what is dumped lies between the values before and after the dump. One that turned
 * round meanwhile, or was set back, may have stood anywhere.
 */
export async function widenSequences(session: Session, fingerprint: Fingerprint): Promise<Fingerprint> {
  const key = ({ schema, name }: { schema: string; name: string }): string => `${schema}\0${name}`;
  const later = new Map((await sequencesOf(session)).map((sequence) => [key(sequence), sequence]));
  const courses = new Map((await session.rows<Course>(SEQUENCES)).map((course) => [key(course), course]));
  return {
    ...fingerprint,
    sequences: fingerprint.sequences.map((before) => {
      const [after, course] = [later.get(key(before)), courses.get(key(before))];
      if (after === undefined || course === undefined) return before;
      const called = before.called === after.called ? before.called : null;
      const moved = BigInt(after.least) - BigInt(before.least);
      if (moved === 0n) return { ...before, called };
      if (course.cycles || moved > 0n !== course.rises)
        return { ...before, least: course.low, most: course.high, called: null };
      return moved > 0n ? { ...before, most: after.most, called } : { ...before, least: after.least, called };
    }),
  };
}

/** Takes the fingerprint inside the session's transaction; call STABLE_SETTINGS first. To compare digests, take those of the source's `digestOf`. */
export async function takeFingerprint(
  session: Session,
  digests: boolean,
  onTable: (done: number, all: number) => void,
  digestOf: DigestOf = 'copy',
): Promise<Fingerprint> {
  const about = await session.one<{ database: string; version: string; at: Date }>(
    "select current_database() as database, current_setting('server_version') as version, transaction_timestamp() as at",
  );
  const names = await session.rows<Table>(TABLES);
  const tables: Fingerprint['tables'] = [];
  const read = await tableReader(session, digests ? digestOf : null);
  await readEach(session, names, async (name) => {
    onTable(tables.length, names.length);
    const { derived } = name;
    if (derived || !name.readable) {
      const empty = digests && !derived ? EMPTY_DIGEST : null;
      tables.push({ schema: name.schema, name: name.name, rows: '0', digest: empty, derived });
      return;
    }
    const contents = await read(quoted(name), name.oid).catch(rethrowNaming('table', name));
    tables.push({ schema: name.schema, name: name.name, ...contents, derived });
  });
  const objects = await session.one<{ count: string }>('select count(*)::text as count from pg_largeobject_metadata');
  const stored = digests ? await session.one<{ digest: string }>(largeObjectDigest(digestOf)) : { digest: null };
  const settings = await session.rows<Setting>(SETTINGS);
  const librarySettings = await session.rows<Setting>(LIBRARY_SETTINGS);
  return {
    format: 1,
    database: about.database,
    serverVersion: about.version,
    snapshotAt: about.at.toISOString(),
    digests,
    digestOf,
    tables,
    sequences: await sequencesOf(session),
    largeObjects: { count: objects.count, digest: stored.digest },
    extensions: await session.rows(
      "select extname as name, extversion as version from pg_extension where extname <> 'plpgsql' order by 1",
    ),
    ...(await neededRoles(session)),
    tablespaces: (await session.rows<{ name: string }>(TABLESPACES)).map((tablespace) => tablespace.name),
    settings: byName(settings),
    librarySettings: byName(librarySettings),
    uncovered: (await session.rows<Named>(UNCOVERED)).map(quoted),
  };
}
