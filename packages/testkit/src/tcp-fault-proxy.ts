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
  /** How the receiver learns of it: a reset, or an end that looks like a polite goodbye. */
  readonly by?: 'reset' | 'end';
}
const BOTH: readonly Direction[] = ['toServer', 'toClient'];

/** What every connection of a proxy asks before it forwards a chunk. */
interface Rules {
  readonly held: ReadonlySet<Direction>;
  readonly cutAfter: CutAfter | undefined;
  passed(direction: Direction, bytes: number): void;
}

/** One client and its connection to the server. Held sockets are not read, so the sender fills its buffers and waits. */
class Link {
  readonly client: Socket;
  readonly server: Socket;
  readonly #rules: Rules;
  readonly #bytes: Record<Direction, number> = { toServer: 0, toClient: 0 };
  readonly #full = new Set<Direction>();
  /** What the other side may learn only when the direction is no longer held. */
  readonly #late: Record<Direction, (() => void)[]> = { toServer: [], toClient: [] };
  #ended = false;

  constructor(client: Socket, server: Socket, rules: Rules) {
    this.client = client;
    this.server = server;
    this.#rules = rules;
    for (const direction of BOTH) this.#forward(direction);
  }
  /** Stops or continues reading as the rules say now. */
  follow(): void {
    for (const direction of BOTH) {
      const { from } = this.#ends(direction);
      if (this.#rules.held.has(direction) || this.#full.has(direction)) from.pause();
      else from.resume();
      if (!this.#rules.held.has(direction)) for (const tell of this.#late[direction].splice(0)) tell();
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
    // A paused socket still reports its end or its error.
    const tell = (what: () => void): void => {
      if (this.#rules.held.has(direction)) this.#late[direction].push(what);
      else what();
    };
    from.on('end', () => tell(() => to.end()));
    from.on('error', () => tell(() => this.cut()));
    to.on('drain', () => {
      this.#full.delete(direction);
      this.follow();
    });
  }
  #pass(direction: Direction, chunk: Buffer): void {
    if (this.#ended) return;
    const { to } = this.#ends(direction);
    const rule = this.#rules.cutAfter?.direction === direction ? this.#rules.cutAfter : undefined;
    const room = rule === undefined ? chunk.length : Math.max(0, rule.bytes - this.#bytes[direction]);
    const part = chunk.subarray(0, Math.min(chunk.length, room));
    this.#bytes[direction] += part.length;
    this.#rules.passed(direction, part.length);
    if (rule !== undefined && this.#bytes[direction] >= rule.bytes) return this.#cutBehind(direction, part, rule);
    if (to.write(part)) return;
    this.#full.add(direction);
    this.follow();
  }
  /** The last bytes before the cut arrive: the end or the reset follows when the kernel has taken them. */
  #cutBehind(direction: Direction, part: Buffer, rule: CutAfter): void {
    const { from, to } = this.#ends(direction);
    this.#ended = true;
    if (rule.by === 'end') {
      from.resetAndDestroy();
      to.end(part);
    } else to.write(part, () => this.cut());
  }
}

/**
 * A network that fails on demand, between clients and one port of 127.0.0.1. Faults hold until `resume`; connections that were
 * cut stay cut. `held` connections look alive to both sides, as in a silent partition; one direction alone may be held.
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
  /** Waits until `isTrue` says so; it is asked whenever bytes passed or a connection came or went. */
  async until(isTrue: (proxy: TcpFaultProxy) => boolean): Promise<void> {
    while (!isTrue(this)) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiters.add(resolve);
      await promise;
      this.#waiters.delete(resolve);
    }
  }
  /** Resets every open connection on both sides; new ones are served. */
  cut(): void {
    for (const link of this.#links) link.cut();
  }
  /** Forwards nothing more and keeps every connection open: both directions unless one is named. */
  hold(...directions: Direction[]): void {
    for (const direction of directions.length === 0 ? BOTH : directions) this.#held.add(direction);
    this.#follow();
  }
  /** New connections are refused as if nobody listened; open ones live on. */
  refuse(): void {
    this.#listener?.close();
    this.#listener = undefined;
  }
  /** Every connection, open or new, is cut once it has forwarded this many bytes in the direction, counted from its start. */
  cutAfter(rule: CutAfter): void {
    this.#cutAfter = rule;
  }
  /** Ends every fault: held bytes flow, new connections are served. */
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
        passed: (direction, bytes) => {
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
