import { Failure } from '@lastgood/core';
import pg from 'pg';
import { cancelBackend } from './cancel-request.ts';
import type { PostgresConnection } from './connection-schema.ts';
import { CopyStream } from './copy-stream.ts';
import { passwordFrom } from './passfile.ts';
import { redactError } from './redact-messages.ts';
import { mayTakeAnotherWay, type Tls, waysOf } from './tls.ts';

const settings = (values: Readonly<Record<string, string>>): string =>
  Object.entries(values)
    .map(([name, value]) => `-c ${name}=${value}`)
    .join(' ');

/**
 * What holds in every session of ours and of the tools, whatever `ALTER ROLE` and `ALTER DATABASE` say: settings of the startup
 * packet outrank theirs.
 */
const SETTLED = settings({
  role: 'none',
  row_security: 'off',
  default_transaction_read_only: 'off',
  standard_conforming_strings: 'on',
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
});
/**
 * How values become text in a dump, and text values in a restore: what is written under one of these and read under another is
 * another value, without an error. An archive brings none of them along. What else changes how values print (time zone, digits of
 * floats, bytea) is read as the same value under any setting.
 */
const FORMS = settings({
  array_nulls: 'on',
  datestyle: 'ISO',
  intervalstyle: 'postgres',
  lc_monetary: 'C',
  transform_null_equals: 'off',
});
/**
 * Whoever owns a database may set its search_path, and a function of theirs that answers to the name of one of PostgreSQL's own
 * would run with our rights. The tools empty theirs by themselves, before anything else.
 */
const SEARCH_PATH = 'pg_catalog';

/** What an administrator may tell libpq, and with it us, by the environment: which certificates to trust and to show. */
const KEPT = new Set(['PGSSLROOTCERT', 'PGSSLCERT', 'PGSSLKEY', 'PGSSLCRL', 'PGSSLCRLDIR']);

/**
 * The environment that tells libpq's tools where to connect. The database goes in by itself: a name is never parsed as a
 * connection string. Whatever else libpq would take from the agent's own environment (a service, another address, a password,
 * options) is taken away: what the agent file says is all there is.
 */
export function toolEnvironment(connection: PostgresConnection, database: string): Record<string, string | undefined> {
  const inherited = Object.keys(process.env).filter((name) => /^PG/.test(name) && !KEPT.has(name));
  // A variable without a value is none for the tool: an empty one would be, and libpq looks for a service of that name.
  return {
    ...Object.fromEntries(inherited.map((name) => [name, undefined])),
    PGHOST: connection.host,
    PGPORT: String(connection.port),
    PGUSER: connection.user,
    PGDATABASE: database,
    PGSSLMODE: connection.sslmode,
    PGCONNECT_TIMEOUT: '15',
    PGAPPNAME: 'lastgood',
    PGOPTIONS: `${SETTLED} ${FORMS}`,
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

/** True when the server said no to a statement; false when it went away, has no space left, or when the fault is not the server's. */
export const isRefusal = (error: unknown): error is Failure =>
  error instanceof Failure && ['TOOL_FAILED', 'SOURCE_CHANGED', 'DATABASE_REFUSED'].includes(error.code);

/** A failure of the server or of the way to it, with what may be told of the server's message. */
export function databaseFailure(thrown: unknown, what: string): Failure {
  const error = redactError(thrown);
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
    // A relation, column, schema, type or function that was there in the snapshot and is gone, or is of another kind.
    if (['42P01', '42703', '3F000', '42704', '42883', '42809'].includes(code))
      return new Failure('SOURCE_CHANGED', `${what}: ${error.message}`, { cause: error });
    if (code === '53100') return new Failure('NO_SPACE', `${what}: ${error.message}`, { cause: error });
    const hint = error.hint === undefined ? '' : ` (${error.hint})`;
    return new Failure('TOOL_FAILED', `${what}: ${error.message}${hint}`, { cause: error });
  }
  const message =
    error instanceof AggregateError
      ? String(error.errors[0]?.message ?? 'no answer')
      : error instanceof Error
        ? error.message
        : String(error);
  // What pg says when the server asks for a password and there is none to give.
  if (/^SASL: .* password must be /.test(message))
    return new Failure('DATABASE_REFUSED', `${what}: the server asks for a password, and no line of a passfile fits`, {
      cause: error,
      remedy: LOGIN_REMEDY,
    });
  return new Failure('DATABASE_UNREACHABLE', `${what}: ${message}`, { cause: error });
}

/** A server may end what waits long, and a backup does. Which of these settings there are depends on its version. */
const NO_TIMEOUTS =
  "select pg_catalog.set_config(name, '0', false) from pg_catalog.pg_settings where name in ('transaction_timeout', 'idle_session_timeout')";

/** A backend that computes looks now and then whether we are still there: an agent that died cancels nothing. Some platforms cannot. */
const NOTICE_OUR_END =
  "select pg_catalog.set_config(name, '5s', false) from pg_catalog.pg_settings where name = 'client_connection_check_interval'";

/** One session with a server; closed by `await using`. The signal cancels what it runs and breaks the connection, so that no query outlives its job. */
export class Session implements AsyncDisposable {
  readonly #client: pg.Client;
  readonly #signal: AbortSignal;
  readonly #abort: () => void;
  readonly #where: string;
  #canceling: Promise<void> | undefined;
  #broken: Error | undefined;

  private constructor(client: pg.Client, signal: AbortSignal, { host, port }: PostgresConnection) {
    this.#client = client;
    this.#signal = signal;
    this.#where = `${host}:${port}`;
    this.#abort = () => {
      // Both are there as soon as the session is open, and in the types of neither.
      const { processID: pid, secretKey: secret } = client as unknown as {
        processID: number | null;
        secretKey: number | null;
      };
      if (pid !== null && secret !== null) this.#canceling = cancelBackend(host, port, { pid, secret });
      this.#destroy();
    };
    signal.addEventListener('abort', this.#abort);
    // An idle connection that breaks is noticed by the next query, which says why; without a listener it would end the process.
    client.on('error', (error) => {
      this.#broken ??= error;
    });
  }

  /** With forms of values that are `own`, those of the database hold: for what code of the database computes anew. */
  static async open(
    connection: PostgresConnection,
    database: string,
    signal: AbortSignal,
    forms: 'fixed' | 'own' = 'fixed',
  ): Promise<Session> {
    signal.throwIfAborted();
    const password = await passwordFrom(connection, database);
    const { host, port, user } = connection;
    const login = {
      host,
      port,
      user,
      database,
      // A function, for what is empty here is taken from the environment.
      password: () => password ?? '',
      application_name: 'lastgood',
      options: `${SETTLED} ${settings({ search_path: SEARCH_PATH })}${forms === 'own' ? '' : ` ${FORMS}`}`,
      sslnegotiation: 'postgres',
      connectionTimeoutMillis: 15_000,
      keepAlive: true,
    };
    return await Session.#through(await waysOf(connection), login, connection, signal);
  }

  static async #through(
    [ssl, next]: readonly [Tls, ...Tls[]],
    login: pg.ClientConfig,
    connection: PostgresConnection,
    signal: AbortSignal,
  ): Promise<Session> {
    const session = new Session(new pg.Client({ ...login, ssl }), signal, connection);
    try {
      await session.#begin();
      return session;
    } catch (error) {
      await session[Symbol.asyncDispose]();
      if (next !== undefined && !signal.aborted && mayTakeAnotherWay(error))
        return await Session.#through([next], login, connection, signal);
      signal.throwIfAborted();
      throw databaseFailure(error, session.#where);
    }
  }

  async #begin(): Promise<void> {
    const client = this.#client;
    await client.connect();
    // SHOW looks nothing up: it is safe before the search path is known to be ours.
    const { rows } = await client.query<{ search_path: string }>('show search_path');
    if (rows[0]?.search_path !== SEARCH_PATH)
      throw pooled(`${this.#where}: the session does not keep the settings that it was opened with`);
    await client.query(NO_TIMEOUTS);
    await client.query(NOTICE_OUR_END).catch((error: unknown) => {
      if (!(error instanceof pg.DatabaseError && error.code === '22023')) throw error;
    });
  }

  async rows<T extends pg.QueryResultRow>(sql: string, values: readonly unknown[] = []): Promise<T[]> {
    try {
      return (await this.#client.query<T>(sql, [...values])).rows;
    } catch (error) {
      throw this.#failure(error);
    }
  }

  #failure(error: unknown): unknown {
    return this.#signal.aborted ? this.#signal.reason : databaseFailure(this.#broken ?? error, this.#where);
  }

  /** Runs COPY ... TO STDOUT and hands over every row as it comes. The bytes are good until `onRow` returns, which must not throw. */
  async copyOut(sql: string, onRow: (line: Buffer) => void): Promise<string> {
    try {
      return await this.#client.query(new CopyStream(sql, onRow)).done;
    } catch (error) {
      throw this.#failure(error);
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
    await this.#canceling;
    await Promise.race([
      this.#client.end().catch(() => undefined),
      new Promise((resolve) => setTimeout(resolve, 2_000).unref()),
    ]);
    this.#destroy();
  }
}
