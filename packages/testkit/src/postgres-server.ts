import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { chown, mkdir, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { captureTool, runTool } from '@lastgood/host';
import pg from 'pg';
import { freePort } from './free-port.ts';
import { temporaryFolder } from './temporary-folder.ts';

const never = new AbortController().signal;
const DAY_MS = 86_400_000;
const SUPERUSER = 'lg_super';

export interface PostgresOptions {
  /** Lines for postgresql.conf. */
  readonly extraConf?: string;
  readonly superuserPassword?: string;
}
export interface PostgresServer extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly binDir: string;
  readonly passfile: string;
  readonly dataDir: string;
  /** What an agent file says of this server. */
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
  /** The same through another role. */
  queryAs(user: string, password: string, database: string, sql: string): Promise<Record<string, unknown>[]>;
  stop(): Promise<void>;
}

/** The folder of the newest PostgreSQL server programs of this machine. */
export function findPostgres(): string {
  const base = '/usr/lib/postgresql';
  const versions = existsSync(base)
    ? readdirSync(base)
        .filter((name) => /^\d+$/.test(name))
        .sort((a, b) => Number(b) - Number(a))
    : [];
  const folders = [
    ...versions.map((version) => join(base, version, 'bin')),
    ...['18', '17', '16', '15'].map((version) => `/usr/pgsql-${version}/bin`),
    ...(process.env['PATH'] ?? '').split(delimiter),
  ];
  const found = folders.find(
    (path) => path !== '' && existsSync(join(path, 'initdb')) && existsSync(join(path, 'pg_dump')),
  );
  if (found === undefined)
    throw new Error('no PostgreSQL server programs on this machine (Debian: apt-get install postgresql)');
  return found;
}

/** The user that runs servers when we are root, for databases refuse root. */
async function unprivileged(): Promise<{ name: string; ids: { uid: number; gid: number } } | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  for (const name of ['postgres', 'nobody']) {
    const ask = async (flag: string): Promise<number> =>
      Number((await captureTool({ file: 'id', args: [flag, name], signal: never, timeoutMs: 10_000 })).stdout);
    const ids = await Promise.all([ask('-u'), ask('-g')]).catch(() => undefined);
    if (ids !== undefined) return { name, ids: { uid: ids[0], gid: ids[1] } };
  }
  throw new Error('neither user postgres nor nobody exists');
}

/** A real PostgreSQL on 127.0.0.1 and a private socket, as an unprivileged user; gone with its data when disposed, and with us when we die. */
export async function startPostgres(options: PostgresOptions = {}): Promise<PostgresServer> {
  const binDir = findPostgres();
  const user = await unprivileged();
  const [folder, own] = [await temporaryFolder(), await temporaryFolder()];
  const password = options.superuserPassword ?? randomBytes(12).toString('hex');
  const [dataDir, passwordFile, passfile] = [
    join(folder.path, 'data'),
    join(folder.path, 'password'),
    join(own.path, 'pgpass'),
  ];
  await mkdir(dataDir, { mode: 0o700 });
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  await writeFile(passfile, `*:*:*:${SUPERUSER}:${password.replace(/([:\\])/g, '\\$1')}\n`, { mode: 0o600 });
  if (user !== undefined)
    for (const path of [folder.path, dataDir, passwordFile]) await chown(path, user.ids.uid, user.ids.gid);
  const as = { cwd: folder.path, ...(user === undefined ? {} : { user: user.ids }) };
  const init = [
    '-D',
    dataDir,
    '-U',
    SUPERUSER,
    '--auth=scram-sha-256',
    `--pwfile=${passwordFile}`,
    '--encoding=UTF8',
    '--locale=C.UTF-8',
    '--no-sync',
    '--no-instructions',
  ];
  await captureTool({ file: join(binDir, 'initdb'), args: init, signal: never, timeoutMs: 120_000, ...as });
  const port = await freePort();
  const conf = [
    "listen_addresses = '127.0.0.1'",
    `port = ${port}`,
    `unix_socket_directories = '${folder.path}'`,
    'fsync = off',
    'full_page_writes = off',
    'synchronous_commit = off',
    'max_connections = 40',
    'log_min_messages = fatal',
    options.extraConf ?? '',
  ];
  await writeFile(join(dataDir, 'postgresql.auto.conf'), `${conf.join('\n')}\n`);
  const stopper = new AbortController();
  const running = runTool({
    file: join(binDir, 'postgres'),
    args: ['-D', dataDir],
    signal: stopper.signal,
    timeoutMs: 7 * DAY_MS,
    stopSignal: 'SIGINT',
    ...as,
  });
  let ended: unknown;
  running.catch((error: unknown) => {
    ended = error;
  });
  const queryAs = async (
    role: string,
    secret: string,
    database: string,
    sql: string,
    values: unknown[] = [],
  ): Promise<Record<string, unknown>[]> => {
    const client = new pg.Client({ host: '127.0.0.1', port, user: role, password: secret, database });
    client.on('error', () => undefined);
    await client.connect();
    try {
      const result = await client.query(sql, values);
      return Array.isArray(result) ? (result as pg.QueryResult[]).flatMap((one) => one.rows) : result.rows;
    } finally {
      await client.end();
    }
  };
  const query: PostgresServer['query'] = (database, sql, values) => queryAs(SUPERUSER, password, database, sql, values);
  for (let attempt = 0; ; attempt += 1) {
    const ready = await query('postgres', 'select 1').then(
      () => true,
      () => false,
    );
    if (ready) break;
    if (ended !== undefined) throw ended;
    if (attempt > 600) throw new Error('PostgreSQL did not start');
    await delay(50);
  }
  const stop = async (): Promise<void> => {
    stopper.abort();
    await running.catch(() => undefined);
  };
  return {
    host: '127.0.0.1',
    port,
    user: SUPERUSER,
    binDir,
    passfile,
    dataDir,
    query,
    queryAs,
    stop,
    connection: {
      host: '127.0.0.1',
      port,
      user: SUPERUSER,
      passfile,
      database: 'postgres',
      binDir,
      scratchUser: user?.name ?? 'postgres',
    },
    [Symbol.asyncDispose]: async () => {
      await stop();
      await folder[Symbol.asyncDispose]();
      await own[Symbol.asyncDispose]();
    },
  };
}
