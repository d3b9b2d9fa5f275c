import type { PostgresConnection } from './connection-schema.ts';

const settings = (values: Readonly<Record<string, string>>): string =>
  Object.entries(values)
    .map(([name, value]) => `-c ${name}=${value}`)
    .join(' ');

/**
 * Settings of every session of ours and of the tools, whatever `ALTER ROLE` and `ALTER DATABASE` set: those of the startup packet
 * outrank theirs.
 */
const FIXED = settings({
  role: 'none',
  row_security: 'off',
  default_transaction_read_only: 'off',
  standard_conforming_strings: 'on',
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
});
/**
 * How values become text in a dump, and text becomes values in a restore: what is written under one of these and read under another
 * is another value, without an error. An archive does not carry them. The other settings that change how values print (time zone,
 * digits of floats, bytea) do not change how they are read.
 */
const FORMATS = settings({
  array_nulls: 'on',
  datestyle: 'ISO',
  intervalstyle: 'postgres',
  lc_monetary: 'C',
  transform_null_equals: 'off',
});
/**
 * The owner of a database can set its search_path, and a function of theirs with the name of one of PostgreSQL's own would run with
 * our rights. The tools empty theirs by themselves, before anything else.
 */
export const SEARCH_PATH = 'pg_catalog';

/** The startup options of our own sessions. With formats that are `own`, those of the database hold. */
export const sessionOptions = (formats: 'fixed' | 'own'): string =>
  [FIXED, settings({ search_path: SEARCH_PATH }), ...(formats === 'own' ? [] : [FORMATS])].join(' ');

/** What an administrator may set for libpq, and with it for us, in the environment: which certificates to trust and to present. */
const KEPT = new Set(['PGSSLROOTCERT', 'PGSSLCERT', 'PGSSLKEY', 'PGSSLCRL', 'PGSSLCRLDIR']);

export interface ToolEnvironmentOptions {
  /** The role may set `lc_messages`: the tool gets its messages in English. Asked for by a role that may not, it cannot connect. */
  readonly requestEnglish: boolean;
}

/**
 * The environment in which libpq's tools connect. The database is a variable of its own: a name is never parsed as a connection
 * string. Whatever else libpq would take from the agent's own environment (a service, another address, a password, options) is
 * removed: the agent file alone decides.
 */
export function toolEnvironment(
  connection: PostgresConnection,
  database: string,
  { requestEnglish }: ToolEnvironmentOptions,
): Record<string, string | undefined> {
  const inherited = Object.keys(process.env).filter((name) => /^PG/.test(name) && !KEPT.has(name));
  // An empty variable would count: libpq would look for a service of that name.
  return {
    ...Object.fromEntries(inherited.map((name) => [name, undefined])),
    PGHOST: connection.host,
    PGPORT: String(connection.port),
    PGUSER: connection.user,
    PGDATABASE: database,
    PGSSLMODE: connection.sslmode,
    PGCONNECT_TIMEOUT: '15',
    PGAPPNAME: 'lastgood',
    PGOPTIONS: [FIXED, FORMATS, ...(requestEnglish ? [settings({ lc_messages: 'C' })] : [])].join(' '),
    ...(connection.passfile === undefined ? {} : { PGPASSFILE: connection.passfile }),
  };
}

/** A connection string that names one database, whatever its name contains; for tools that do not read PGDATABASE. */
export const conninfo = (database: string): string => `dbname='${database.replace(/([\\'])/g, '\\$1')}'`;
