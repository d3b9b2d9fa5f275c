import { Failure } from '@lastgood/core';

/** The part of pg's connection that sends a statement. */
interface Sender {
  query(text: string): void;
}

/** COPY ... TO STDOUT in the form in which pg's client takes a custom query; the server sends one message per row. */
export class CopyStream {
  /** The number of rows, as the server reports it at the end. */
  readonly done: Promise<string>;
  readonly #sql: string;
  readonly #onRow: (line: Buffer) => void;
  readonly #settle = Promise.withResolvers<string>();
  #rows = '';

  constructor(sql: string, onRow: (line: Buffer) => void) {
    this.#sql = sql;
    this.#onRow = onRow;
    this.done = this.#settle.promise;
  }
  submit(connection: Sender): void {
    connection.query(this.#sql);
  }
  handleCopyData({ chunk }: { chunk: Buffer }): void {
    this.#onRow(chunk);
  }
  handleCommandComplete({ text }: { text: string }): void {
    this.#rows = /^COPY ([0-9]+)$/.exec(text)?.[1] ?? '';
  }
  handleReadyForQuery(): void {
    if (this.#rows === '')
      this.#settle.reject(new Failure('DATABASE_ERROR', 'COPY ended without the number of its rows'));
    else this.#settle.resolve(this.#rows);
  }
  handleError(error: Error): void {
    this.#settle.reject(error);
  }
}
