import { appendFile, chown, mkdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Failure } from '@lastgood/core';
import { captureTool, runTool } from '@lastgood/host';
import pg from 'pg';
import { freePort } from './free-port.ts';
import { type PostgresOptions, type PostgresServer, startPostgres } from './postgres-server.ts';
import { temporaryFolder } from './temporary-folder.ts';

const never = new AbortController().signal;
const DAY_MS = 86_400_000;
const READY_WITHIN_MS = 60_000;
export const SERVER_PASSWORD = 'replication-test';

/** A server that runs on a data folder which outlives it. */
export interface FolderServer extends AsyncDisposable {
  readonly port: number;
  readonly dataDir: string;
  readonly connection: PostgresServer['connection'];
  query(database: string, sql: string, values?: unknown[]): Promise<Record<string, unknown>[]>;
  /** A fast shutdown. */
  stop(): Promise<void>;
  /** Ends every process of the server at once, as a power cut would. */
  kill(): Promise<void>;
}

/** Settings of a server whose WAL is streamed or archived. Durability stays off: tests do not cut the power. */
export const REPLICATION_CONF = [
  'wal_level = replica',
  'max_wal_senders = 10',
  'max_replication_slots = 10',
  'max_slot_wal_keep_size = 1GB',
  'track_commit_timestamp = on',
  'full_page_writes = on',
  'hot_standby = on',
].join('\n');

/** A primary with physical replication. Its superuser has `SERVER_PASSWORD`. */
export const startPrimary = async (options: PostgresOptions = {}): Promise<PostgresServer> =>
  await startPostgres({
    superuserPassword: SERVER_PASSWORD,
    ...options,
    extraConf: `${REPLICATION_CONF}\n${options.extraConf ?? ''}`,
  });

async function ask(login: pg.ClientConfig, sql: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
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

/**
 * Starts a server on an existing data folder of a cluster that `like` describes, with more arguments for `postgres`, on a free port
 * unless one is given.
 */
export async function startOnFolder(
  like: Pick<PostgresServer, 'connection' | 'binDir' | 'user'>,
  dataDir: string,
  args: readonly string[] = [],
  givenPort: number | null = null,
): Promise<FolderServer> {
  const port = givenPort ?? (await freePort());
  const { uid, gid } = await stat(dataDir);
  const stopper = new AbortController();
  const running = runTool({
    file: join(like.binDir, 'postgres'),
    args: ['-D', dataDir, '-c', `port=${port}`, '-c', `unix_socket_directories=${dataDir}`, ...args],
    signal: stopper.signal,
    timeoutMs: DAY_MS,
    stopSignal: 'SIGINT',
    cwd: dataDir,
    ...(uid === process.getuid?.() ? {} : { user: { uid, gid } }),
  });
  let ended: unknown;
  running.catch((error: unknown) => {
    ended = error;
  });
  const stop = async (): Promise<void> => {
    stopper.abort();
    await running.catch(() => undefined);
  };
  const login = { port, user: like.user, password: SERVER_PASSWORD };
  const last = performance.now() + READY_WITHIN_MS;
  for (;;) {
    const isReady = await ask({ ...login, database: 'postgres' }, 'select 1').then(
      () => true,
      () => false,
    );
    if (isReady) break;
    if (ended !== undefined) throw ended;
    if (performance.now() > last) {
      await stop();
      throw new Failure('DATABASE_UNREACHABLE', 'PostgreSQL did not respond within a minute of its start');
    }
    await delay(25);
  }
  return {
    port,
    dataDir,
    connection: { ...like.connection, port },
    query: (database, sql, values) => ask({ ...login, database }, sql, values),
    stop,
    kill: async () => {
      await captureTool({
        file: 'sh',
        args: ['-c', `kill -9 $(head -1 "$1/postmaster.pid")`, 'sh', dataDir],
        signal: never,
        timeoutMs: 10_000,
      });
      await running.catch(() => undefined);
      await rm(join(dataDir, 'postmaster.pid'), { force: true });
    },
    [Symbol.asyncDispose]: stop,
  };
}

/** Copies a running server's data folder the low-level way, without any code that is under test. */
async function copyDataFolder(primary: PostgresServer, to: string): Promise<void> {
  const client = new pg.Client({
    host: '127.0.0.1',
    port: primary.port,
    user: primary.user,
    password: SERVER_PASSWORD,
    database: 'postgres',
  });
  await client.connect();
  try {
    const [version] = (await client.query<{ n: number }>("select current_setting('server_version_num')::int as n"))
      .rows;
    const isOld = (version?.n ?? 0) < 150_000;
    await client.query(
      isOld ? "select pg_start_backup('replica', true, false)" : "select pg_backup_start('replica', true)",
    );
    const script =
      'cp -a "$1/." "$2/" 2>/dev/null; rm -rf "$2"/pg_wal/[0-9A-F]* "$2"/pg_replslot/* "$2"/postmaster.* "$2"/.s.PGSQL.*; chmod 700 "$2"';
    await captureTool({
      file: 'sh',
      args: ['-c', script, 'sh', primary.dataDir, to],
      signal: never,
      timeoutMs: 120_000,
    });
    const stop = isOld ? 'select * from pg_stop_backup(false, false)' : 'select * from pg_backup_stop(false)';
    const [label] = (await client.query<{ labelfile: string }>(stop)).rows;
    await writeFile(join(to, 'backup_label'), label?.labelfile ?? '');
  } finally {
    await client.end();
  }
}

/** A streaming standby of a primary, with its own copy of the data; gone when disposed. */
export async function startStandby(primary: PostgresServer, conf = ''): Promise<FolderServer> {
  await using starting = new AsyncDisposableStack();
  const { path } = starting.use(await temporaryFolder());
  const dataDir = join(path, 'data');
  await mkdir(dataDir, { mode: 0o700 });
  await copyDataFolder(primary, dataDir);
  const { uid, gid } = await stat(primary.dataDir);
  const source = `host=127.0.0.1 port=${primary.port} user=${primary.user} password=${SERVER_PASSWORD}`;
  await appendFile(join(dataDir, 'postgresql.conf'), `\nprimary_conninfo = '${source}'\n${conf}\n`);
  await writeFile(join(dataDir, 'standby.signal'), '');
  for (const each of [path, dataDir, join(dataDir, 'standby.signal'), join(dataDir, 'backup_label')])
    await chown(each, uid, gid);
  const server = starting.use(await startOnFolder(primary, dataDir));
  const cleanup = starting.move();
  return { ...server, [Symbol.asyncDispose]: () => cleanup.disposeAsync() };
}
