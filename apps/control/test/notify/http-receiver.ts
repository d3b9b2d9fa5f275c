import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { Bug } from '@lastgood/core';

export interface ReceivedRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}
type Answer = (response: ServerResponse) => void;

/** A web server on 127.0.0.1 that keeps what it receives. Answers 200, unless another answer is set for the next request. */
export class HttpReceiver implements AsyncDisposable {
  readonly received: ReceivedRequest[] = [];
  readonly #server: Server;
  readonly #answers: Answer[] = [];
  readonly #waiters = new Set<() => void>();

  private constructor() {
    this.#server = createServer((request, response) => {
      text(request).then((body) => {
        const { method = '', url: path = '', headers } = request;
        this.received.push({ method, path, headers, body });
        const answer = this.#answers.shift();
        if (answer === undefined) response.end('ok');
        else answer(response);
        for (const wake of this.#waiters) wake();
      });
    });
  }
  static async open(): Promise<HttpReceiver> {
    const receiver = new HttpReceiver();
    await once(receiver.#server.listen(0, '127.0.0.1'), 'listening');
    return receiver;
  }
  get url(): string {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Bug('a TCP server without a port');
    return `http://127.0.0.1:${address.port}`;
  }
  answerNext(status: number, headers: Record<string, string> = {}): void {
    this.#answers.push((response) => response.writeHead(status, headers).end('a body that nobody reads'));
  }
  /** Takes the next request and never answers. */
  hangNext(): void {
    this.#answers.push(() => undefined);
  }
  /** Ends the connection of the next request without an answer. */
  dropNext(): void {
    this.#answers.push((response) => response.destroy());
  }
  async untilReceived(count: number): Promise<void> {
    while (this.received.length < count) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiters.add(resolve);
      await promise;
      this.#waiters.delete(resolve);
    }
  }
  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}
