import { Bug } from '@lastgood/core';

/** One row of a result set, all values as text. */
export type Row = Readonly<Record<string, string | null>>;

/** What a replication command sends, in order. The bytes belong to the receiver of the event. */
export type CommandEvent =
  | { readonly kind: 'rows'; readonly rows: readonly Row[] }
  | { readonly kind: 'copy-start' }
  | { readonly kind: 'data'; readonly bytes: Buffer }
  | { readonly kind: 'copy-end' };

/** The part of the connection of `pg` that a command needs. It exists in version 8 and is missing from the types. */
export interface WireConnection {
  readonly stream: { pause(): unknown; resume(): unknown; destroy(reason?: Error): unknown };
  query(text: string): void;
  sendCopyFromChunk(bytes: Buffer): void;
  endCopyFrom(): void;
  on(event: string, listener: () => void): unknown;
  off(event: string, listener: () => void): unknown;
}

/** Above this many unread bytes the socket is not read any more; below half of it, it is read again. */
const BUFFERED_BYTES = 1024 * 1024;
const COPY_START = ['copyOutResponse', 'replicationStart'] as const;

/**
 * One command of the replication protocol, submitted to a client of `pg`. Events are pulled: while the consumer is busy, at most
 * about 1 MiB is buffered and the socket is paused, so the server waits.
 */
export class CommandStream {
  readonly #text: string;
  readonly #events: CommandEvent[] = [];
  #connection: WireConnection | undefined;
  #buffered = 0;
  #paused = false;
  #fields: string[] = [];
  #rows: Row[] = [];
  #outcome: { readonly error: unknown } | 'done' | undefined;
  #wake: () => void = () => undefined;

  constructor(text: string) {
    this.#text = text;
  }

  /** True when the server has ended the command, with or without an error. */
  get ended(): boolean {
    return this.#outcome !== undefined;
  }

  /** True when events wait to be read. */
  get hasPending(): boolean {
    return this.#events.length > 0;
  }

  /** The next event, or undefined when the command has ended. Throws the error of the server or of the connection. */
  async next(): Promise<CommandEvent | undefined> {
    for (;;) {
      const event = this.#events.shift();
      if (event !== undefined) {
        if (event.kind === 'data') this.#release(event.bytes.length);
        return event;
      }
      if (this.#outcome === 'done') return undefined;
      if (this.#outcome !== undefined) throw this.#outcome.error;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await promise;
    }
  }

  /** Sends a message inside COPY BOTH. */
  send(bytes: Buffer): void {
    if (this.#connection === undefined) throw new Bug('a message was sent before its command');
    if (this.#outcome === undefined) this.#connection.sendCopyFromChunk(bytes);
  }

  /** Ends our half of COPY BOTH. */
  endCopy(): void {
    if (this.#outcome === undefined) this.#connection?.endCopyFrom();
  }

  // From here on: what a client of `pg` calls.
  submit(connection: WireConnection): void {
    this.#connection = connection;
    for (const name of COPY_START) connection.on(name, this.#copyStart);
    connection.on('copyDone', this.#copyEnd);
    connection.query(this.#text);
  }
  handleRowDescription({ fields }: { fields: readonly { name: string }[] }): void {
    this.#fields = fields.map(({ name }) => name);
    this.#rows = [];
  }
  handleDataRow({ fields }: { fields: readonly (string | null)[] }): void {
    this.#rows.push(Object.fromEntries(this.#fields.map((name, index) => [name, fields[index] ?? null])));
  }
  handleCommandComplete(): void {
    if (this.#fields.length === 0) return;
    this.#push({ kind: 'rows', rows: this.#rows });
    this.#fields = [];
  }
  handleCopyData({ chunk }: { chunk: Buffer }): void {
    // The parser of `pg` reuses its buffer: the chunk is only valid during this call.
    this.#push({ kind: 'data', bytes: Buffer.from(chunk) });
    this.#buffered += chunk.length;
    if (this.#buffered > BUFFERED_BYTES && !this.#paused) {
      this.#paused = true;
      this.#connection?.stream.pause();
    }
  }
  handleReadyForQuery(): void {
    this.#end('done');
  }
  handleError(error: unknown): void {
    this.#end({ error });
  }
  handleEmptyQuery(): void {}
  handlePortalSuspended(): void {}

  readonly #copyStart = (): void => this.#push({ kind: 'copy-start' });
  readonly #copyEnd = (): void => this.#push({ kind: 'copy-end' });

  #push(event: CommandEvent): void {
    this.#events.push(event);
    this.#wake();
  }
  #release(bytes: number): void {
    this.#buffered -= bytes;
    if (!this.#paused || this.#buffered > BUFFERED_BYTES / 2) return;
    this.#paused = false;
    this.#connection?.stream.resume();
  }
  #end(outcome: { readonly error: unknown } | 'done'): void {
    this.#outcome ??= outcome;
    for (const name of COPY_START) this.#connection?.off(name, this.#copyStart);
    this.#connection?.off('copyDone', this.#copyEnd);
    this.#wake();
  }
}
