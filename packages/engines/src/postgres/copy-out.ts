/** The part of pg's connection that sends a statement. */
interface Sender {
  query(text: string): void;
}

/** COPY ... TO STDOUT as pg's client takes a query of somebody else's making; the server sends one message per row. */
export class CopyOut {
  readonly done: Promise<void>;
  readonly #sql: string;
  readonly #onRow: (line: Buffer) => void;
  readonly #settle = Promise.withResolvers<void>();

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
  handleCommandComplete(): void {}
  handleReadyForQuery(): void {
    this.#settle.resolve();
  }
  handleError(error: Error): void {
    this.#settle.reject(error);
  }
}
