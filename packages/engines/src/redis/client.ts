import { Failure } from '@lastgood/core';
import { cancellationOf, readPassword } from '@lastgood/host';
import { Redis } from 'ioredis';
import { addressOf, type RedisConnection } from './connection-schema.ts';
import { ReplyFailure } from './reply-failure.ts';
import { CONNECT_MS, TransportFailure, tlsOptions } from './transport.ts';

const COMMAND_MS = 30_000;

export type Argument = string | number | Buffer;
export type Command = readonly [name: string, ...args: readonly Argument[]];

export interface SessionOptions {
  /** A command without a reply for this long fails, and with it the session. */
  readonly commandMs?: number;
  readonly database?: number;
}

/**
 * One connection to a Redis or Valkey server for a few commands. Nothing is retried or sent twice. Fails with DATABASE_UNREACHABLE,
 * DATABASE_REFUSED (a ReplyFailure, which carries the reply code) or what the signal was aborted with. No text of the server leaves.
 */
export class RedisSession implements AsyncDisposable {
  readonly #client: Redis;
  readonly #signal: AbortSignal;
  readonly #address: string;
  readonly #commandMs: number;
  readonly #abort: () => void;
  #broken: Error | undefined;

  private constructor(client: Redis, address: string, signal: AbortSignal, commandMs: number) {
    this.#client = client;
    this.#signal = signal;
    this.#address = address;
    this.#commandMs = commandMs;
    this.#abort = () => client.disconnect();
    signal.addEventListener('abort', this.#abort);
    client.on('error', (error: Error) => {
      this.#broken ??= error;
    });
  }

  static async open(
    connection: RedisConnection,
    signal: AbortSignal,
    { commandMs = COMMAND_MS, database = 0 }: SessionOptions = {},
  ): Promise<RedisSession> {
    if (signal.aborted) throw cancellationOf(signal, 'the connection');
    const password = connection.passwordFile === undefined ? undefined : await readPassword(connection.passwordFile);
    const { socket, host = '', port, user } = connection;
    const tls = await tlsOptions(connection);
    const client = new Redis({
      ...(socket === undefined ? { host, port } : { path: socket }),
      ...(tls === undefined ? {} : { tls }),
      protocol: 2,
      lazyConnect: true,
      connectTimeout: CONNECT_MS,
      retryStrategy: () => null,
      enableReadyCheck: false,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      disableClientInfo: true,
      stringNumbers: true,
    });
    const session = new RedisSession(client, addressOf(connection), signal, commandMs);
    try {
      await session.#connect();
      // Not left to the client, which prints warnings of its own about the password.
      if (password !== undefined || user !== 'default') await session.call('AUTH', user, password ?? '');
      if (database !== 0) await session.call('SELECT', database);
      return session;
    } catch (error) {
      await session[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #connect(): Promise<void> {
    try {
      await this.#client.connect();
    } catch (error) {
      throw this.#failure('the connection', error);
    }
  }

  /** Runs one command; texts of the reply are decoded as UTF-8, and numbers are texts. */
  async call(...command: Command): Promise<unknown> {
    const [name, ...args] = command;
    return await this.#reply(name, this.#client.call(name, ...args));
  }

  /** Runs one command; texts of the reply are bytes. */
  async callRaw(...command: Command): Promise<unknown> {
    const [name, ...args] = command;
    return await this.#reply(name, this.#client.callBuffer(name, ...args));
  }

  /** Runs commands in one transaction and returns their replies, decoded. Fails when the server refused any of them. */
  async transaction(commands: readonly Command[]): Promise<unknown[]> {
    const queued = [['MULTI'] as const, ...commands].map(([name, ...args]) =>
      this.#reply(name, this.#client.call(name, ...args)),
    );
    const executed = this.call('EXEC');
    // The reply to the refused command carries the reason; the one to EXEC only reports that there was a refusal.
    await Promise.allSettled([...queued, executed]);
    await Promise.all(queued);
    const replies = await executed;
    if (!Array.isArray(replies)) throw new ReplyFailure(this.#address, 'EXEC', 'ERR');
    return replies.map((reply: unknown, index) => {
      if (reply instanceof Error) throw new ReplyFailure(this.#address, commands[index]?.[0] ?? 'EXEC', reply.message);
      return reply;
    });
  }

  async #reply(name: string, sent: Promise<unknown>): Promise<unknown> {
    const late = Symbol('late');
    const timer = Promise.withResolvers<typeof late>();
    const timeout = setTimeout(() => timer.resolve(late), this.#commandMs);
    sent.catch(() => undefined);
    try {
      const reply = await Promise.race([sent, timer.promise]);
      if (reply !== late) return reply;
      this.#client.disconnect();
      throw new Failure('DATABASE_UNREACHABLE', `${this.#address}: no reply to ${name} within ${this.#commandMs} ms`);
    } catch (error) {
      throw this.#failure(name, error);
    } finally {
      clearTimeout(timeout);
    }
  }

  #failure(what: string, error: unknown): Failure {
    if (this.#signal.aborted) return cancellationOf(this.#signal, `${this.#address}: ${what}`);
    if (error instanceof Failure) return error;
    // The type of ioredis for it is `any`.
    if (error instanceof Error && error.name === 'ReplyError')
      return new ReplyFailure(this.#address, what, error.message);
    return new TransportFailure(this.#address, what, this.#broken ?? error);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#signal.removeEventListener('abort', this.#abort);
    this.#client.disconnect();
  }
}
