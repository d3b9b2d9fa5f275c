import { randomBytes } from 'node:crypto';
import { chown, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type EngineContext, Failure } from '@lastgood/core';
import { captureTool, freeBytes, runTool, type Sandbox, startTimeOf, type ToolCall, ToolFailure } from '@lastgood/host';
import pg from 'pg';
import type { PostgresConnection } from './connection-schema.ts';
import type { Preloads } from './preloaded-libraries.ts';
import { MANAGED_MARK } from './server.ts';
import { Session } from './session.ts';
import type { ToolFolder } from './tools.ts';

const PREFIX = 'lastgood-scratch-';
const SUPERUSER = 'lastgood_scratch';
/** Where our own sessions stand, so that a restored "postgres" or "template1" is never in use by us. */
const STANDPOINT = `${MANAGED_MARK}scratch`;
const WEEK_MS = 7 * 86_400_000;
const START_MS = 60_000;
/** More than what initdb writes. */
const CLUSTER_BYTES = 64 * 1024 * 1024;
/** The path of a Unix socket has at most 107 bytes, with its file name. */
const LONGEST_SOCKET_FOLDER = 85;

/** Speed over safety: what is here is thrown away, and nothing outside can reach it. */
const SETTINGS = [
  'listen_addresses=',
  'fsync=off',
  'full_page_writes=off',
  'synchronous_commit=off',
  'wal_level=minimal',
  'max_wal_senders=0',
  'max_logical_replication_workers=0',
  'autovacuum=off',
  'max_wal_size=4GB',
  'max_connections=20',
  'max_locks_per_transaction=1024',
  'log_min_messages=fatal',
  // Messages are read by their templates.
  'lc_messages=C',
];

export interface ScratchOptions {
  readonly needBytes: number;
  readonly encoding: string;
  readonly preloads: Preloads;
  /** Where the server runs. */
  readonly sandbox: Sandbox;
}

/** The settings of a server with these libraries. Their background workers do not start: a restored job table would be worked off. */
const preloadSettings = ({ loaded, settings }: Preloads): string[] =>
  loaded.length === 0
    ? []
    : [
        `shared_preload_libraries=${loaded.join(',')}`,
        'max_worker_processes=0',
        ...[...settings].map(([name, value]) => `${name}=${value}`),
      ];

export interface ScratchServer extends AsyncDisposable {
  readonly connection: PostgresConnection;
}

/** Creates the data folder of a scratch server in `folder` and a passfile for its superuser. Returns the path of the data folder. */
async function initializeCluster(
  folder: string,
  passfile: string,
  tools: ToolFolder,
  sandbox: Sandbox,
  signal: AbortSignal,
): Promise<string> {
  const { user } = sandbox;
  const password = randomBytes(24).toString('hex');
  const [data, passwordFile] = [join(folder, 'data'), join(folder, 'password')];
  await mkdir(data, { mode: 0o700 });
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  await writeFile(passfile, `*:*:*:${SUPERUSER}:${password}\n`, { mode: 0o600 });
  if (user !== null) for (const path of [folder, data, passwordFile]) await chown(path, user.uid, user.gid);
  const args = [
    '--pgdata',
    data,
    '--username',
    SUPERUSER,
    '--auth=scram-sha-256',
    `--pwfile=${passwordFile}`,
    '--encoding=UTF8',
    '--locale=C',
    '--no-sync',
    '--no-instructions',
  ];
  const call = { file: join(tools.path, 'initdb'), args, signal, timeoutMs: 120_000, cwd: folder };
  await captureTool(sandbox.contain(call, viewOf(folder, tools.path))).catch(async (error: unknown) => {
    if (error instanceof ToolFailure && (await freeBytes(folder)) < CLUSTER_BYTES)
      throw new Failure('NO_SPACE', `no space left in ${folder} for a scratch server`, { cause: error });
    throw error;
  });
  await rm(passwordFile);
  return data;
}

/** What a scratch server sees: its folder, and its programs with their libraries. */
export const viewOf = (folder: string, binDir: string) => ({
  folders: [folder],
  readable: [binDir.endsWith('/bin') ? dirname(binDir) : binDir],
});

export interface ScratchFolder extends AsyncDisposable {
  readonly path: string;
}

/** Makes the private folder of a scratch server, short enough for its socket. `sweepScratch` finds what a crash leaves of it. Throws NO_SPACE. */
export async function makeScratchFolder(
  connection: PostgresConnection,
  needBytes: number,
  { user }: Pick<Sandbox, 'user'>,
): Promise<ScratchFolder> {
  const base = connection.scratchFolder ?? tmpdir();
  const free = await freeBytes(base);
  if (free < needBytes)
    throw new Failure('NO_SPACE', `a scratch server needs ${needBytes} bytes in ${base}, ${free} are free`);
  const path = await mkdtemp(join(base, `${PREFIX}${process.pid}-${(await startTimeOf(process.pid)) ?? '0'}-`));
  if (path.length > LONGEST_SOCKET_FOLDER)
    throw new Failure('CONFIG_INVALID', `${path} is too long for a socket; set scratchFolder to a shorter one`);
  if (user !== null) await chown(path, user.uid, user.gid);
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/**
 * A PostgreSQL of our own on a private socket, with the given tools, for the restore test of one database. It dies with the agent; what a crash leaves
 * on the disk is found by `sweepScratch`. Names of roles are stored as in the source when they are made from the
 * database of the connection, which has the `encoding` of the one where they were read. Throws NO_SPACE when `needBytes` do not fit.
 */
export async function startScratch(
  connection: PostgresConnection,
  tools: ToolFolder,
  { needBytes, encoding, preloads, sandbox }: ScratchOptions,
  context: EngineContext,
): Promise<ScratchServer> {
  const { signal } = context;
  const { path: folder, ...scratch } = await makeScratchFolder(connection, needBytes, sandbox);
  const stop = new AbortController();
  let running: Promise<unknown> = Promise.resolve();
  const dispose = async (): Promise<void> => {
    stop.abort();
    await running.catch(() => undefined);
    await scratch[Symbol.asyncDispose]();
  };
  try {
    const passfile = join(context.workDir, 'scratch.pgpass');
    const data = await initializeCluster(folder, passfile, tools, sandbox, signal);
    const args = [
      '-D',
      data,
      '-k',
      folder,
      '-p',
      '5432',
      ...[...SETTINGS, ...preloadSettings(preloads)].flatMap((setting) => ['-c', setting]),
    ];
    const either = AbortSignal.any([signal, stop.signal]);
    let ready = false;
    const call: ToolCall = {
      file: join(tools.path, 'postgres'),
      args,
      signal: either,
      timeoutMs: WEEK_MS,
      stopSignal: 'SIGQUIT',
      cwd: folder,
      // Why it did not start may be shown; once it holds restored data, nothing is.
      redactStderr: (line) => (ready ? null : line),
    };
    running = runTool(sandbox.contain(call, viewOf(folder, tools.path)));
    let ended: unknown;
    running.catch((error: unknown) => {
      ended = error;
    });
    const own: PostgresConnection = {
      ...connection,
      host: folder,
      port: 5432,
      user: SUPERUSER,
      passfile,
      database: 'postgres',
      binDir: tools.path,
    };
    await untilReady(own, context, () => ended).catch((error: unknown) => {
      throw preloads.loaded.length > 0 && error instanceof ToolFailure ? failedWithLibraries(error, preloads) : error;
    });
    ready = true;
    {
      await using session = await Session.open(own, own.database, signal);
      await session.run(`create database ${STANDPOINT} template template0 encoding ${pg.escapeLiteral(encoding)}`);
    }
    return { connection: { ...own, database: STANDPOINT }, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

const failedWithLibraries = (error: ToolFailure, { loaded }: Preloads): Failure =>
  new Failure(
    'RESTORE_TEST_IMPOSSIBLE',
    `a scratch server does not start with ${loaded.join(', ')}: ${error.message}`,
    {
      cause: error,
      remedy:
        'This says nothing about the backup. Install the libraries beside the PostgreSQL of this host, or take them out of connection.preloadLibraries.',
    },
  );

async function untilReady(
  connection: PostgresConnection,
  { signal, clock }: EngineContext,
  ended: () => unknown,
): Promise<void> {
  const until = clock.monotonic() + START_MS;
  for (;;) {
    try {
      await using session = await Session.open(connection, 'postgres', signal);
      await session.run('select 1');
      return;
    } catch (error) {
      signal.throwIfAborted();
      if (ended() !== undefined) throw ended();
      if (clock.monotonic() > until) throw error;
    }
    await delay(50, undefined, { signal });
  }
}

/** Removes the folders of scratch servers whose agent is gone (I10); their processes died with it. */
export async function sweepScratch(connection: PostgresConnection): Promise<string[]> {
  const base = connection.scratchFolder ?? tmpdir();
  const swept: string[] = [];
  for (const name of await readdir(base).catch(() => [])) {
    const [pid, start] = name.startsWith(PREFIX) ? name.slice(PREFIX.length).split('-') : [];
    if (pid === undefined || start === undefined || (await startTimeOf(Number(pid))) === start) continue;
    await rm(join(base, name), { recursive: true, force: true });
    swept.push(`scratch server ${name}`);
  }
  return swept;
}
