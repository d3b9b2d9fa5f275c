import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import { databaseNameSchema } from '@lastgood/protocol';
import pg from 'pg';
import { z } from 'zod';

/** How the agent file describes one PostgreSQL server. Secrets are in the passfile, never here. */
export const postgresConnectionSchema = z.strictObject({
  /** A host name, an address, or the folder of the server's socket. */
  host: z.string().min(1).max(255),
  port: z.int().min(1).max(65_535).default(5432),
  user: z.string().min(1).max(63),
  /** A file in libpq's format (host:port:database:user:password) that only its owner can read. */
  passfile: z.string().startsWith('/').optional(),
  database: databaseNameSchema.default('postgres'),
  /** The folder of pg_dump, pg_restore and psql; found by itself when absent. */
  binDir: z.string().startsWith('/').optional(),
  sslmode: z.enum(['disable', 'prefer', 'require', 'verify-ca', 'verify-full']).default('prefer'),
  /** No byte out of a tool, and no line of its diagnostics, for this long is a hang (A5). */
  stallMs: z
    .int()
    .min(1_000)
    .max(7 * 86_400_000)
    .default(15 * 60_000),
  /** How long a backup waits for a lock that another session holds before it gives way (A14). */
  lockWaitMs: z.int().min(100).max(3_600_000).default(30_000),
  /** Where scratch servers put their data; the system's temporary folder when absent. */
  scratchFolder: z.string().startsWith('/').optional(),
  /** The unprivileged user that runs scratch servers, and with them restored code, when the agent is root. Not the owner of a server. */
  scratchUser: z
    .string()
    .regex(/^[a-z_][a-z0-9_-]*$/)
    .default('nobody'),
});
export type PostgresConnection = z.infer<typeof postgresConnectionSchema>;

/** The fields of one line of a passfile, as libpq reads them: a backslash escapes, and the password is all that follows the fourth colon. */
function fieldsOf(line: string): string[] {
  const fields: string[] = [''];
  for (let at = 0; at < line.length; at += 1) {
    const char = line.charAt(at);
    if (char === ':' && fields.length < 5) fields.push('');
    else {
      if (char === '\\' && at + 1 < line.length) at += 1;
      fields.push(`${fields.pop() ?? ''}${line.charAt(at)}`);
    }
  }
  return fields;
}

/** The password for one connection; undefined when the file names none. Refuses a file that others can read (B16). */
export async function passwordFrom(connection: PostgresConnection, database: string): Promise<string | undefined> {
  if (connection.passfile === undefined) return undefined;
  const found = await stat(connection.passfile).catch(() => undefined);
  if (found === undefined) throw new Failure('CONFIG_INVALID', `the passfile ${connection.passfile} does not exist`);
  if ((found.mode & 0o077) !== 0)
    throw new Failure('DATA_FOLDER_UNSAFE', `the passfile ${connection.passfile} can be read by others`);
  const host = connection.host.startsWith('/') ? [connection.host, 'localhost'] : [connection.host];
  for (const line of (await readFile(connection.passfile, 'utf8')).split(/\r?\n/)) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const [fileHost = '', port = '', name = '', user = '', password] = fieldsOf(line);
    const fits = (pattern: string, ...values: string[]): boolean => pattern === '*' || values.includes(pattern);
    if (
      fits(fileHost, ...host) &&
      fits(port, String(connection.port)) &&
      fits(name, database) &&
      fits(user, connection.user)
    )
      return password;
  }
  return undefined;
}

/**
 * What holds in every session of ours, tools included, whatever `ALTER ROLE` and `ALTER DATABASE` say: settings of the startup
 * packet outrank theirs. Whoever owns a database may set its search_path, and a function of theirs that answers to the name of
 * one of PostgreSQL's own would run with our rights.
 */
const SETTLED: Readonly<Record<string, string>> = {
  search_path: 'pg_catalog',
  role: 'none',
  row_security: 'off',
  default_transaction_read_only: 'off',
  standard_conforming_strings: 'on',
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
};
const STARTUP_OPTIONS = Object.entries(SETTLED)
  .map(([name, value]) => `-c ${name}=${value}`)
  .join(' ');

/** Certificates may come from the environment of the agent; where a tool connects and how may not. */
const OF_OTHERS = /^PG(?!SSL(CERT|KEY|ROOTCERT|CRL|CRLDIR)$)/;

/**
 * The environment that tells libpq's tools where to connect; what the agent's own environment says of that (PGSERVICE,
 * PGHOSTADDR, PGOPTIONS) is taken away. The database goes in by itself: a name is never parsed as a connection string.
 */
export function toolEnvironment(connection: PostgresConnection, database: string): Record<string, string | undefined> {
  return {
    ...Object.fromEntries(
      Object.keys(process.env)
        .filter((name) => OF_OTHERS.test(name))
        .map((name) => [name, undefined]),
    ),
    PGHOST: connection.host,
    PGPORT: String(connection.port),
    PGUSER: connection.user,
    PGDATABASE: database,
    PGSSLMODE: connection.sslmode,
    PGCONNECT_TIMEOUT: '15',
    PGAPPNAME: 'lastgood',
    PGOPTIONS: STARTUP_OPTIONS,
    ...(connection.passfile === undefined ? {} : { PGPASSFILE: connection.passfile }),
  };
}

/** A connection string that names one database, whatever its name holds; for tools that read no PGDATABASE. */
export const conninfo = (database: string): string => `dbname='${database.replace(/([\\'])/g, '\\$1')}'`;

const LOGIN_REMEDY = 'Correct user and passfile of the target in the agent file, or pg_hba.conf of the server.';
const REFUSED = new Set(['28P01', '28000', '42501', '3D000', '0LP01']);

/** A pooler hands one session's statements to several backends: settings, snapshots and locks would not stay with us. */
const pooled = (message: string, cause?: unknown): Failure =>
  new Failure('DATABASE_REFUSED', message, {
    cause,
    remedy: 'Let the connection in the agent file lead to the server itself, not to a pooler in front of it.',
  });

/** A failure of the server or of the way to it. The message of the server is kept: it names objects, not rows. */
export function databaseFailure(error: unknown, what: string): Failure {
  if (error instanceof Failure) return error;
  if (error instanceof pg.DatabaseError) {
    const code = error.code ?? '';
    // What poolers say to settings of the startup packet that they do not know.
    if (/unsupported startup parameter/.test(error.message)) return pooled(`${what}: ${error.message}`, error);
    if (REFUSED.has(code))
      return new Failure('DATABASE_REFUSED', `${what}: ${error.message}`, {
        cause: error,
        ...(code.startsWith('28') ? { remedy: LOGIN_REMEDY } : {}),
      });
    if (code.startsWith('08') || code.startsWith('57P'))
      return new Failure('DATABASE_UNREACHABLE', `${what}: ${error.message}`, { cause: error });
    // A relation, column, schema, type or function that was there in the snapshot and is gone.
    if (['42P01', '42703', '3F000', '42704', '42883'].includes(code))
      return new Failure('SOURCE_CHANGED', `${what}: ${error.message}`, { cause: error });
    if (code === '53100') return new Failure('STORE_NO_SPACE', `${what}: ${error.message}`, { cause: error });
    const hint = error.hint === undefined ? '' : ` (${error.hint})`;
    return new Failure('TOOL_FAILED', `${what}: ${error.message}${hint}`, { cause: error });
  }
  const message =
    error instanceof AggregateError
      ? String(error.errors[0]?.message ?? 'no answer')
      : error instanceof Error
        ? error.message
        : String(error);
  return new Failure('DATABASE_UNREACHABLE', `${what}: ${message}`, { cause: error });
}

/**
 * A server may end what takes or waits long; a backup does both. And it looks from time to time whether we are still there, so
 * that a query ends with a cancelled job or a killed agent. Which of these settings there are depends on its version.
 */
const OUR_TIMES = `select pg_catalog.set_config(name, case name when 'client_connection_check_interval' then '2s' else '0' end, false)
  from pg_catalog.pg_settings where name in ('transaction_timeout', 'idle_session_timeout', 'client_connection_check_interval')`;

/** One session with a server; closed by `await using`. The signal breaks the connection, and the server ends its query within seconds. */
export class Session implements AsyncDisposable {
  readonly #client: pg.Client;
  readonly #signal: AbortSignal;
  readonly #abort: () => void;
  readonly #where: string;
  #broken: Error | undefined;

  private constructor(client: pg.Client, signal: AbortSignal, where: string) {
    this.#client = client;
    this.#signal = signal;
    this.#where = where;
    this.#abort = () => this.#destroy();
    signal.addEventListener('abort', this.#abort);
    // An idle connection that breaks is noticed by the next query, which says why; without a listener it would end the process.
    client.on('error', (error) => {
      this.#broken ??= error;
    });
  }

  static async open(connection: PostgresConnection, database: string, signal: AbortSignal): Promise<Session> {
    const [first, ...others] = await tlsOf(connection);
    try {
      return await Session.#open(connection, database, signal, first);
    } catch (error) {
      if (others.length === 0 || !(error instanceof Failure) || !isTlsRefused(error.cause)) throw error;
      return await Session.#open(connection, database, signal, others[0]);
    }
  }

  static async #open(
    connection: PostgresConnection,
    database: string,
    signal: AbortSignal,
    ssl: Tls | undefined,
  ): Promise<Session> {
    signal.throwIfAborted();
    const where = `${connection.host}:${connection.port}`;
    const client = new pg.Client({
      host: connection.host,
      port: connection.port,
      user: connection.user,
      database,
      password: (await passwordFrom(connection, database)) ?? '',
      ssl: ssl ?? false,
      options: STARTUP_OPTIONS,
      application_name: 'lastgood',
      connectionTimeoutMillis: 15_000,
      keepAlive: true,
    });
    const session = new Session(client, signal, where);
    try {
      await client.connect();
      // SHOW looks nothing up: it is safe before the search path is known to be ours.
      const { rows } = await client.query<{ search_path: string }>('show search_path');
      if (rows[0]?.search_path !== SETTLED['search_path'])
        throw pooled(`${where}: the session does not keep the settings that it was opened with`);
      await client.query(OUR_TIMES);
    } catch (error) {
      await session[Symbol.asyncDispose]();
      throw databaseFailure(error, where);
    }
    return session;
  }

  async rows<T extends pg.QueryResultRow>(sql: string, values: readonly unknown[] = []): Promise<T[]> {
    try {
      return (await this.#client.query<T>(sql, [...values])).rows;
    } catch (error) {
      if (this.#signal.aborted) throw this.#signal.reason;
      throw databaseFailure(this.#broken ?? error, this.#where);
    }
  }

  async one<T extends pg.QueryResultRow>(sql: string, values: readonly unknown[] = []): Promise<T> {
    const [row] = await this.rows<T>(sql, values);
    if (row === undefined) throw new Failure('TOOL_FAILED', `${this.#where} gave no row where one was due`);
    return row;
  }

  /** Runs statements that bring no rows, several at once when no values are given. */
  async run(sql: string): Promise<void> {
    await this.rows(sql);
  }

  #destroy(): void {
    const { connection } = this.#client as unknown as { connection?: { stream?: { destroy(): void } } };
    connection?.stream?.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#signal.removeEventListener('abort', this.#abort);
    await Promise.race([
      this.#client.end().catch(() => undefined),
      new Promise((resolve) => setTimeout(resolve, 2_000).unref()),
    ]);
    this.#destroy();
  }
}

interface Tls {
  readonly rejectUnauthorized: boolean;
  readonly ca?: string;
  /** Without it the name in the certificate is compared with the host. */
  readonly checkServerIdentity?: () => undefined;
}

/** The ways to connect, one after the other; undefined is without TLS. `prefer` takes what the server offers, as libpq does. */
async function tlsOf({ sslmode, host }: PostgresConnection): Promise<readonly (Tls | undefined)[]> {
  // A socket carries no TLS.
  if (host.startsWith('/') || sslmode === 'disable') return [undefined];
  const unchecked = { rejectUnauthorized: false };
  if (sslmode === 'prefer') return [unchecked, undefined];
  if (sslmode === 'require') return [unchecked];
  const ca = await readFile(
    process.env['PGSSLROOTCERT'] ?? join(process.env['HOME'] ?? '/', '.postgresql/root.crt'),
    'utf8',
  ).catch(() => undefined);
  const checked = { rejectUnauthorized: true, ...(ca === undefined ? {} : { ca }) };
  return [sslmode === 'verify-ca' ? { ...checked, checkServerIdentity: () => undefined } : checked];
}

/** The server has no TLS, or lets this client in without it alone. */
const isTlsRefused = (error: unknown): boolean =>
  error instanceof pg.DatabaseError
    ? error.code === '28000'
    : error instanceof Error && /does not support SSL|There was an error establishing an SSL/.test(error.message);
