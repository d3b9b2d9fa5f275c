import { Failure } from '@lastgood/core';
import pg from 'pg';
import { cancelBackend } from '../cancel-request.ts';
import type { PostgresConnection } from '../connection-schema.ts';
import { ServerFailure, serverFailure } from '../messages/server-failure.ts';
import { readDatabaseError } from '../messages/server-message.ts';
import { passwordFrom } from '../passfile.ts';
import { mayTakeAnotherWay, type Tls, waysOf } from '../tls.ts';
import { type Lsn, parseLsn } from '../wal/lsn.ts';
import { type CommandEvent, CommandStream, type Row, type WireConnection } from './command-stream.ts';

/** The name that pg_hba.conf and the passfile use for physical replication in place of a database. */
const REPLICATION = 'replication';
/** Limits of a role or of the server must not end a long backup. We send a status at least every third of `wal_sender_timeout`. */
export const WAL_SENDER_TIMEOUT_MS = 60_000;
const SETTINGS = [
  'statement_timeout=0',
  'lock_timeout=0',
  'idle_in_transaction_session_timeout=0',
  `wal_sender_timeout=${WAL_SENDER_TIMEOUT_MS}`,
];

export interface SystemIdentity {
  readonly systemId: string;
  readonly timeline: number;
  /** The end of the WAL that the server has flushed. */
  readonly flushLsn: Lsn;
}
export interface SlotPosition {
  /** Null for a slot that reserves no WAL, or whose WAL was removed. */
  readonly restartLsn: Lsn | null;
  readonly timeline: number | null;
}
export interface RunningCommand {
  events(): AsyncGenerator<CommandEvent>;
  /** True when received events wait to be read. */
  hasPending(): boolean;
  /** Sends a message inside COPY BOTH. */
  send(bytes: Buffer): void;
  /** Ends our half of COPY BOTH. */
  endCopy(): void;
}
interface ClientInternals {
  readonly connection: WireConnection;
  readonly processID: number | null;
  readonly secretKey: number | null;
}

/** The SQLSTATE behind a failure; null when it did not come from the server. */
export const sqlStateOf = (error: unknown): string | null =>
  error instanceof ServerFailure ? error.server.sqlstate : null;

const CONNECT_MS = 15_000;

const quoteName = (name: string): string => `"${name.replaceAll('"', '""')}"`;

/**
 * One connection of the physical replication protocol. `pg` does the start-up, TLS and SCRAM; commands run one at a time. Closed by
 * `await using`. The signal cancels the running command and breaks the connection.
 * Errors: DATABASE_REFUSED, DATABASE_UNREACHABLE, DATABASE_ERROR (see `sqlStateOf`), CONFIG_INVALID.
 */
export class ReplicationSession implements AsyncDisposable {
  readonly #client: pg.Client;
  readonly #signal: AbortSignal;
  readonly #where: string;
  readonly #abort: () => void;
  #canceling: Promise<void> | undefined;
  #broken: Error | undefined;
  #running: CommandStream | undefined;

  private constructor(client: pg.Client, signal: AbortSignal, { host, port }: PostgresConnection) {
    this.#client = client;
    this.#signal = signal;
    this.#where = `${host}:${port}`;
    this.#abort = () => {
      const { processID: pid, secretKey: secret } = this.#internals;
      // A walsender that waits for a checkpoint does not notice that the connection is gone.
      if (pid !== null && secret !== null) this.#canceling = cancelBackend(host, port, { pid, secret });
      this.#destroy();
    };
    signal.addEventListener('abort', this.#abort);
    client.on('error', (error) => {
      this.#broken ??= error;
    });
  }

  static async open(
    connection: PostgresConnection,
    signal: AbortSignal,
    applicationName = 'lastgood',
  ): Promise<ReplicationSession> {
    signal.throwIfAborted();
    const password = await passwordFrom(connection, REPLICATION);
    const { host, port, user } = connection;
    const login = {
      host,
      port,
      user,
      database: REPLICATION,
      replication: 'true',
      // A function: an empty text would be looked up in the environment. It is called when the server asks for a password.
      password: () => password || refuseMissingPassword(`${host}:${port}`),
      application_name: applicationName,
      options: SETTINGS.map((setting) => `-c ${setting}`).join(' '),
      sslnegotiation: 'postgres',
      keepAlive: true,
    };
    return await ReplicationSession.#through(await waysOf(connection), login, connection, signal);
  }

  static async #through(
    [ssl, next]: readonly [Tls, ...Tls[]],
    login: pg.ClientConfig,
    connection: PostgresConnection,
    signal: AbortSignal,
  ): Promise<ReplicationSession> {
    const session = new ReplicationSession(new pg.Client({ ...login, ssl }), signal, connection);
    try {
      await session.#connect();
      return session;
    } catch (error) {
      await session[Symbol.asyncDispose]();
      if (next !== undefined && !signal.aborted && mayTakeAnotherWay(error))
        return await ReplicationSession.#through([next], login, connection, signal);
      signal.throwIfAborted();
      throw session.#failure(error);
    }
  }

  async #connect(): Promise<void> {
    const late = new Failure('DATABASE_UNREACHABLE', `${this.#where}: no answer within ${CONNECT_MS / 1000} s`);
    const timer = setTimeout(() => this.#destroy(late), CONNECT_MS);
    try {
      await this.#client.connect();
    } finally {
      clearTimeout(timer);
    }
  }

  /** A failure of the server or of the way to it. Its messages may be in any language: only their SQLSTATE is read. */
  #failure(error: unknown): Failure {
    if (error instanceof Failure) return error;
    if (error instanceof pg.DatabaseError)
      return serverFailure(readDatabaseError(error, false), { what: this.#where, routine: error.routine });
    return new Failure(
      'DATABASE_UNREACHABLE',
      `${this.#where}: ${error instanceof Error ? error.message : String(error)}`,
    );
  }

  /** Starts a command. `events` must be read to the end, or the session is over. */
  start(command: string): RunningCommand {
    const stream = new CommandStream(command);
    this.#running = stream;
    this.#client.query(stream as unknown as pg.Submittable);
    return {
      events: () => this.#events(stream),
      hasPending: () => stream.hasPending,
      send: (bytes) => stream.send(bytes),
      endCopy: () => stream.endCopy(),
    };
  }

  async *#events(stream: CommandStream): AsyncGenerator<CommandEvent> {
    try {
      for (let event = await stream.next(); event !== undefined; event = await stream.next()) yield event;
    } catch (error) {
      this.#signal.throwIfAborted();
      throw this.#failure(this.#broken ?? error);
    }
  }

  /** The rows of a command that returns one result set. */
  async rows(command: string): Promise<readonly Row[]> {
    let rows: readonly Row[] = [];
    for await (const event of this.start(command).events()) if (event.kind === 'rows') rows = event.rows;
    return rows;
  }

  async #one(command: string): Promise<Row> {
    const [row] = await this.rows(command);
    if (row === undefined) throw new Failure('DATABASE_ERROR', `${this.#where} returned no row for ${command}`);
    return row;
  }

  async identify(): Promise<SystemIdentity> {
    const row = await this.#one('IDENTIFY_SYSTEM');
    return {
      systemId: row['systemid'] ?? '',
      timeline: Number(row['timeline']),
      flushLsn: parseLsn(row['xlogpos'] ?? ''),
    };
  }

  /** The value of a setting, as SHOW prints it. `name` must be a plain identifier. */
  async show(name: string): Promise<string> {
    return Object.values(await this.#one(`SHOW ${name}`))[0] ?? '';
  }

  async serverVersionNumber(): Promise<number> {
    return Number(await this.show('server_version_num'));
  }

  /** The history file of a timeline above 1, byte for byte as the server archives it. */
  async timelineHistory(timeline: number): Promise<{ readonly name: string; readonly content: string }> {
    const row = await this.#one(`TIMELINE_HISTORY ${timeline}`);
    return { name: row['filename'] ?? '', content: row['content'] ?? '' };
  }

  /** The position of a physical slot; null when there is none of this name (PostgreSQL 15 and later). */
  async readSlot(slot: string): Promise<SlotPosition | null> {
    const row = await this.#one(`READ_REPLICATION_SLOT ${quoteName(slot)}`);
    if (row['slot_type'] === null) return null;
    const { restart_lsn: restart, restart_tli: timeline } = row;
    return {
      restartLsn: restart == null ? null : parseLsn(restart),
      timeline: timeline == null ? null : Number(timeline),
    };
  }

  /** Creates a physical slot that keeps WAL from now on. A temporary one vanishes with this session. */
  async createSlot(slot: string, lifetime: 'permanent' | 'temporary'): Promise<void> {
    const temporary = lifetime === 'temporary' ? ' TEMPORARY' : '';
    await this.rows(`CREATE_REPLICATION_SLOT ${quoteName(slot)}${temporary} PHYSICAL RESERVE_WAL`);
  }

  async dropSlot(slot: string): Promise<void> {
    await this.rows(`DROP_REPLICATION_SLOT ${quoteName(slot)}`);
  }

  /** Breaks the connection: the running command fails with DATABASE_UNREACHABLE. */
  interrupt(): void {
    this.#destroy();
  }

  get #internals(): ClientInternals {
    return this.#client as unknown as ClientInternals;
  }
  #destroy(reason?: Error): void {
    this.#internals.connection.stream.destroy(reason);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#signal.removeEventListener('abort', this.#abort);
    await this.#canceling;
    // The server of an unfinished command does not read a polite goodbye: it sends until the connection breaks.
    if (this.#running !== undefined && !this.#running.ended) this.#destroy();
    await Promise.race([
      this.#client.end().catch(() => undefined),
      new Promise((resolve) => setTimeout(resolve, 2_000).unref()),
    ]);
    this.#destroy();
  }
}

function refuseMissingPassword(where: string): never {
  throw new Failure(
    'DATABASE_REFUSED',
    `${where}: the server asks for a password, and no line of a passfile has one for it`,
    {
      remedy: 'Add a line for this host, port, user and the database "replication" to the passfile of the target.',
    },
  );
}
