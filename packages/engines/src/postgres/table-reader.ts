import { hash } from 'node:crypto';
import pg from 'pg';
import { type DigestOf, digest, rowText } from './digests.ts';
import type { Session } from './session.ts';

/** The rows of a table, and what a digest of them gives: null when none is asked for. */
export interface Contents {
  readonly rows: string;
  readonly digest: string | null;
}
/** Reads the table of that quoted name, which has that oid. */
export type TableReader = (name: string, oid: string) => Promise<Contents>;

/**
 * The columns that a dump carries, in the order of their names, and the one of them that costs least to send: in binary form, when it
 * is a number or the like of the server's own, for those have functions for it, which convert no text.
 */
const COLUMNS = `select c.oid::text as oid, array_agg(a.attname::text order by a.attname) as columns,
    (array_agg(a.attname::text order by a.cost))[1] as narrowest, (array_agg(a.own order by a.cost))[1] as own
  from pg_class c join (select *, row_number() over (partition by attrelid order by not own, attlen <= 0, attlen, attnum) as cost
    from (select a.*, t.oid < 16384 and t.typsend <> 0 and t.typlen > 0 and t.typcategory <> 'S' as own from pg_attribute a join pg_type t on t.oid = a.atttypid) a
    where attnum > 0 and not attisdropped and attgenerated = '') a on a.attrelid = c.oid
  where c.relkind = 'r' group by 1`;

interface Columns extends pg.QueryResultRow {
  readonly oid: string;
  readonly columns: string[];
  readonly narrowest: string;
  readonly own: boolean;
}

/** How many numbers of 32 bits fit exactly into a sum of JavaScript, which has 53. */
const EXACT = 2 ** 20;

/** A sum of the two 64-bit halves of the MD5 of each line: independent of the order, changed by a lost, added, doubled or altered row. */
class LineDigest {
  #sums: [bigint, bigint] = [0n, 0n];
  #parts = [0, 0, 0, 0] as [number, number, number, number];
  #added = 0;
  add(line: Buffer): void {
    const md5 = hash('md5', line, 'buffer');
    this.#parts[0] += md5.readInt32BE(0);
    this.#parts[1] += md5.readUInt32BE(4);
    this.#parts[2] += md5.readInt32BE(8);
    this.#parts[3] += md5.readUInt32BE(12);
    this.#added += 1;
    if (this.#added === EXACT) this.#carry();
  }
  #carry(): void {
    const [a, b, c, d] = this.#parts;
    this.#sums = [this.#sums[0] + (BigInt(a) << 32n) + BigInt(b), this.#sums[1] + (BigInt(c) << 32n) + BigInt(d)];
    this.#parts = [0, 0, 0, 0];
    this.#added = 0;
  }
  toString(): string {
    this.#carry();
    return this.#sums.join(':');
  }
}

/**
 * Reads tables by COPY, as pg_dump does, and counts and digests here. A SELECT must not be: to plan one, PostgreSQL computes what is
 * constant in the expressions of the table's indexes and statistics, and with that runs functions of the table's owner with our
 * rights. COPY plans nothing, and takes nothing but a table.
 */
async function byCopy(session: Session, digests: boolean): Promise<TableReader> {
  const found = new Map((await session.rows<Columns>(COLUMNS)).map((table) => [table.oid, table]));
  const { encoding } = await session.one<{ encoding: string }>("select current_setting('server_encoding') as encoding");
  const listOf = (columns: readonly string[]): string =>
    columns.length === 0 ? '' : ` (${columns.map((column) => pg.escapeIdentifier(column)).join(', ')})`;
  // In the encoding of the database nothing is converted, so that nothing can be refused or lost in that.
  const asText = `with (encoding ${pg.escapeLiteral(encoding)})`;
  return async (name, oid) => {
    const { columns, narrowest, own } = found.get(oid) ?? { columns: [], narrowest: undefined, own: false };
    if (!digests) {
      const list = listOf(narrowest === undefined ? [] : [narrowest]);
      const form = own || narrowest === undefined ? 'with (format binary)' : asText;
      return { rows: await session.copyOut(`copy ${name}${list} to stdout ${form}`, () => undefined), digest: null };
    }
    const sum = new LineDigest();
    const rows = await session.copyOut(`copy ${name}${listOf(columns)} to stdout ${asText}`, (line) => sum.add(line));
    return { rows, digest: sum.toString() };
  };
}

/** Digests as backups had them before: for a scratch server only, where what a plan runs has no rights that matter. */
async function bySelect(session: Session, digestOf: Exclude<DigestOf, 'copy'>): Promise<TableReader> {
  const textOf = await rowText(session, digestOf);
  return (name, oid) =>
    session.one<Contents & pg.QueryResultRow>(
      `select count(*)::text as rows, ${digest(textOf(oid))} as digest from only ${name} as lastgood_row`,
    );
}

/** What reads the tables of the session's snapshot; with digests of that kind unless it is null. */
export async function tableReader(session: Session, digestOf: DigestOf | null): Promise<TableReader> {
  return digestOf === null || digestOf === 'copy'
    ? await byCopy(session, digestOf !== null)
    : await bySelect(session, digestOf);
}
