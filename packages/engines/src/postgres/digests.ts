import pg from 'pg';
import type { Session } from './session.ts';

/**
 * What a digest is taken of: `row` is a table's columns in their order, as the first fingerprints have it; `columns` are those that a
 * dump carries, in the order of their names, for a restore may order them anew (an inherited column that was added later). Both are
 * computed in the database. `copy` are the same columns as COPY writes them, computed here.
 */
export type DigestOf = 'row' | 'columns' | 'copy';

/** A sum of two 64-bit halves of MD5 per row: independent of the order, changed by a lost, added, doubled or altered row. */
export const digest = (text: string): string =>
  `coalesce(sum(('x' || left(md5(${text}), 16))::bit(64)::bigint::numeric), 0)::text || ':' || coalesce(sum(('x' || right(md5(${text}), 16))::bit(64)::bigint::numeric), 0)::text`;

/** What `digest` gives for no rows. */
export const EMPTY_DIGEST = '0:0';

/** A generated column is none of the data: a restore computes it anew, like a materialized view. */
const COLUMNS = `select a.attrelid::text as oid, array_agg(a.attname::text order by a.attname) as columns from pg_attribute a join pg_class c on c.oid = a.attrelid
  where c.relkind = 'r' and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' group by 1`;

/** Says per table, by oid, what is to be digested of the rows that the query calls `lastgood_row`. */
export async function rowText(session: Session, of: Exclude<DigestOf, 'copy'>): Promise<(oid: string) => string> {
  if (of === 'row') return () => 'row(lastgood_row.*)::text';
  const found = await session.rows<{ oid: string; columns: string[] }>(COLUMNS);
  const columns = new Map(found.map((table) => [table.oid, table.columns]));
  // A record becomes text by its columns' output functions, never by a cast that a user made.
  return (oid) =>
    `row(${(columns.get(oid) ?? []).map((column) => `lastgood_row.${pg.escapeIdentifier(column)}`).join(', ')})::text`;
}

/** Large objects are read in pieces of this many bytes: one may be of 4 TB, and a value of PostgreSQL has at most 1 GB. */
const PIECE = 1024 * 1024;
const FOR_READING = 0x40000;
const END_OF_OBJECT = 2;

/**
 * The digest of all large objects, in constant memory. Only their functions tell how long one is to whom may read it: it is
 * opened, measured and closed, and each step takes what the one before gave, so that none is done twice. How an object is
 * divided into pages, and which of its zeros are stored, makes no difference.
 */
export const largeObjectDigest = (of: DigestOf): string =>
  of === 'row'
    ? `select ${digest("oid::text || ':' || md5(lo_get(oid))")} as digest from pg_largeobject_metadata`
    : `select ${digest('piece')} as digest from (
    select closed.oid::text || ':' || start::text || ':' || md5(lo_get(closed.oid, start, ${PIECE})) as piece
    from (select oid, lo_open(oid, ${FOR_READING}) as fd from pg_largeobject_metadata) opened
      cross join lateral (select opened.oid, opened.fd, lo_lseek64(opened.fd, 0, ${END_OF_OBJECT}) as size) measured
      cross join lateral (select measured.oid, measured.size, lo_close(measured.fd) as result) closed
      cross join lateral generate_series(closed.result::bigint, greatest(closed.size - 1, 0), ${PIECE}) as start offset 0) pieces`;
