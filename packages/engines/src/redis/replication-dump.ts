import type { Socket } from 'node:net';
import { Readable, type Writable } from 'node:stream';
import { Failure } from '@lastgood/core';
import { ChunkBatcher, cancellationOf, readPassword } from '@lastgood/host';
import { addressOf, type RedisConnection } from './connection-schema.ts';
import { requireWholeRdb } from './rdb-file.ts';
import type { RdbReport } from './rdb-report.ts';
import { RdbTap } from './rdb-tap.ts';
import { ReplyFailure } from './reply-failure.ts';
import { streamThrough } from './stream-pipeline.ts';
import { connectTransport, TransportFailure } from './transport.ts';

const REPLY_MS = 30_000;
const LONGEST_LINE = 64 * 1024;
const MARK_BYTES = 40;
const LF = 0x0a;

export interface ReplicationRequest {
  readonly connection: RedisConnection;
  /** The version of the server. Valkey sends an older format to a replica that does not name its own, or refuses it. */
  readonly serverVersion: string;
  readonly onBytes?: (doneBytes: number) => void;
  readonly signal: AbortSignal;
}

/**
 * Fetches an RDB snapshot as a replica does, without access to the files of the server. The server may join us to a save that runs
 * already: the aux field `ctime` of the report names the time of the snapshot. Fails with DATABASE_UNREACHABLE when the connection ends
 * early, TOOL_STALLED without progress, TOOL_FAILED when the file is not whole. The user needs `+sync +replconf`.
 */
export async function dumpByReplication(request: ReplicationRequest, sink: Writable): Promise<RdbReport> {
  await using source = await ReplicaConnection.open(request);
  const tap = new RdbTap(request.onBytes);
  const bytes = Readable.from(source.snapshot(), { objectMode: false, highWaterMark: 1024 * 1024 });
  await streamThrough([bytes, new ChunkBatcher(), tap, sink], request.signal, 'the snapshot');
  const report = tap.report();
  requireWholeRdb('the RDB file that the server sent', report);
  return report;
}

/** The side of a replica up to the end of the snapshot: it announces that it wants no more, so that nothing is buffered for it. */
class ReplicaConnection implements AsyncDisposable {
  readonly #socket: Socket;
  readonly #chunks: AsyncIterator<Buffer>;
  readonly #connection: RedisConnection;
  readonly #abort: () => void;
  readonly #signal: AbortSignal;
  #rest: Buffer = Buffer.alloc(0);
  #failure: Failure | null = null;

  private constructor(socket: Socket, { connection, signal }: ReplicationRequest) {
    this.#socket = socket;
    this.#connection = connection;
    this.#signal = signal;
    this.#chunks = socket[Symbol.asyncIterator]();
    this.#abort = () => this.#end(cancellationOf(signal, 'the snapshot'));
    signal.addEventListener('abort', this.#abort);
    // The next read reports it.
    socket.on('error', () => undefined);
  }

  static async open(request: ReplicationRequest): Promise<ReplicaConnection> {
    const { connection, serverVersion, signal } = request;
    if (signal.aborted) throw cancellationOf(signal, 'the snapshot');
    const { passwordFile, user } = connection;
    const password = passwordFile === undefined ? undefined : await readPassword(passwordFile);
    const replica = new ReplicaConnection(await connectTransport(connection, signal), request);
    try {
      if (password !== undefined || user !== 'default') await replica.#command('AUTH', user, password ?? '');
      await replica.#command('REPLCONF', 'rdb-only', '1');
      await replica.#command('REPLCONF', 'capa', 'eof');
      // Redis does not know it, and loses nothing by that.
      await replica.#command('REPLCONF', 'version', serverVersion).catch((error: unknown) => {
        if (!(error instanceof ReplyFailure && error.replyCode === 'ERR')) throw error;
      });
      return replica;
    } catch (error) {
      await replica[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #command(...words: readonly [string, ...string[]]): Promise<void> {
    this.#send(words);
    const reply = await this.#line(REPLY_MS);
    if (!reply.startsWith('+')) throw this.#refusal(words[0], reply);
  }

  #send(words: readonly string[]): void {
    const text = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('');
    this.#socket.write(`*${words.length}\r\n${text}`);
  }

  #refusal(command: string, reply: string): Failure {
    return new ReplyFailure(addressOf(this.#connection), command, reply.replace(/^-/, ''));
  }

  /** The bytes of the RDB file. */
  async *snapshot(): AsyncGenerator<Buffer> {
    this.#send(['SYNC']);
    let header = '';
    // Empty lines keep the connection alive until the save begins.
    while (header === '') header = await this.#line(this.#connection.snapshotMs);
    const mark = /^\$EOF:([0-9a-f]{40})$/.exec(header)?.[1];
    const length = /^\$(\d{1,15})$/.exec(header)?.[1];
    if (mark !== undefined) yield* this.#untilMark(Buffer.from(mark));
    else if (length !== undefined) yield* this.#bytes(Number(length));
    else throw this.#refusal('SYNC', header);
  }

  async *#bytes(length: number): AsyncGenerator<Buffer> {
    for (let left = length; left > 0; ) {
      const chunk = await this.#next(this.#connection.stallMs);
      yield chunk.subarray(0, left);
      left -= chunk.length;
    }
  }

  /** A server that streams does not know the length: the file ends where the last bytes that came are the mark. */
  async *#untilMark(mark: Buffer): AsyncGenerator<Buffer> {
    let held: Buffer = Buffer.alloc(0);
    for (;;) {
      const all = Buffer.concat([held, await this.#next(this.#connection.stallMs)]);
      const end = Math.max(0, all.length - MARK_BYTES);
      held = Buffer.from(all.subarray(end));
      if (end > 0) yield all.subarray(0, end);
      if (held.equals(mark)) return;
    }
  }

  async #line(timeoutMs: number): Promise<string> {
    for (let bytes = this.#rest; ; ) {
      const end = bytes.indexOf(LF);
      if (end >= 0) {
        this.#rest = bytes.subarray(end + 1);
        return bytes.toString('latin1', 0, end).trimEnd();
      }
      if (bytes.length > LONGEST_LINE)
        throw new Failure('DATABASE_UNREACHABLE', `${addressOf(this.#connection)} does not speak the Redis protocol`);
      this.#rest = Buffer.alloc(0);
      bytes = Buffer.concat([bytes, await this.#next(timeoutMs)]);
    }
  }

  async #next(timeoutMs: number): Promise<Buffer> {
    const rest = this.#rest;
    this.#rest = Buffer.alloc(0);
    if (rest.length > 0) return rest;
    const address = addressOf(this.#connection);
    const timer = setTimeout(
      () => this.#end(new Failure('TOOL_STALLED', `${address} sent nothing for ${timeoutMs / 1000} s`)),
      timeoutMs,
    );
    try {
      const { value, done } = await this.#chunks.next();
      if (done !== true) return value;
      throw this.#failure ?? new TransportFailure(address, 'the snapshot', undefined);
    } catch (error) {
      if (error instanceof Failure) throw error;
      throw this.#failure ?? new TransportFailure(address, 'the snapshot', error);
    } finally {
      clearTimeout(timer);
    }
  }

  #end(failure: Failure): void {
    this.#failure ??= failure;
    this.#socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#signal.removeEventListener('abort', this.#abort);
    this.#socket.destroy();
  }
}
