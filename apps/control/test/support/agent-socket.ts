import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { AgentCommand, BackupSummary, HelloAnswer, HelloInput } from '@lastgood/protocol';
import { type ClientOptions, WebSocket } from 'ws';
import { type ControlHarness, headersOf, type Identity } from './control-harness.ts';

/** Asks until there is an answer; the time only bounds a failure. */
export async function until<T>(what: string, ask: () => T | undefined | Promise<T | undefined>): Promise<T> {
  const end = performance.now() + 60_000;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > end) throw new TypeError(`waited for ${what}`);
    await delay(10);
  }
}

export interface Reply {
  readonly id: number | string | null;
  readonly result?: { readonly type: string; readonly data?: unknown };
  readonly error?: { readonly message: string; readonly data: { readonly code: string } };
}

/** What the door answers to an upgrade: the status, the reason, and the whole head. */
export async function upgrade(
  port: number,
  headers: Record<string, string>,
  path = '/agent',
): Promise<{ status: number; reason: string; head: string }> {
  const asked = request({
    port,
    host: '127.0.0.1',
    path,
    headers: {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': Buffer.from('0123456789abcdef').toString('base64'),
      ...headers,
    },
  });
  asked.end();
  const answered = new Promise<{ status: number; reason: string; head: string }>((resolve, reject) => {
    asked.on('response', (response) => {
      response.resume();
      const head = JSON.stringify(response.headers);
      resolve({ status: response.statusCode ?? 0, reason: String(response.headers['x-reason'] ?? ''), head });
    });
    asked.on('upgrade', (response, socket) => {
      socket.destroy();
      resolve({ status: response.statusCode ?? 0, reason: 'upgraded', head: '' });
    });
    asked.on('error', reject);
  });
  return await answered;
}

/** An agent as the control plane meets it: frames over a real socket, and nothing that keeps the rules by itself. */
export class AgentSocket {
  readonly socket: WebSocket;
  readonly replies: Reply[] = [];
  readonly commands: AgentCommand[] = [];
  readonly closed: Promise<{ code: number; reason: string }>;
  sessionId = '';
  #id = 0;

  constructor(url: string, headers: Record<string, string>, options: ClientOptions = {}) {
    this.socket = new WebSocket(`${url.replace('http', 'ws')}/agent`, {
      headers,
      perMessageDeflate: false,
      ...options,
    });
    this.socket.on('error', () => undefined);
    this.closed = new Promise((resolve) =>
      this.socket.once('close', (code, reason) => resolve({ code, reason: reason.toString() })),
    );
    this.socket.on('message', (data) => {
      const said = data.toString();
      if (said === 'PING') this.socket.send('PONG');
      if (!said.startsWith('{')) return;
      const reply: Reply = JSON.parse(said);
      this.replies.push(reply);
      if (reply.id === 'commands' && reply.result?.type === 'data')
        this.commands.push(reply.result.data as AgentCommand);
    });
  }

  static async open(bench: ControlHarness, identity: Identity, options: ClientOptions = {}): Promise<AgentSocket> {
    const agent = new AgentSocket(bench.url, headersOf(identity, bench.clock.now()), options);
    await once(agent.socket, 'open');
    return agent;
  }
  /** Opens, says hello and takes commands. */
  static async connect(
    bench: ControlHarness,
    identity: Identity,
    hello: Partial<HelloInput> = {},
  ): Promise<AgentSocket> {
    const agent = await AgentSocket.open(bench, identity);
    await agent.hello(bench.clock.now(), hello);
    agent.send({ id: 'commands', method: 'subscription', params: { path: 'commands', input: agent.session() } });
    await until('the subscription', () => agent.replies.some(({ result }) => result?.type === 'started'));
    return agent;
  }

  send(frame: unknown): void {
    this.socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame));
  }
  session(input: object = {}): object {
    return { ...input, sessionId: this.sessionId };
  }
  /** Sends a call and waits for its answer; undefined when the connection ends first. */
  async call(path: string, input: unknown, method = 'mutation'): Promise<Reply | undefined> {
    this.#id += 1;
    const id = this.#id;
    this.send({ id, method, params: { path, input } });
    return await this.reply(id);
  }
  async reply(id: number | string): Promise<Reply | undefined> {
    const found = await until(`the answer to call ${id}`, () => {
      const reply = this.replies.find((candidate) => candidate.id === id);
      return reply ?? (this.socket.readyState === WebSocket.CLOSED ? 'gone' : undefined);
    });
    return found === 'gone' ? undefined : found;
  }
  async hello(now: number, more: Partial<HelloInput> = {}): Promise<HelloAnswer> {
    const reply = await this.call('hello', helloInput(now, more));
    if (reply?.result === undefined) throw new TypeError(`no hello: ${JSON.stringify(reply ?? (await this.closed))}`);
    return this.adopt(reply);
  }
  /** Takes the session that the answer to a hello gives. */
  adopt(reply: Reply | undefined): HelloAnswer {
    const answer = reply?.result?.data as HelloAnswer;
    this.sessionId = answer.sessionId;
    return answer;
  }
  async announce(...names: string[]): Promise<void> {
    await this.sendInventory(names, []);
  }
  /** Tells all its targets and all backups of theirs. */
  async sendInventory(names: readonly string[], backups: readonly BackupSummary[]): Promise<void> {
    const targets = names.map((name) => ({
      name,
      engine: 'postgres',
      labels: {},
      repository: 'local',
      state: 'ok',
      version: '15.18',
      systemId: null,
      sizeBytes: 1,
      databases: databasesIn(backups.filter(({ target }) => target === name)),
      findings: [],
    }));
    const reply = await this.call('inventory', this.session({ hash: randomUUID(), targets, backups, complete: true }));
    if (reply?.result === undefined) throw new TypeError(`no inventory: ${JSON.stringify(reply)}`);
  }
  async end(): Promise<void> {
    this.socket.terminate();
    await this.closed;
  }
}

/** The databases of a server whose backups these are. */
const databasesIn = (backups: readonly BackupSummary[]): { name: string; sizeBytes: number }[] =>
  [...new Set(backups.flatMap(({ contents }) => contents.map(({ name }) => name)))].map((name) => ({
    name,
    sizeBytes: 1,
  }));

export const helloInput = (now: number, more: Partial<HelloInput> = {}): HelloInput => ({
  instanceId: randomUUID(),
  lastSeq: 0,
  incarnation: null,
  schedules: null,
  capabilities: ['engine.postgres/1'],
  clock: now,
  agentVersion: '0.1.0',
  signingKey: 'ed25519:test',
  newestEpoch: 0,
  protocol: 1,
  jobs: [],
  ...more,
});
