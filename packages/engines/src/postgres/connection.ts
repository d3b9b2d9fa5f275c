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

/** Splits one line of a passfile; a backslash escapes the colon and itself. */
function fieldsOf(line: string): string[] {
  return (line.match(/(?:\\.|[^:\\])*(?::|$)/g) ?? [])
    .map((field) => field.replace(/:$/, '').replace(/\\(.)/g, '$1'))
    .slice(0, 5);
}

/** The password for one connection; undefined when the file names none. Refuses a file that others can read (B16). */
export async function passwordFrom(connection: PostgresConnection, database: string): Promise<string | undefined> {
  if (connection.passfile === undefined) return undefined;
  const found = await stat(connection.passfile).catch(() => undefined);
  if (found === undefined) throw new Failure('CONFIG_INVALID', `the passfile ${connection.passfile} does not exist`);
  if ((found.mode & 0o077) !== 0)
    throw new Failure('DATA_FOLDER_UNSAFE', `the passfile ${connection.passfile} can be read by others`);
  const host = connection.host.startsWith('/') ? [connection.host, 'localhost'] : [connection.host];
  for (const line of (await readFile(connection.passfile, 'utf8')).split('\n')) {
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

/** The environment that tells libpq's tools where to connect. The database goes in by itself: a name is never parsed as a connection string. */
export function toolEnvironment(connection: PostgresConnection, database: string): Record<string, string> {
  return {
    PGHOST: connection.host,
    PGPORT: String(connection.port),
    PGUSER: connection.user,
    PGDATABASE: database,
    PGSSLMODE: connection.sslmode,
    PGCONNECT_TIMEOUT: '15',
    PGAPPNAME: 'lastgood',
    ...(connection.passfile === undefined ? {} : { PGPASSFILE: connection.passfile }),
  };
}

/** A connection string that names one database, whatever its name holds; for tools that read no PGDATABASE. */
export const conninfo = (database: string): string => `dbname='${database.replace(/([\\'])/g, '\\$1')}'`;

const REFUSED = new Set(['28P01', '28000', '42501', '3D000', '0LP01']);

/** A failure of the server or of the way to it. The message of the server is kept: it names objects, not rows. */
export function databaseFailure(error: unknown, what: string): Failure {
  if (error instanceof Failure) return error;
  if (error instanceof pg.DatabaseError) {
    const code = error.code ?? '';
    if (REFUSED.has(code)) return new Failure('DATABASE_REFUSED', `${what}: ${error.message}`, { cause: error });
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

/** A server may end what takes or waits long; a backup does both. Which of these settings there are depends on its version. */
const NO_TIMEOUTS =
  "select set_config(name, '0', false) from pg_settings where name in ('statement_timeout', 'transaction_timeout', 'idle_session_timeout', 'idle_in_transaction_session_timeout')";

/** One session with a server; closed by `await using`. The signal breaks the connection, so that no query outlives its job. */
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
    signal.throwIfAborted();
    const where = `${connection.host}:${connection.port}`;
    const client = new pg.Client({
      host: connection.host,
      port: connection.port,
      user: connection.user,
      database,
      password: (await passwordFrom(connection, database)) ?? '',
      ssl: await sslOf(connection),
      application_name: 'lastgood',
      connectionTimeoutMillis: 15_000,
      keepAlive: true,
    });
    const session = new Session(client, signal, where);
    try {
      await client.connect();
      await client.query(NO_TIMEOUTS);
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

async function sslOf({
  sslmode,
  host,
}: PostgresConnection): Promise<false | { rejectUnauthorized: boolean; ca?: string }> {
  // A socket carries no TLS; "prefer" without certificate would add nothing on the way, so only the explicit modes turn it on.
  if (host.startsWith('/') || sslmode === 'disable' || sslmode === 'prefer') return false;
  if (sslmode === 'require') return { rejectUnauthorized: false };
  const ca = await readFile(
    process.env['PGSSLROOTCERT'] ?? join(process.env['HOME'] ?? '/', '.postgresql/root.crt'),
    'utf8',
  ).catch(() => undefined);
  return { rejectUnauthorized: true, ...(ca === undefined ? {} : { ca }) };
}
