import { once } from 'node:events';
import { createServer, connect as openConnection, type Server, type Socket } from 'node:net';
import { Bug } from '@lastgood/core';

export type Direction = 'toServer' | 'toClient';
export interface ProxyTarget {
  readonly port: number;
  readonly host?: string;
}
export interface CutAfter {
  readonly direction: Direction;
  readonly bytes: number;
  /** How the receiver sees the cut: a reset (default), or a normal end of the stream. */
  readonly by?: 'reset' | 'end';
}
const BOTH: readonly Direction[] = ['toServer', 'toClient'];

/** The current faults of a proxy, which every connection checks before it forwards a chunk. */
interface Rules {
  readonly held: ReadonlySet<Direction>;
  readonly cutAfter: CutAfter | undefined;
  onForwarded(direction: Direction, bytes: number): void;
}

/** One client connection and its connection to the server. Held sockets are not read, so the sender fills its buffers and waits. */
class Link {
  readonly client: Socket;
  readonly server: Socket;
  readonly #rules: Rules;
  readonly #bytes: Record<Direction, number> = { toServer: 0, toClient: 0 };
  readonly #full = new Set<Direction>();
  /** Ends and errors to pass on when the direction is no longer held. */
  readonly #deferred: Record<Direction, (() => void)[]> = { toServer: [], toClient: [] };
  #ended = false;

  constructor(client: Socket, server: Socket, rules: Rules) {
    this.client = client;
    this.server = server;
    this.#rules = rules;
    for (const direction of BOTH) this.#forward(direction);
  }
  /** Stops or continues reading according to the current rules. */
  follow(): void {
    for (const direction of BOTH) {
      const { from } = this.#ends(direction);
      if (this.#rules.held.has(direction) || this.#full.has(direction)) from.pause();
      else from.resume();
      if (!this.#rules.held.has(direction)) for (const passOn of this.#deferred[direction].splice(0)) passOn();
    }
  }
  cut(): void {
    this.#ended = true;
    for (const socket of [this.client, this.server]) socket.resetAndDestroy();
  }
  #ends(direction: Direction): { from: Socket; to: Socket } {
    return direction === 'toServer' ? { from: this.client, to: this.server } : { from: this.server, to: this.client };
  }
  #forward(direction: Direction): void {
    const { from, to } = this.#ends(direction);
    from.on('data', (chunk: Buffer) => this.#pass(direction, chunk));
    // A paused socket still emits its end and its error.
    const passOn = (action: () => void): void => {
      if (this.#rules.held.has(direction)) this.#deferred[direction].push(action);
      else action();
    };
    from.on('end', () => passOn(() => to.end()));
    from.on('error', () => passOn(() => this.cut()));
    to.on('drain', () => {
      this.#full.delete(direction);
      this.follow();
    });
  }
  #pass(direction: Direction, chunk: Buffer): void {
    if (this.#ended) return;
    const { to } = this.#ends(direction);
    const rule = this.#rules.cutAfter?.direction === direction ? this.#rules.cutAfter : undefined;
    const limit = rule === undefined ? chunk.length : Math.max(0, rule.bytes - this.#bytes[direction]);
    const part = chunk.subarray(0, Math.min(chunk.length, limit));
    this.#bytes[direction] += part.length;
    this.#rules.onForwarded(direction, part.length);
    if (rule !== undefined && this.#bytes[direction] >= rule.bytes) return this.#cutAfterWriting(direction, part, rule);
    if (to.write(part)) return;
    this.#full.add(direction);
    this.follow();
  }
  /** Delivers the last bytes before the cut: the end or the reset follows when the kernel has accepted them. */
  #cutAfterWriting(direction: Direction, part: Buffer, rule: CutAfter): void {
    const { from, to } = this.#ends(direction);
    this.#ended = true;
    if (rule.by === 'end') {
      from.resetAndDestroy();
      to.end(part);
    } else to.write(part, () => this.cut());
  }
}

/**
 * A TCP proxy in front of one port that injects network faults. Faults last until `resume`; connections that were cut stay cut. A held
 * connection stays open but forwards nothing, as in a silent partition. `hold` can affect one direction only.
 */
export class TcpFaultProxy implements AsyncDisposable {
  readonly host = '127.0.0.1';
  readonly port: number;
  readonly #target: ProxyTarget;
  readonly #links = new Set<Link>();
  readonly #held = new Set<Direction>();
  readonly #bytes: Record<Direction, number> = { toServer: 0, toClient: 0 };
  readonly #waiters = new Set<() => void>();
  #cutAfter: CutAfter | undefined;
  #accepted = 0;
  #listener: Server | undefined;

  private constructor(target: ProxyTarget, listener: Server, port: number) {
    this.#target = target;
    this.#listener = listener;
    this.port = port;
    this.#accept(listener);
  }
  /** Listens on a free port of 127.0.0.1. */
  static async open(target: ProxyTarget): Promise<TcpFaultProxy> {
    const listener = await listen(0);
    const address = listener.address();
    if (address === null || typeof address === 'string') throw new Bug('a TCP server without a port');
    return new TcpFaultProxy(target, listener, address.port);
  }
  /** Open connections now. */
  get connections(): number {
    return this.#links.size;
  }
  /** Connections since the start. */
  get accepted(): number {
    return this.#accepted;
  }
  /** Bytes forwarded since the start. */
  bytes(direction: Direction): number {
    return this.#bytes[direction];
  }
  /** Waits until `isTrue` returns true. It is evaluated after each forwarded chunk and each opened or closed connection. */
  async until(isTrue: (proxy: TcpFaultProxy) => boolean): Promise<void> {
    while (!isTrue(this)) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiters.add(resolve);
      await promise;
      this.#waiters.delete(resolve);
    }
  }
  /** Resets every open connection on both sides. New connections are accepted. */
  cut(): void {
    for (const link of this.#links) link.cut();
  }
  /** Stops forwarding and keeps every connection open; in both directions unless one is given. */
  hold(...directions: Direction[]): void {
    for (const direction of directions.length === 0 ? BOTH : directions) this.#held.add(direction);
    this.#follow();
  }
  /** Refuses new connections, as if nothing listened on the port. Open connections continue. */
  refuse(): void {
    this.#listener?.close();
    this.#listener = undefined;
  }
  /** Cuts every connection, open or new, once it has forwarded this many bytes in the direction since it was opened. */
  cutAfter(rule: CutAfter): void {
    this.#cutAfter = rule;
  }
  /** Ends all faults: forwards held bytes and accepts new connections. */
  async resume(): Promise<void> {
    this.#cutAfter = undefined;
    this.#held.clear();
    this.#follow();
    if (this.#listener !== undefined) return;
    this.#listener = await listen(this.port);
    this.#accept(this.#listener);
  }
  async [Symbol.asyncDispose](): Promise<void> {
    this.refuse();
    this.cut();
    await this.until(() => this.#links.size === 0);
  }

  #accept(listener: Server): void {
    listener.on('connection', (client) => {
      const { host = '127.0.0.1', port } = this.#target;
      const server = openConnection({ host, port, allowHalfOpen: true });
      const proxy = this;
      const link = new Link(client, server, {
        held: this.#held,
        get cutAfter() {
          return proxy.#cutAfter;
        },
        onForwarded: (direction, bytes) => {
          this.#bytes[direction] += bytes;
          this.#changed();
        },
      });
      this.#links.add(link);
      this.#accepted += 1;
      link.follow();
      this.#changed();
      Promise.all([closed(client), closed(server)]).then(() => {
        this.#links.delete(link);
        this.#changed();
      });
    });
  }
  #follow(): void {
    for (const link of this.#links) link.follow();
  }
  #changed(): void {
    for (const wake of this.#waiters) wake();
  }
}

async function closed(socket: Socket): Promise<void> {
  if (!socket.closed) await new Promise<void>((resolve) => socket.once('close', () => resolve()));
}
async function listen(port: number): Promise<Server> {
  const listener = createServer({ allowHalfOpen: true }).listen(port, '127.0.0.1');
  await once(listener, 'listening');
  return listener;
}
