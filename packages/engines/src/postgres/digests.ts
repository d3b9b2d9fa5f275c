import pg from 'pg';
import type { Session } from './connection.ts';

/**
 * What a digest is taken of: `row` is a table's columns in their order, as the first fingerprints have it; `columns` are those that a
 * dump carries, in the order of their names, for a restore may order them anew (an inherited column that was added later).
 */
export type DigestOf = 'row' | 'columns';

/** A sum of two 64-bit halves of MD5 per row: independent of the order, changed by a lost, added, doubled or altered row. */
export const digest = (text: string): string =>
  `coalesce(sum(('x' || left(md5(${text}), 16))::bit(64)::bigint::numeric), 0)::text || ':' || coalesce(sum(('x' || right(md5(${text}), 16))::bit(64)::bigint::numeric), 0)::text`;

/** What `digest` gives for no rows. */
export const EMPTY_DIGEST = '0:0';

/** A generated column is none of the data: a restore computes it anew, like a materialized view. */
const COLUMNS = `select a.attrelid::text as oid, array_agg(a.attname::text order by a.attname) as columns from pg_attribute a join pg_class c on c.oid = a.attrelid
  where c.relkind = 'r' and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' group by 1`;

/** Says per table, by oid, what is to be digested of the rows that the query calls `lastgood_row`. */
export async function rowText(session: Session, of: DigestOf): Promise<(oid: string) => string> {
  if (of === 'row') return () => 'row(lastgood_row.*)::text';
  const found = await session.rows<{ oid: string; columns: string[] }>(COLUMNS);
  const columns = new Map(found.map((table) => [table.oid, table.columns]));
  // A record becomes text by its columns' output functions, never by a cast that a user made.
  return (oid) =>
    `row(${(columns.get(oid) ?? []).map((column) => `lastgood_row.${pg.escapeIdentifier(column)}`).join(', ')})::text`;
}

/** Large objects piece by piece: one may have 4 TB, and one with holes is stored in other pages after a restore. */
const PIECE = 1_048_576;
const PIECES = `with recursive pieces (oid, piece, length, digest) as (
    select o.oid, 0::bigint, length(part), md5(part)
      from pg_largeobject_metadata o, lateral (select lo_get(o.oid, 0, ${PIECE}) as part offset 0) x
    union all
    select p.oid, p.piece + 1, length(part), md5(part)
      from pieces p, lateral (select lo_get(p.oid, (p.piece + 1) * ${PIECE}, ${PIECE}) as part offset 0) x where p.length = ${PIECE}
  ) select (select count(*) from pg_largeobject_metadata)::text as count, ${digest("oid::text || ':' || piece::text || ':' || digest")} as digest from pieces`;

/** The query that counts the large objects and, but for null, digests them. */
export function objectsDigest(of: DigestOf | null): string {
  if (of === 'columns') return PIECES;
  const value = of === null ? 'null' : digest("oid::text || ':' || md5(lo_get(oid))");
  return `select count(*)::text as count, ${value} as digest from pg_largeobject_metadata`;
}
