import { Failure } from '@lastgood/core';
import pg from 'pg';
import { cancelBackend } from './cancel-request.ts';
import type { PostgresConnection } from './connection-schema.ts';
import { CopyStream } from './copy-stream.ts';
import { nameObject, ServerFailure, serverFailure } from './messages/server-failure.ts';
import { readDatabaseError } from './messages/server-message.ts';
import { passwordFrom } from './passfile.ts';
import { mayTakeAnotherWay, type Tls, waysOf } from './tls.ts';
import { SEARCH_PATH, sessionOptions } from './tool-environment.ts';

/** A pooler hands one session's statements to several backends: settings, snapshots and locks would not stay with us. */
const pooled = (message: string): Failure =>
  new Failure('DATABASE_REFUSED', message, {
    remedy: 'Let the connection in the agent file lead to the server itself, not to a pooler in front of it.',
  });
/** The answer of poolers to settings of the startup packet that they do not know; a server never gives it to ours. */
const PROTOCOL_VIOLATION = '08P01';

const CONNECT_MS = 15_000;

/** The language of the server's messages in one session. */
export interface MessageLanguage {
  /** The locale that the server is set to: `de_DE.UTF-8`. */
  readonly locale: string;
  /** Messages are in English: their templates are known. */
  readonly untranslated: boolean;
  /** The role may ask for English, here and in every session of its tools. */
  readonly mayRequestEnglish: boolean;
}
const ENGLISH = /^(?:C|POSIX|en)(?:[._@]|$)/;

/** SET on a parameter can be granted since PostgreSQL 15; asked for only where it matters, for older servers have no such function. */
const MAY_SET = "select pg_catalog.has_parameter_privilege('lc_messages', 'set') as may";
const ABOUT_MESSAGES = `select pg_catalog.current_setting('lc_messages') as locale, pg_catalog.current_setting('server_version_num')::int as version,
  (select rolsuper from pg_catalog.pg_roles where rolname = current_user) as super,
  case when pg_catalog.current_setting('logging_collector') = 'on' and pg_catalog.pg_has_role(current_user, 'pg_read_all_settings', 'member')
    then pg_catalog.concat_ws('/', case when pg_catalog.current_setting('log_directory') not like '/%' then pg_catalog.current_setting('data_directory') end, pg_catalog.current_setting('log_directory')) end as "logFolder"`;

/** A server may end sessions that wait long, as a backup does. Which of these settings exist depends on its version. */
const NO_TIMEOUTS =
  "select pg_catalog.set_config(name, '0', false) from pg_catalog.pg_settings where name in ('transaction_timeout', 'idle_session_timeout')";

/** A backend that computes checks now and then whether we are still there: an agent that died cancels nothing. Some platforms cannot. */
const NOTICE_OUR_END =
  "select pg_catalog.set_config(name, '5s', false) from pg_catalog.pg_settings where name = 'client_connection_check_interval'";
const INVALID_PARAMETER_VALUE = '22023';

/** Fields of pg's client that exist as soon as it connects, and that its types leave out. */
interface ClientInternals {
  readonly processID: number | null;
  readonly secretKey: number | null;
  readonly connection?: { readonly stream?: { destroy(error?: Error): void } };
}

/** One session with a server; closed by `await using`. The signal cancels what it runs and breaks the connection, so that no query outlives its job. */
export class Session implements AsyncDisposable {
  readonly #client: pg.Client;
  readonly #signal: AbortSignal;
  readonly #abort: () => void;
  readonly #where: string;
  #canceling: Promise<void> | undefined;
  #broken: Error | undefined;
  #messages: MessageLanguage = { locale: '', untranslated: false, mayRequestEnglish: false };
  #logFolder: string | null = null;

  private constructor(client: pg.Client, signal: AbortSignal, { host, port }: PostgresConnection) {
    this.#client = client;
    this.#signal = signal;
    this.#where = `${host}:${port}`;
    this.#abort = () => {
      const { processID: pid, secretKey: secret } = client as unknown as ClientInternals;
      if (pid !== null && secret !== null) this.#canceling = cancelBackend(host, port, { pid, secret });
      this.#destroy();
    };
    signal.addEventListener('abort', this.#abort);
    // An idle connection that breaks is noticed by the next query, which reports why; without a listener it would end the process.
    client.on('error', (error) => {
      this.#broken ??= error;
    });
  }

  /** Opens a session in `database`. With formats that are `own`, those of the database hold: for code of the database that computes again. */
  static async open(
    connection: PostgresConnection,
    database: string,
    signal: AbortSignal,
    formats: 'fixed' | 'own' = 'fixed',
  ): Promise<Session> {
    signal.throwIfAborted();
    const password = await passwordFrom(connection, database);
    const { host, port, user } = connection;
    const login = {
      host,
      port,
      user,
      database,
      // A function: an empty text would be looked up in the environment. It is called when the server asks for a password.
      password: () => password || refuseMissingPassword(`${host}:${port}`),
      application_name: 'lastgood',
      options: sessionOptions(formats),
      sslnegotiation: 'postgres',
      keepAlive: true,
    };
    return await Session.#through(await waysOf(connection), login, connection, signal);
  }

  static async #through(
    [ssl, next]: readonly [Tls, ...Tls[]],
    login: pg.ClientConfig & { readonly database: string },
    connection: PostgresConnection,
    signal: AbortSignal,
  ): Promise<Session> {
    const session = new Session(new pg.Client({ ...login, ssl }), signal, connection);
    try {
      await session.#connect();
      await session.#prepare();
      return session;
    } catch (error) {
      await session[Symbol.asyncDispose]();
      if (next !== undefined && !signal.aborted && mayTakeAnotherWay(error))
        return await Session.#through([next], login, connection, signal);
      signal.throwIfAborted();
      throw nameLogin(session.#databaseFailure(error), connection.user, login.database);
    }
  }

  async #connect(): Promise<void> {
    const late = new Failure('DATABASE_UNREACHABLE', `${this.#where}: no answer within ${CONNECT_MS / 1000} s`);
    const timer = setTimeout(() => this.#destroy(late), CONNECT_MS);
    try {
      await this.#client.connect();
    } catch (error) {
      if (error instanceof pg.DatabaseError && error.code === PROTOCOL_VIOLATION)
        throw pooled(`${this.#where}: the server refused the settings of the session`);
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  async #prepare(): Promise<void> {
    const client = this.#client;
    // SHOW looks nothing up: it is safe before the search path is known to be ours.
    const { rows } = await client.query<{ search_path: string }>('show search_path');
    if (rows[0]?.search_path !== SEARCH_PATH)
      throw pooled(`${this.#where}: the session does not keep the settings that it was opened with`);
    await client.query(NO_TIMEOUTS);
    await client.query(NOTICE_OUR_END).catch((error: unknown) => {
      if (!(error instanceof pg.DatabaseError && error.code === INVALID_PARAMETER_VALUE)) throw error;
    });
    await this.#requestEnglish();
  }

  /** Messages are read by their templates, which are in English; for a role that may not ask for English they are left out. */
  async #requestEnglish(): Promise<void> {
    const [about] = (
      await this.#client.query<{ locale: string; version: number; super: boolean | null; logFolder: string | null }>(
        ABOUT_MESSAGES,
      )
    ).rows;
    if (about === undefined) return;
    const { locale, version, logFolder } = about;
    this.#logFolder = logFolder;
    let may = about.super === true;
    if (!may && version >= 150_000) may = (await this.#client.query<{ may: boolean }>(MAY_SET)).rows[0]?.may === true;
    const english = ENGLISH.test(locale);
    if (may && !english) await this.#client.query("select pg_catalog.set_config('lc_messages', 'C', false)");
    this.#messages = { locale, untranslated: may || english, mayRequestEnglish: may };
  }

  get messages(): MessageLanguage {
    return this.#messages;
  }
  /** The folder of the server's log; null when it is not known. */
  get logFolder(): string | null {
    return this.#logFolder;
  }

  async rows<T extends pg.QueryResultRow>(sql: string, values: readonly unknown[] = []): Promise<T[]> {
    try {
      return (await this.#client.query<T>(sql, [...values])).rows;
    } catch (error) {
      throw this.#failure(error);
    }
  }

  #failure(error: unknown): unknown {
    return this.#signal.aborted ? this.#signal.reason : this.#databaseFailure(this.#broken ?? error);
  }

  /** A failure of the server or of the way to it. */
  #databaseFailure(error: unknown): Failure {
    if (error instanceof Failure) return error;
    if (error instanceof pg.DatabaseError)
      return serverFailure(readDatabaseError(error, this.#messages.untranslated), {
        what: this.#where,
        logFolder: this.#logFolder,
        routine: error.routine,
      });
    return new Failure('DATABASE_UNREACHABLE', `${this.#where}: ${reasonOf(error)}`);
  }

  /** Runs COPY ... TO STDOUT and hands over every row as it comes. The bytes are good until `onRow` returns, which must not throw. */
  async copyOut(sql: string, onRow: (line: Buffer) => void): Promise<string> {
    try {
      return await this.#client.query(new CopyStream(sql, onRow)).done;
    } catch (error) {
      throw this.#failure(error);
    }
  }

  /** The one row of a query that always has one. */
  async one<T extends pg.QueryResultRow>(sql: string, values: readonly unknown[] = []): Promise<T> {
    const [row] = await this.rows<T>(sql, values);
    if (row === undefined) throw new Failure('DATABASE_ERROR', `${this.#where}: a query returned no row`);
    return row;
  }

  /** Runs statements that return no rows, several at once when no values are given. */
  async run(sql: string): Promise<void> {
    await this.rows(sql);
  }

  #destroy(reason?: Error): void {
    (this.#client as unknown as ClientInternals).connection?.stream?.destroy(reason);
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

/** Names the role or the database that the server refused: before a session stands, its language is not known. */
function nameLogin(error: Failure, user: string, database: string): unknown {
  const isLogin = error instanceof ServerFailure && error.server.sqlstate?.startsWith('28') === true;
  return nameObject(error, isLogin ? { kind: 'role', name: user } : { kind: 'database', name: database });
}

function refuseMissingPassword(where: string): never {
  throw new Failure(
    'DATABASE_REFUSED',
    `${where}: the server asks for a password, and no line of a passfile has one for it`,
    {
      remedy: 'Add a line for this host, port, database and user to the passfile of the target.',
    },
  );
}

/** What the driver or the network reported: names of hosts, addresses and error codes. */
function reasonOf(error: unknown): string {
  const [first = error] = error instanceof AggregateError ? (error.errors as unknown[]) : [error];
  return first instanceof Error ? first.message : String(first);
}
