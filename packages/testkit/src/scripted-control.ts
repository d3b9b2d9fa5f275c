import { once } from 'node:events';
import { createServer } from 'node:http';
import { Bug } from '@lastgood/core';
import { type WebSocket, WebSocketServer } from 'ws';

interface Call {
  readonly path: string;
  readonly input: Record<string, unknown>;
}
/** Undefined: no answer. */
type Answer = unknown;
interface AnswerFrame {
  readonly id: number;
  readonly result: { readonly type: 'data'; readonly data: unknown };
}
/** The subscription of one session. */
export interface CommandChannel {
  send(command: unknown): void;
  cut(): void;
}
const HELLO = { epoch: 1, incarnation: 'inc-1', protocol: 1, leaseMs: 90_000, spreadMs: 0, merged: null, reset: null };

/** A control plane over a real socket that answers each call as the script says; `undefined` leaves a call without an answer. */
export class ScriptedControl implements AsyncDisposable {
  readonly calls: Call[] = [];
  readonly #server = createServer();
  readonly #sockets = new WebSocketServer({ server: this.#server });
  /** Answers that differ from those of a control plane that works. */
  answers: Partial<Record<string, (input: Record<string, unknown>) => Answer | Promise<Answer>>> = {};
  /** The texts that are sent in place of the frame of an answer. */
  frames: (frame: AnswerFrame) => readonly string[] = (frame) => [JSON.stringify(frame)];
  /** Called with each subscription to commands. */
  subscribed: (channel: CommandChannel) => void = () => undefined;
  clock = Date.now();
  heartbeatMs = 15_000;

  private constructor() {
    this.#sockets.on('connection', (socket) => {
      socket.on('error', () => undefined);
      socket.on('message', (data) => {
        if (String(data) === 'PING') return socket.send('PONG');
        for (const { id, params } of [JSON.parse(String(data))].flat()) {
          if (params === undefined) continue;
          const { path, input } = params;
          this.calls.push({ path, input });
          void Promise.resolve((this.answers[path] ?? this.#usual(path))(input)).then((answer) => {
            if (answer === undefined) return;
            for (const text of this.frames({ id, result: { type: 'data', data: answer } })) socket.send(text);
          });
          if (path === 'commands') this.#subscribe(socket, id);
        }
      });
    });
  }
  #subscribe(socket: WebSocket, id: number): void {
    const respond = (result: object): void => socket.send(JSON.stringify({ id, result }));
    respond({ type: 'started' });
    this.subscribed({
      send: (command) => respond({ type: 'data', data: command }),
      cut: () => socket.terminate(),
    });
  }
  static async open(port = 0): Promise<ScriptedControl> {
    const control = new ScriptedControl();
    control.#server.listen(port, '127.0.0.1');
    await once(control.#server, 'listening');
    return control;
  }

  get url(): string {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Bug('no port');
    return `http://127.0.0.1:${address.port}`;
  }
  /** Ends every session. */
  cutAll(): void {
    for (const socket of this.#sockets.clients) socket.terminate();
  }
  count(path: string): number {
    return this.calls.filter((call) => call.path === path).length;
  }
  last(path: string): Record<string, unknown> | undefined {
    return this.calls.findLast((call) => call.path === path)?.input;
  }

  /** The answer of a control plane that works. */
  #usual(path: string): (input: Record<string, unknown>) => Answer {
    const { clock: controlClock, heartbeatMs } = this;
    const session = `session-${this.count('hello')}`;
    const known: Record<string, (input: Record<string, unknown>) => Answer> = {
      hello: () => ({ ...HELLO, sessionId: session, controlClock, heartbeatMs }),
      commands: () => undefined,
      report: ({ events }) => ({ acceptedIds: (events as { id: string }[]).map(({ id }) => id) }),
      heartbeat: () => ({ controlClock, cancel: [] }),
      requestGrant: () => ({ granted: true, ttlMs: 30_000, reason: '' }),
    };
    return known[path] ?? (() => ({}));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets.clients) socket.terminate();
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}
