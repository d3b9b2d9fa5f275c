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
