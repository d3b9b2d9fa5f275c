import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { Failure } from '@lastgood/core';
import { runTool } from '../run-tool.ts';
import { parentOf } from './processes.ts';
import type { Sandbox } from './sandbox.ts';

const LOOPBACK = '127.0.0.1';
const POLL_MS = 20;
const WEEK_MS = 7 * 86_400_000;
const START_MS = 30_000;

/** Runs in the network of the sandbox: passes bytes between a socket that the agent can reach and a port. */
const RELAY = `
const net = require('node:net');
const [path, port] = process.argv.slice(1);
net.createServer((outer) => {
  const inner = net.connect(Number(port), '${LOOPBACK}');
  outer.pipe(inner).pipe(outer);
  const end = () => { outer.destroy(); inner.destroy(); };
  for (const socket of [outer, inner]) socket.on('error', end).on('close', end);
}).listen(path);
`;

export interface RelayRequest {
  readonly sandbox: Sandbox;
  /** The server, as this process sees it. */
  readonly pid: number;
  /** The port on which it listens in its own network. */
  readonly port: number;
  /** Where the relay makes its socket: a short path in a folder in which only this process can write. */
  readonly socketPath: string;
  readonly signal: AbortSignal;
}
export interface Relay extends AsyncDisposable {
  /** Leads to the server. */
  readonly port: number;
}

/** Makes a port of the loopback interface lead to one of a server in a sandbox, which has a network of its own. */
export async function relayLoopback(request: RelayRequest): Promise<Relay> {
  const { sandbox, pid, port, socketPath, signal } = request;
  const init = await parentOf(pid);
  if (init === undefined) throw new Failure('DATABASE_UNREACHABLE', 'the scratch server ended while it was starting');
  const stop = new AbortController();
  const users = sandbox.containment === 'user-namespace' ? ['--user', '--preserve-credentials'] : [];
  const running = runTool({
    file: 'nsenter',
    args: ['--target', String(init), ...users, '--net', '--', process.execPath, '-e', RELAY, socketPath, String(port)],
    signal: AbortSignal.any([signal, stop.signal]),
    timeoutMs: WEEK_MS,
    cwd: '/',
  });
  let ended: unknown;
  running.catch((error: unknown) => {
    ended = error;
  });
  const sockets = new Set<Socket>();
  const server = createServer((outer) => {
    const inner = connect(socketPath);
    outer.pipe(inner).pipe(outer);
    for (const socket of [outer, inner]) {
      sockets.add(socket);
      const end = (): void => {
        outer.destroy();
        inner.destroy();
        sockets.delete(socket);
      };
      socket.on('error', end).on('close', end);
    }
  });
  const close = async (): Promise<void> => {
    stop.abort();
    if (server.listening) {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, 'close');
    }
    await running.catch(() => undefined);
  };
  try {
    const until = performance.now() + START_MS;
    while (!(await canConnect(socketPath))) {
      signal.throwIfAborted();
      if (ended !== undefined) throw ended;
      if (performance.now() > until) throw new Failure('JOB_DEADLINE', 'the relay to the scratch server did not start');
      await delay(POLL_MS);
    }
    await once(server.listen(0, LOOPBACK), 'listening');
    return { port: (server.address() as AddressInfo).port, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

const canConnect = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(path);
    const settle = (connected: boolean) => (): void => {
      socket.destroy();
      resolve(connected);
    };
    socket.once('connect', settle(true)).once('error', settle(false));
  });
