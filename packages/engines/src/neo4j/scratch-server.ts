import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Bug, Failure } from '@lastgood/core';
import { type Relay, relayLoopback, type Sandbox } from '@lastgood/host';
import { BoltSession, type BoltTarget } from './bolt-session.ts';
import type { Neo4jRuntime } from './java-call.ts';
import { type MountState, waitUntilMounted } from './mount-state.ts';
import { scratchSettings, startServerProcess } from './server-process.ts';
import { foldersBelow, type StoreFolders } from './store-folders.ts';
import { makeToolHome } from './tool-home.ts';

const HOST = '127.0.0.1';
const USER = 'neo4j';
const HASH_ROUNDS = 1024;
const PORT_ATTEMPTS = 3;
const POLL_MS = 100;
const WEEK_MS = 7 * 86_400_000;

export interface ScratchOptions {
  readonly runtime: Neo4jRuntime;
  /** Where scratch servers have their data; `user` must be able to reach it. */
  readonly scratchFolder: string;
  /** Where the server runs. */
  readonly sandbox: Sandbox;
  readonly signal: AbortSignal;
}

/** A folder for the data of a scratch server. */
export interface ScratchStore extends AsyncDisposable {
  readonly folders: StoreFolders;
  /** Of the servers on this store: Neo4j keeps it in the database `system`. */
  readonly password: string;
}

/** Makes an empty store, to load archives into before a scratch server is started on it. */
export async function makeScratchStore({ scratchFolder, sandbox }: ScratchOptions): Promise<ScratchStore> {
  const password = randomBytes(24).toString('hex');
  const folders = ['data', 'data/databases', 'data/transactions', 'data/dbms'].map((path) => ({ path }));
  const auth = { path: 'data/dbms/auth.ini', text: credentialsLine(password) };
  const home = await makeToolHome(scratchFolder, sandbox.user ?? undefined, {}, [...folders, auth]);
  return {
    folders: foldersBelow(join(home.path, 'data')),
    password,
    [Symbol.asyncDispose]: () => home[Symbol.asyncDispose](),
  };
}

export interface ScratchServer extends AsyncDisposable {
  readonly bolt: BoltTarget;
  /** `waitUntilMounted` for the database of the store. */
  waitUntilMounted(timeoutMs: number): Promise<MountState>;
}

/**
 * Starts a server of our own on the loopback interface for one database of a scratch store, under its own password. It has no other
 * database than that and an empty `system`; it dies with the agent. Throws DATABASE_UNREACHABLE when it does not start.
 */
export async function startScratchServer(
  store: ScratchStore,
  database: string,
  timeoutMs: number,
  options: ScratchOptions,
): Promise<ScratchServer> {
  const until = performance.now() + timeoutMs;
  for (let attempt = 1; ; attempt += 1) {
    const started = await startOnPort(await freePort(), store, database, until, options);
    if (started !== null) return started;
    if (attempt === PORT_ATTEMPTS)
      throw new Failure('DATABASE_UNREACHABLE', 'the scratch server ended while it was starting', {
        remedy:
          'Check the memory of the host, the limits in `scratch` of the target, and that its Java fits the server.',
      });
  }
}

/** Null when the process ended before it accepted a login: such as when another process was faster to take the port. */
async function startOnPort(
  port: number,
  store: ScratchStore,
  database: string,
  until: number,
  { runtime, scratchFolder, sandbox, signal }: ScratchOptions,
): Promise<ScratchServer | null> {
  await using starting = new AsyncDisposableStack();
  const user = sandbox.user ?? undefined;
  const home = starting.use(
    await makeToolHome(scratchFolder, user, {
      ...scratchSettings(runtime, store.folders, database),
      'server.bolt.listen_address': `${HOST}:${port}`,
    }),
  );
  const stop = new AbortController();
  const either = AbortSignal.any([signal, stop.signal]);
  const java = { user, sandbox, store: store.folders };
  const process = startServerProcess(runtime, home, java, { signal: either, timeoutMs: WEEK_MS });
  starting.defer(async () => {
    stop.abort();
    await process.ended.catch(() => undefined);
  });
  const identity = await process.identify();
  if (identity === null) return null;
  await home.recordProcess(identity);
  const reached = await reach(sandbox, identity.pid, port, home.socketPath, signal);
  if (reached.relay !== null) starting.use(reached.relay);
  const bolt: BoltTarget = {
    host: HOST,
    port: reached.port,
    tls: undefined,
    login: { user: USER, password: store.password },
  };
  for (;;) {
    signal.throwIfAborted();
    if (process.isGone()) return null;
    if (await canLogIn(bolt, signal)) break;
    if (performance.now() > until) throw new Failure('JOB_DEADLINE', 'the scratch server did not start in time');
    await delay(POLL_MS, undefined, { signal });
  }
  const cleanup = starting.move();
  return {
    bolt,
    waitUntilMounted: (timeoutMs) => waitUntilMounted(bolt, database, timeoutMs, signal),
    [Symbol.asyncDispose]: () => cleanup.disposeAsync(),
  };
}

/** The port that leads to the server: its own, or that of a relay when it has a network of its own. */
async function reach(
  sandbox: Sandbox,
  pid: number,
  port: number,
  socketPath: string,
  signal: AbortSignal,
): Promise<{ readonly port: number; readonly relay: Relay | null }> {
  if (sandbox.containment === 'none') return { port, relay: null };
  const relay = await relayLoopback({ sandbox, pid, port, socketPath, signal });
  return { port: relay.port, relay };
}

async function canLogIn(bolt: BoltTarget, signal: AbortSignal): Promise<boolean> {
  try {
    await using _session = await BoltSession.open(bolt, signal);
    return true;
  } catch (error) {
    if (error instanceof Failure && error.code === 'DATABASE_UNREACHABLE') return false;
    throw error;
  }
}

/** A port of the loopback interface that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, HOST);
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Bug('a TCP server without a port');
  return address.port;
}

/** The line of auth.ini that sets the first password. `neo4j-admin dbms set-initial-password` would show it in the list of processes. */
function credentialsLine(password: string): string {
  const salt = randomBytes(32);
  let hash = createHash('sha256').update(salt).update(password).digest();
  for (let round = 1; round < HASH_ROUNDS; round += 1) hash = createHash('sha256').update(hash).digest();
  return `${USER}:SHA-256,${hash.toString('hex')},${salt.toString('hex')},${HASH_ROUNDS}:\n`;
}
