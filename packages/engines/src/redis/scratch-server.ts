import { randomBytes } from 'node:crypto';
import { chown, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Failure } from '@lastgood/core';
import {
  cancellationOf,
  pollUntil,
  runTool,
  type Sandbox,
  startTimeOf,
  type ToolCall,
  type WaitingClock,
} from '@lastgood/host';
import { RedisSession } from './client.ts';
import { type RedisConnection, redisConnectionSchema } from './connection-schema.ts';
import { readInfo } from './info.ts';
import { quoteWord } from './quoted-words.ts';
import { requireResources } from './scratch-host.ts';

/** Not the one of the scratch servers of other engines, which remove what they find under theirs. */
const PREFIX = 'lastgood-redis-scratch-';
const SOCKET = 's';
/** A socket address holds 107 bytes. */
const LONGEST_FOLDER = 107 - '/s'.length;
const WEEK_MS = 7 * 86_400_000;
/** The status of a server that does not accept its configuration, its surroundings or its data. */
const FAILED_START = 1;

export interface ScratchRequest {
  /** The server program, of the product and version that wrote the files. */
  readonly program: string;
  /** For `scratchFolder` and the deadlines. */
  readonly connection: RedisConnection;
  /** Whether the files are an append-only set below `appendonlydir`, or an RDB file `dump.rdb`. */
  readonly kind: 'rdb' | 'aof';
  /** Puts the files into the empty data folder. */
  readonly place: (dataDir: string) => Promise<void>;
  readonly needDiskBytes: number;
  /** What the data set takes in memory, as far as it is known; checked before the start, and the limit for later writes. */
  readonly needMemoryBytes: number;
  readonly clock: WaitingClock;
  readonly signal: AbortSignal;
  /** Where the server runs. */
  readonly sandbox: Sandbox;
  /** Starts the server. */
  readonly launch?: (call: ToolCall) => Promise<{ readonly exitCode: number }>;
}

/** The names under which `place` puts the files. */
export const SCRATCH_FILES = {
  rdb: 'dump.rdb',
  appendFolder: 'appendonlydir',
  appendFilename: 'appendonly.aof',
} as const;

export interface ScratchServer extends AsyncDisposable {
  readonly connection: RedisConnection;
  /** Keys that were loaded from the RDB file, of all databases. */
  readonly keysLoaded: number;
  readonly loadMs: number;
}

/**
 * A server of our own on a private socket, for one restore test, loaded with the given files. It claims to be the replica of a master
 * that does not exist: so no key expires while it is checked, however old the backup is. It dies with the agent; what a crash leaves
 * on the disk is removed by `sweepScratchServers`. Fails with BACKUP_CORRUPT when the server does not load the files, TOOL_FAILED
 * when it does not start for another reason, NO_SPACE when the host has too little disk or memory, JOB_DEADLINE when the load takes longer than `snapshotMs`.
 */
export async function startScratchServer(request: ScratchRequest): Promise<ScratchServer> {
  const server = await startOnce(request);
  if (server !== 'refused') return server;
  // Is it the files, or would the program not start here at all? Its log is prose, so it is tried.
  const control = await startOnce({ ...request, kind: 'rdb', place: async () => undefined });
  if (control === 'refused')
    throw new Failure('TOOL_FAILED', `${request.program} does not start as a scratch server, even without files`, {
      remedy: 'Check that scratchUser can reach scratchFolder and the program, and that the program runs on this host.',
    });
  await control[Symbol.asyncDispose]();
  throw new Failure('BACKUP_CORRUPT', 'the server refuses to load the files');
}

/** A private folder of this process, which `sweepScratchServers` removes when the process is gone. */
export async function makeScratchFolder({ scratchFolder = tmpdir() }: RedisConnection): Promise<string> {
  return await mkdtemp(join(scratchFolder, `${PREFIX}${process.pid}-${(await startTimeOf(process.pid)) ?? '0'}-`));
}

/** Returns `refused` when the server ended by itself with the status of a failed start. */
async function startOnce(request: ScratchRequest): Promise<ScratchServer | 'refused'> {
  const { connection, signal, sandbox, program, launch = runTool } = request;
  const base = connection.scratchFolder ?? tmpdir();
  await requireResources(base, request);
  const folder = await makeScratchFolder(connection);
  const stop = new AbortController();
  let running: Promise<unknown> = Promise.resolve();
  const dispose = async (): Promise<void> => {
    stop.abort();
    await running.catch(() => undefined);
    await rm(folder, { recursive: true, force: true });
  };
  try {
    if (Buffer.byteLength(folder) > LONGEST_FOLDER)
      throw new Failure('CONFIG_INVALID', `${folder} is too long for a socket`, {
        remedy: 'Set scratchFolder in the connection of the target to a shorter path.',
      });
    const own = await prepare(folder, request);
    const call: ToolCall = {
      file: program,
      args: [join(folder, 'redis.conf')],
      signal: AbortSignal.any([signal, stop.signal]),
      timeoutMs: WEEK_MS,
      cwd: folder,
      acceptedExitCodes: [FAILED_START],
      // The log of a server may name keys.
      redactStderr: () => null,
    };
    const process = launch(sandbox.contain(call, { folders: [folder], readable: [dirname(program)] }));
    running = process;
    const loaded = await untilLoaded(own, process, request);
    if (loaded !== 'refused') return { connection: own, ...loaded, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
  await dispose();
  return 'refused';
}

/** Writes the configuration and lets the caller place the files; all of it belongs to the user of the server. */
async function prepare(
  folder: string,
  { kind, place, needMemoryBytes, connection, sandbox: { user } }: ScratchRequest,
): Promise<RedisConnection> {
  const dataDir = join(folder, 'data');
  const passwordFile = join(folder, 'password');
  const socket = join(folder, SOCKET);
  const password = randomBytes(24).toString('hex');
  await mkdir(dataDir, { mode: 0o700 });
  await place(dataDir);
  const settings = {
    port: '0',
    unixsocket: socket,
    unixsocketperm: '700',
    requirepass: password,
    dir: dataDir,
    dbfilename: SCRATCH_FILES.rdb,
    appendonly: kind === 'aof' ? 'yes' : 'no',
    appenddirname: SCRATCH_FILES.appendFolder,
    appendfilename: SCRATCH_FILES.appendFilename,
    // A file that is cut is damage here, never something to shorten.
    'aof-load-truncated': 'no',
    save: '',
    'auto-aof-rewrite-percentage': '0',
    databases: '16384',
    maxmemory: String(needMemoryBytes * 2),
    'maxmemory-policy': 'noeviction',
    // Sets and hashes are read by cursor, and stay as they were loaded.
    activerehashing: 'no',
    daemonize: 'no',
    logfile: join(folder, 'server.log'),
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name} ${quoteWord(value)}`);
  const config = join(folder, 'redis.conf');
  await writeFile(config, `${[...lines, 'replicaof 127.0.0.1 1'].join('\n')}\n`, { mode: 0o600 });
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  if (user !== null) {
    const placed = await readdir(dataDir, { recursive: true });
    for (const path of [folder, config, dataDir, ...placed.map((name) => join(dataDir, name))])
      await chown(path, user.uid, user.gid);
  }
  const { stallMs, snapshotMs } = connection;
  return redisConnectionSchema.parse({ socket, passwordFile, stallMs, snapshotMs });
}

async function untilLoaded(
  own: RedisConnection,
  running: Promise<{ readonly exitCode: number }>,
  { clock, signal, connection }: ScratchRequest,
): Promise<{ keysLoaded: number; loadMs: number } | 'refused'> {
  const started = clock.monotonic();
  let end: { exitCode: number } | { error: unknown } | null = null;
  running.then(
    ({ exitCode }) => {
      end = { exitCode };
    },
    (error: unknown) => {
      end = { error };
    },
  );
  const ended = (): typeof end => end;
  const check = async (): Promise<number | 'refused' | undefined> => {
    const how = ended();
    if (how === null) return await keysOfLoadedServer(own, signal);
    if (signal.aborted) throw cancellationOf(signal, 'the restore test');
    if ('error' in how) throw how.error;
    return 'refused';
  };
  const until = started + connection.snapshotMs;
  const found = await pollUntil(check, { until, signal, clock, what: 'the restore test' });
  if (found === 'refused') return found;
  if (found !== undefined) return { keysLoaded: found, loadMs: clock.monotonic() - started };
  throw new Failure('JOB_DEADLINE', `the scratch server did not load within ${connection.snapshotMs} ms`, {
    remedy: 'Raise snapshotMs in the connection of the target.',
  });
}

/** Undefined while the server starts or loads. */
async function keysOfLoadedServer(own: RedisConnection, signal: AbortSignal): Promise<number | undefined> {
  try {
    await using session = await RedisSession.open(own, signal);
    const info = await readInfo(session, 'persistence');
    const isLoading = info.flag('loading') || info.flag('async_loading');
    return isLoading ? undefined : (info.number('rdb_last_load_keys_loaded') ?? 0);
  } catch (error) {
    if (error instanceof Failure && error.code === 'DATABASE_UNREACHABLE' && !signal.aborted) return undefined;
    throw error;
  }
}

/** Removes the folders of scratch servers whose agent is gone; their processes died with it. Returns what it removed. */
export async function sweepScratchServers(connection: RedisConnection): Promise<string[]> {
  const base = connection.scratchFolder ?? tmpdir();
  const swept: string[] = [];
  for (const name of await readdir(base).catch(() => [])) {
    const [, pid, start] = /^lastgood-redis-scratch-(\d+)-(\d+)-/.exec(name) ?? [];
    if (pid === undefined || (await startTimeOf(Number(pid))) === start) continue;
    await rm(join(base, name), { recursive: true, force: true });
    swept.push(`scratch server ${name}`);
  }
  return swept;
}
