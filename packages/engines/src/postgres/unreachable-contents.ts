import { Failure } from '@lastgood/core';
import { type Finding, makeFinding } from '@lastgood/protocol';
import type { Session } from './session.ts';

const MAX_LISTED = 10;

/** As the view pg_user_mappings decides whether it shows the options. */
const HIDDEN_MAPPINGS = `select coalesce(u.usename, 'public') || ' at ' || u.srvname as mapping
  from pg_user_mappings u join pg_foreign_server s on s.oid = u.srvid
  where not (
    (u.umuser <> 0 and u.usename = current_user and (pg_has_role(s.srvowner, 'usage') or has_server_privilege(s.oid, 'usage')))
    or (u.umuser = 0 and pg_has_role(s.srvowner, 'usage'))
    or (select rolsuper from pg_roles where rolname = current_user))
  order by 1`;

/** The user mappings whose options the role may not read: pg_dump leaves the options out without a word (db-D4). */
export async function warnOfUserMappings(session: Session, database: string): Promise<Finding[]> {
  const mappings = (await session.rows<{ mapping: string }>(HIDDEN_MAPPINGS)).map(({ mapping }) => mapping);
  if (mappings.length === 0) return [];
  const params = { count: mappings.length, mappings: mappings.slice(0, MAX_LISTED) };
  return [makeFinding('USER_MAPPING_OPTIONS_LEFT_OUT', { kind: 'database', name: database }, params)];
}

/** Names with bytes beyond ASCII of what we read by name, as hexadecimal bytes. */
const NAMES = `with relations as (
    select c.oid, n.nspname, c.relname, case c.relkind when 'S' then 'sequence' else 'table' end as kind
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'm', 'S') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'),
  names as (
    select 'schema' as kind, nspname::text as name from relations
    union select kind, relname::text from relations
    union select 'column', a.attname::text from relations r join pg_attribute a on a.attrelid = r.oid
      where a.attnum > 0 and not a.attisdropped)
  select kind, encode(convert_to(name, 'SQL_ASCII'), 'hex') as hex from names where name ~ '[^ -~]' order by 1, 2`;

/** The bytes of a name, readable where they are ASCII: `t\xe4b`. */
const printable = (bytes: Buffer): string =>
  [...bytes]
    .map((byte) =>
      byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, '0')}`,
    )
    .join('');

function isUtf8(bytes: Buffer): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
}

/**
 * Refuses a database in SQL_ASCII with a name that is not UTF-8: only such a database can have one (db-D2). Throws SOURCE_UNSUPPORTED,
 * which names the object.
 */
export async function refuseUnreadableNames(session: Session, database: string): Promise<void> {
  const { encoding } = await session.one<{ encoding: string }>("select current_setting('server_encoding') as encoding");
  if (encoding !== 'SQL_ASCII') return;
  const names = (await session.rows<{ kind: string; hex: string }>(NAMES)).map(({ kind, hex }) => ({
    kind,
    bytes: Buffer.from(hex, 'hex'),
  }));
  const found = names.find(({ bytes }) => !isUtf8(bytes));
  if (found === undefined) return;
  throw new Failure(
    'SOURCE_UNSUPPORTED',
    `database "${database}" is in SQL_ASCII, and the name of its ${found.kind} "${printable(found.bytes)}" is not UTF-8`,
    {
      remedy:
        'Rename what the message names (ALTER ... RENAME TO). Until then exclude the database in the agent file, and dump it by hand with pg_dump --encoding=SQL_ASCII.',
    },
  );
}
