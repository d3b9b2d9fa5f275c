import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { Bug } from '@lastgood/core';

export interface HttpCall {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly host: string;
}
export type HttpFault =
  /** The proxy responds by itself, and the server receives nothing. A code becomes the error document of S3. */
  | { readonly type: 'respond'; readonly status: number; readonly code?: string }
  /** The server carries the request out, and the client loses the connection instead of a response. */
  | { readonly type: 'lost acknowledgement' };

export interface HttpFaultProxyOptions {
  readonly port: number;
  /** Certificate and key (PEM) of the proxy, which then speaks TLS. The server behind it does not. */
  readonly tls?: { readonly cert: Buffer; readonly key: Buffer };
}

/** An HTTP proxy in front of one server on 127.0.0.1 that injects a fault into each request that a test chooses. */
export class HttpFaultProxy implements AsyncDisposable {
  /** Every request so far. */
  readonly calls: HttpCall[] = [];
  /** Selects the fault of a request. */
  inject: (call: HttpCall) => HttpFault | undefined = () => undefined;
  readonly #options: HttpFaultProxyOptions;
  readonly #listener: Server;
  readonly url: string;

  private constructor(options: HttpFaultProxyOptions, listener: Server, port: number) {
    this.#options = options;
    this.#listener = listener;
    this.url = `${options.tls === undefined ? 'http' : 'https'}://localhost:${port}`;
    listener.on('request', (from, to) => this.#serve(from, to));
  }

  static async open(options: HttpFaultProxyOptions): Promise<HttpFaultProxy> {
    const listener = options.tls === undefined ? createServer() : createTlsServer(options.tls);
    listener.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    const address = listener.address();
    if (address === null || typeof address === 'string') throw new Bug('a TCP server without a port');
    return new HttpFaultProxy(options, listener, address.port);
  }

  #serve(from: IncomingMessage, to: ServerResponse): void {
    const { method = 'GET', url: path = '/', headers } = from;
    const call = { method, path, host: headers.host ?? '' };
    this.calls.push(call);
    const fault = this.inject(call);
    if (fault?.type === 'respond') {
      from.resume();
      const body = fault.code === undefined ? '' : `<Error><Code>${fault.code}</Code></Error>`;
      to.writeHead(fault.status, { 'content-type': 'application/xml', 'content-length': body.length });
      to.end(method === 'HEAD' ? undefined : body);
      return;
    }
    const forwarded = request({ host: '127.0.0.1', port: this.#options.port, method, path, headers }, (response) => {
      if (fault?.type === 'lost acknowledgement') {
        response.resume().once('end', () => from.socket.destroy());
        return;
      }
      to.writeHead(response.statusCode ?? 502, response.headers);
      response.pipe(to);
    });
    forwarded.on('error', () => from.socket.destroy());
    from.pipe(forwarded);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    this.#listener.closeAllConnections();
    await once(this.#listener, 'close');
  }
}
