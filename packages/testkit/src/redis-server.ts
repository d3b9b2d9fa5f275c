import { createHash, randomBytes } from 'node:crypto';
import { chown, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Bug, Failure } from '@lastgood/core';
import { captureTool, runTool } from '@lastgood/host';
import { Redis } from 'ioredis';
import { freePort } from './free-port.ts';
import { type RedisPrograms, redisPrograms } from './redis-programs.ts';
import { type TemporaryFolder, temporaryFolder } from './temporary-folder.ts';

const never = new AbortController().signal;
const DAY_MS = 86_400_000;
const READY_WITHIN_MS = 60_000;
const PORT_ATTEMPTS = 5;

type Argument = string | number | Buffer;
/** Lines of redis.conf; a list gives one line each. */
export type RedisConfig = Readonly<Record<string, string | readonly string[]>>;

export interface RedisOptions {
  /** Those of the system when absent. */
  readonly programs?: RedisPrograms;
  readonly config?: RedisConfig;
  /** The password of the user `default`; generated when absent. */
  readonly password?: string;
  /** Lines of an ACL file, beside the one of the user `default`. */
  readonly users?: readonly string[];
  /** Files that clients check and show; the server then also listens with TLS on `tlsPort`. */
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string };
  /** Called with the empty data folder before the server starts, such as to put files into it. */
  readonly prepare?: (dataDir: string) => Promise<void>;
  /** A folder for the data that the caller removes, such as one of a small file system. */
  readonly dataDir?: string;
}

export interface RedisServer extends AsyncDisposable {
  readonly programs: RedisPrograms;
  readonly host: string;
  readonly port: number;
  readonly tlsPort: number | null;
  readonly socket: string;
  readonly dataDir: string;
  readonly configFile: string;
  readonly aclFile: string;
  readonly logFile: string;
  readonly passwordFile: string;
  readonly password: string;
  /** The user that runs the server; undefined when it is the one of this process. */
  readonly user: { readonly name: string; readonly uid: number; readonly gid: number } | undefined;
  /** The connection as an agent file describes it. */
  readonly connection: { readonly socket: string; readonly passwordFile: string; readonly binDir: string };
  /** Runs one command as the user `default` in database 0 and returns its reply; throws the error of the server. */
  call(...command: readonly Argument[]): Promise<unknown>;
  /** Runs commands one after another in one database. */
  callIn(database: number, ...commands: readonly (readonly Argument[])[]): Promise<unknown[]>;
  /** One field of INFO. */
  info(field: string): Promise<string | undefined>;
  /** Waits until a field of INFO has a value. */
  waitForInfo(field: string, value: string): Promise<void>;
  /** Changes the owner of files that a test made to the user of the server. */
  own(...paths: readonly string[]): Promise<void>;
  pid(): Promise<number>;
  /** SHUTDOWN NOSAVE; resolves when the process is gone. The data stays until the server is disposed. */
  stop(): Promise<void>;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
  /** Starts a stopped server again with the same files, and more configuration. */
  start(config?: RedisConfig): Promise<void>;
}

/** The user that runs servers when the tests run as root. */
async function unprivileged(): Promise<RedisServer['user']> {
  if (process.getuid?.() !== 0) return undefined;
  for (const name of ['redis', 'nobody']) {
    const ask = async (flag: string): Promise<number> =>
      Number((await captureTool({ file: 'id', args: [flag, name], signal: never, timeoutMs: 10_000 })).stdout);
    const ids = await Promise.all([ask('-u'), ask('-g')]).catch(() => undefined);
    if (ids !== undefined) return { name, uid: ids[0], gid: ids[1] };
  }
  throw new Failure('CONFIG_INVALID', 'neither user redis nor nobody exists');
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const quoted = (value: string): string => (/^[\w./:-]+$/.test(value) ? value : JSON.stringify(value));
const linesOf = (config: RedisConfig): string[] =>
  Object.entries(config).flatMap(([name, value]) =>
    typeof value === 'string'
      ? [`${name} ${value === '' ? '""' : value}`]
      : value.map((line) => `${name} ${line}`.trimEnd()),
  );

interface Process {
  readonly client: Redis;
  readonly ended: Promise<void>;
  readonly abort: () => void;
}

class ThrowAwayServer implements RedisServer {
  readonly programs: RedisPrograms;
  readonly host = '127.0.0.1';
  readonly dataDir: string;
  readonly password: string;
  readonly user: RedisServer['user'];
  readonly #options: RedisOptions;
  readonly #temporary: TemporaryFolder;
  port = 0;
  tlsPort: number | null = null;
  #process: Process | undefined;

  constructor(programs: RedisPrograms, temporary: TemporaryFolder, user: RedisServer['user'], options: RedisOptions) {
    this.programs = programs;
    this.dataDir = options.dataDir ?? join(temporary.path, 'data');
    this.password = options.password ?? randomBytes(12).toString('hex');
    this.user = user;
    this.#options = options;
    this.#temporary = temporary;
  }
  get socket(): string {
    return join(this.#temporary.path, 'redis.sock');
  }
  get configFile(): string {
    return join(this.#temporary.path, 'redis.conf');
  }
  get aclFile(): string {
    return join(this.#temporary.path, 'users.acl');
  }
  get logFile(): string {
    return join(this.#temporary.path, 'server.log');
  }
  get passwordFile(): string {
    return join(this.#temporary.path, 'password');
  }
  get connection(): RedisServer['connection'] {
    return { socket: this.socket, passwordFile: this.passwordFile, binDir: this.programs.binDir };
  }
  get #client(): Redis {
    if (this.#process === undefined) throw new Bug('the server is stopped');
    return this.#process.client;
  }

  async own(...paths: readonly string[]): Promise<void> {
    const user = this.user;
    if (user !== undefined) await Promise.all(paths.map((path) => chown(path, user.uid, user.gid)));
  }

  async initialize(): Promise<void> {
    await mkdir(this.dataDir, { mode: 0o700, recursive: true });
    await writeFile(this.passwordFile, `${this.password}\n`, { mode: 0o600 });
    await writeFile(
      this.aclFile,
      [`user default on #${sha256(this.password)} ~* &* +@all`, ...(this.#options.users ?? []), ''].join('\n'),
      { mode: 0o600 },
    );
    await this.own(this.#temporary.path, this.dataDir, this.aclFile);
    await this.#options.prepare?.(this.dataDir);
    const prepared = await readdir(this.dataDir, { recursive: true });
    await this.own(...prepared.map((name) => join(this.dataDir, name)));
    this.port = await freePort();
    if (this.#options.tls !== undefined) this.tlsPort = await freePort();
    await this.#writeConfig();
  }

  async #writeConfig(): Promise<void> {
    const { tls } = this.#options;
    const base: RedisConfig = {
      bind: this.host,
      port: String(this.port),
      unixsocket: quoted(this.socket),
      unixsocketperm: '700',
      dir: quoted(this.dataDir),
      logfile: quoted(this.logFile),
      aclfile: quoted(this.aclFile),
      daemonize: 'no',
      save: '',
      'repl-diskless-sync-delay': '0',
      ...(tls === undefined
        ? {}
        : {
            'tls-port': String(this.tlsPort),
            'tls-ca-cert-file': quoted(tls.ca),
            'tls-cert-file': quoted(tls.cert),
            'tls-key-file': quoted(tls.key),
            'tls-auth-clients': 'optional',
          }),
    };
    const merged = { ...base, ...this.#options.config };
    await writeFile(this.configFile, `${linesOf(merged).join('\n')}\n`, { mode: 0o600 });
    await this.own(this.configFile);
  }

  /** Throws the end of the server's log when it exits instead of becoming ready. */
  async start(config: RedisConfig = {}): Promise<void> {
    if (this.#process !== undefined) throw new Bug('the server is running');
    const stopper = new AbortController();
    // A setting of the call outranks the same line of the file, and CONFIG REWRITE keeps the file's.
    const more = Object.entries(config).flatMap(([name, value]) => [
      `--${name}`,
      ...(typeof value === 'string' ? [value] : value),
    ]);
    const running = runTool({
      file: this.programs.server,
      args: [this.configFile, ...more],
      signal: stopper.signal,
      timeoutMs: 7 * DAY_MS,
      cwd: this.#temporary.path,
      ...(this.user === undefined ? {} : { user: this.user }),
    });
    let isGone = false;
    const ended = running.then(
      () => undefined,
      () => undefined,
    );
    void ended.then(() => {
      isGone = true;
    });
    const client = new Redis({
      path: this.socket,
      password: this.password,
      protocol: 2,
      lazyConnect: true,
      disableClientInfo: true,
      enableReadyCheck: false,
      maxRetriesPerRequest: null,
      retryStrategy: () => (isGone ? null : 20),
    });
    client.on('error', () => undefined);
    this.#process = { client, ended, abort: () => stopper.abort() };
    const last = performance.now() + READY_WITHIN_MS;
    for (;;) {
      const ready = client.info('persistence').then(
        (text) => /^loading:0/m.test(text),
        () => false,
      );
      if (await Promise.race([ready, ended.then(() => false)])) return;
      if (isGone || performance.now() > last) {
        await this.#end();
        throw new Failure('DATABASE_UNREACHABLE', `the server did not start: ${await this.#logTail()}`);
      }
      await delay(20);
    }
  }

  async #logTail(): Promise<string> {
    const log = await readFile(this.logFile, 'utf8').catch(() => 'no log');
    return log.trimEnd().split('\n').slice(-5).join(' · ');
  }

  async #end(): Promise<void> {
    const process = this.#process;
    this.#process = undefined;
    process?.abort();
    await process?.ended;
    process?.client.disconnect();
  }

  async call(...command: readonly Argument[]): Promise<unknown> {
    const [name = '', ...args] = command;
    return await this.#client.call(String(name), ...args);
  }
  async callIn(database: number, ...commands: readonly (readonly Argument[])[]): Promise<unknown[]> {
    const client = this.#client.duplicate({ db: database });
    client.on('error', () => undefined);
    try {
      const replies: unknown[] = [];
      for (const [name = '', ...args] of commands) replies.push(await client.call(String(name), ...args));
      return replies;
    } finally {
      client.disconnect();
    }
  }
  async info(field: string): Promise<string | undefined> {
    const text = String(await this.call('INFO', 'everything'));
    return new RegExp(`^${field}:(.*?)\\r?$`, 'm').exec(text)?.[1];
  }
  async waitForInfo(field: string, value: string): Promise<void> {
    const last = performance.now() + READY_WITHIN_MS;
    for (;;) {
      const found = await this.info(field);
      if (found === value) return;
      if (performance.now() > last) throw new Bug(`${field} is ${found}, not ${value}`);
      await delay(20);
    }
  }
  async pid(): Promise<number> {
    return Number(await this.info('process_id'));
  }
  async stop(): Promise<void> {
    const process = this.#process;
    if (process === undefined) return;
    await Promise.race([process.client.call('SHUTDOWN', 'NOSAVE').catch(() => undefined), process.ended]);
    await process.ended;
    await this.#end();
  }
  async kill(): Promise<void> {
    const pid = await this.pid();
    process.kill(pid, 'SIGKILL');
    await this.#process?.ended;
    await this.#end();
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
    await this.#temporary[Symbol.asyncDispose]();
  }
  /** Another port, after the first was taken between the search for it and the start. */
  async moveToFreePort(): Promise<boolean> {
    if (!/Address already in use/.test(await this.#logTail())) return false;
    this.port = await freePort();
    if (this.tlsPort !== null) this.tlsPort = await freePort();
    await rm(this.logFile, { force: true });
    await this.#writeConfig();
    return true;
  }
}

/** A real Redis or Valkey on 127.0.0.1 and a private socket, as an unprivileged user; gone with its data when disposed, and with us when we die. */
export async function startRedis(options: RedisOptions = {}): Promise<RedisServer> {
  const programs = options.programs ?? (await redisPrograms());
  const server = new ThrowAwayServer(programs, await temporaryFolder(), await unprivileged(), options);
  try {
    await server.initialize();
    for (let attempt = 1; ; attempt += 1) {
      try {
        await server.start();
        return server;
      } catch (error) {
        if (attempt === PORT_ATTEMPTS || !(await server.moveToFreePort())) throw error;
      }
    }
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
}
