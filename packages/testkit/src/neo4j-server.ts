import { createHash, randomBytes } from 'node:crypto';
import { chmod, chown, copyFile, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Bug, Failure } from '@lastgood/core';
import { captureTool, lockFolder, runTool } from '@lastgood/host';
import type { Driver } from 'neo4j-driver-lite';
import { freePort } from './free-port.ts';
import { seedGraph } from './neo4j-graph.ts';
import { CLASS_ARCHIVE, NEO4J_JAVA_FLAGS, type Neo4jPrograms, neo4jPrograms } from './neo4j-programs.ts';
import { temporaryFolder } from './temporary-folder.ts';

const never = new AbortController().signal;
const DAY_MS = 86_400_000;
const READY_WITHIN_MS = 120_000;
const PORT_ATTEMPTS = 3;
const HASH_ROUNDS = 1024;
/** Loaded when a test needs it: a second of every other test file would go into it. */
const loadDriver = async () => (await import('neo4j-driver-lite')).default;

export interface Neo4jOptions {
  /** Lines of neo4j.conf; they replace the defaults of the same name. */
  readonly settings?: Readonly<Record<string, string>>;
  /**
   * A folder for the home of the server that the caller removes, such as one of a mounted file system; the user of the server must be
   * able to reach it.
   */
  readonly home?: string;
  readonly heapMb?: number;
  /** More arguments of Java. */
  readonly javaFlags?: readonly string[];
}
export interface Neo4jServer extends AsyncDisposable {
  readonly programs: Neo4jPrograms;
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly passwordFile: string;
  readonly home: string;
  readonly confFolder: string;
  readonly dataFolder: string;
  readonly pluginsFolder: string;
  /** The user that runs the server; undefined when it is the one of this process. */
  readonly owner: { readonly uid: number; readonly gid: number } | undefined;
  /** The connection of this server in an agent file. */
  readonly connection: Readonly<Record<string, string | number>>;
  /** Runs one statement that may write, in the database `neo4j` when none is named. Integers are bigint. */
  query(cypher: string, parameters?: Record<string, unknown>, database?: string): Promise<Record<string, unknown>[]>;
  /** The driver behind `query`, for several statements at once. */
  readonly driver: Driver;
  pid(): Promise<number>;
  /** SIGTERM; resolves when the process is gone. The data stays until the server is disposed. */
  stop(): Promise<void>;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
  /** Starts a stopped server again; resolves when it accepts connections, whatever the state of its databases. */
  start(): Promise<void>;
}

/** The user that runs servers when the tests run as root: owners and modes of files are tested that way. */
async function unprivileged(): Promise<Neo4jServer['owner']> {
  if (process.getuid?.() !== 0) return undefined;
  const ask = async (flag: string): Promise<number> =>
    Number((await captureTool({ file: 'id', args: [flag, 'nobody'], signal: never, timeoutMs: 10_000 })).stdout);
  return { uid: await ask('-u'), gid: await ask('-g') };
}

/** The line of auth.ini that gives the user `neo4j` its first password. */
function credentials(password: string): string {
  const salt = randomBytes(32);
  let hash = createHash('sha256').update(salt).update(password).digest();
  for (let round = 1; round < HASH_ROUNDS; round += 1) hash = createHash('sha256').update(hash).digest();
  return `neo4j:SHA-256,${hash.toString('hex')},${salt.toString('hex')},${HASH_ROUNDS}:\n`;
}

const credentialsOf = ({ user, password }: Pick<Neo4jServer, 'user' | 'password'>) => ({
  scheme: 'basic',
  principal: user,
  credentials: password,
});

interface Running {
  readonly driver: Driver;
  readonly ended: Promise<void>;
  readonly isGone: () => boolean;
  readonly abort: () => void;
}

class ThrowAwayServer implements Neo4jServer {
  readonly programs: Neo4jPrograms;
  readonly host = '127.0.0.1';
  readonly user = 'neo4j';
  readonly password = randomBytes(12).toString('hex');
  readonly home: string;
  readonly passwordFile: string;
  readonly owner: Neo4jServer['owner'];
  readonly #options: Neo4jOptions;
  readonly #folders: AsyncDisposable;
  #port = 0;
  #running: Running | undefined;

  constructor(
    programs: Neo4jPrograms,
    folders: { readonly home: string; readonly own: string; readonly remove: AsyncDisposable },
    owner: Neo4jServer['owner'],
    options: Neo4jOptions,
  ) {
    this.programs = programs;
    this.home = folders.home;
    this.passwordFile = join(folders.own, 'password');
    this.owner = owner;
    this.#options = options;
    this.#folders = folders.remove;
  }
  get port(): number {
    return this.#port;
  }
  get confFolder(): string {
    return join(this.home, 'conf');
  }
  get dataFolder(): string {
    return join(this.home, 'data');
  }
  get pluginsFolder(): string {
    return join(this.home, 'plugins');
  }
  get connection(): Neo4jServer['connection'] {
    const { host, port, user, passwordFile, home, programs } = this;
    return { host, port, user, passwordFile, home, libFolder: programs.libFolder, java: programs.java };
  }
  get driver(): Driver {
    if (this.#running === undefined) throw new Bug('the server is stopped');
    return this.#running.driver;
  }

  async initialize(): Promise<void> {
    const { home, confFolder, dataFolder, pluginsFolder } = this;
    for (const path of [home, confFolder, dataFolder, join(dataFolder, 'dbms'), pluginsFolder]) {
      await mkdir(path, { recursive: true, mode: 0o750 });
      await this.#own(path);
    }
    const auth = join(dataFolder, 'dbms', 'auth.ini');
    await writeFile(auth, credentials(this.password), { mode: 0o600 });
    await this.#own(auth);
    await writeFile(this.passwordFile, `${this.password}\n`, { mode: 0o600 });
    await this.moveToFreePort();
  }
  async #own(path: string): Promise<void> {
    if (this.owner !== undefined) await chown(path, this.owner.uid, this.owner.gid);
  }

  async moveToFreePort(): Promise<void> {
    this.#port = await freePort();
    const settings: Record<string, string> = {
      'server.directories.lib': this.programs.libFolder,
      'server.default_listen_address': this.host,
      'server.default_advertised_address': this.host,
      'server.bolt.listen_address': `${this.host}:${this.#port}`,
      'server.http.enabled': 'false',
      'server.https.enabled': 'false',
      'server.memory.pagecache.size': '64m',
      'db.tx_log.preallocate': 'false',
      'db.tx_log.rotation.size': '16m',
      'dbms.usage_report.enabled': 'false',
      // Without these a stop waits ten seconds for connections.
      'internal.dbms.bolt.netty_server_shutdown_quiet_period': '0',
      'internal.server.bolt.thread_pool_shutdown_wait_time': '1ms',
      'internal.server.bolt.connection_shutdown_wait_time': '1ms',
      ...this.#options.settings,
    };
    const lines = Object.entries(settings).map(([name, value]) => `${name}=${value}\n`);
    const conf = join(this.confFolder, 'neo4j.conf');
    await writeFile(conf, lines.join(''), { mode: 0o640 });
    await this.#own(conf);
  }

  async start(): Promise<void> {
    if (this.#running !== undefined) throw new Bug('the server is running');
    const running = this.#launch(await loadDriver());
    this.#running = running;
    const last = performance.now() + READY_WITHIN_MS;
    for (;;) {
      const ready = running.driver.getServerInfo({ database: 'system' }).then(
        () => true,
        () => false,
      );
      if (await Promise.race([ready, running.ended.then(() => false)])) return;
      if (running.isGone() || performance.now() > last) {
        await this.#end();
        throw new Failure('DATABASE_UNREACHABLE', `Neo4j did not start: ${await this.#logTail()}`);
      }
      await delay(50);
    }
  }

  get #pidFile(): string {
    return join(this.home, 'server.pid');
  }

  #launch(neo4j: Awaited<ReturnType<typeof loadDriver>>): Running {
    const { java, libFolder, classArchive } = this.programs;
    const stopper = new AbortController();
    const flags = ['-Xms64m', `-Xmx${this.#options.heapMb ?? 256}m`, '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'];
    const archive = classArchive === null ? [] : [`-XX:SharedArchiveFile=${classArchive}`, '-Xlog:cds=off'];
    const jars = [...(this.#options.javaFlags ?? []), ...NEO4J_JAVA_FLAGS, '-cp', join(libFolder, '*')];
    const main = ['org.neo4j.server.CommunityEntryPoint', `--home-dir=${this.home}`, `--config-dir=${this.confFolder}`];
    const run = runTool({
      // The shell notes its process id, which is the one of Java afterwards.
      file: 'sh',
      args: ['-c', 'echo $$ >"$0"; exec "$@"', this.#pidFile, java, ...flags, ...archive, ...jars, ...main],
      signal: stopper.signal,
      timeoutMs: 7 * DAY_MS,
      cwd: this.home,
      ...(this.owner === undefined ? {} : { user: this.owner }),
    });
    let isGone = false;
    const ended = run.then(
      () => undefined,
      () => undefined,
    );
    void ended.then(() => {
      isGone = true;
    });
    const driver = neo4j.driver(`bolt://${this.host}:${this.#port}`, credentialsOf(this), {
      useBigInt: true,
      maxTransactionRetryTime: 0,
      connectionTimeout: 10_000,
    });
    return { driver, ended, isGone: () => isGone, abort: () => stopper.abort() };
  }

  async #logTail(): Promise<string> {
    const log = await readFile(join(this.home, 'logs', 'neo4j.log'), 'utf8').catch(() => 'no log');
    return log.trimEnd().split('\n').slice(-8).join(' · ');
  }
  async #end(): Promise<void> {
    const running = this.#running;
    this.#running = undefined;
    running?.abort();
    await running?.ended;
    await running?.driver.close();
  }

  async query(
    cypher: string,
    parameters: Record<string, unknown> = {},
    database = 'neo4j',
  ): Promise<Record<string, unknown>[]> {
    const session = this.driver.session({ database });
    try {
      return (await session.run(cypher, parameters)).records.map((record) => record.toObject());
    } finally {
      await session.close();
    }
  }
  async pid(): Promise<number> {
    return Number(await readFile(this.#pidFile, 'utf8'));
  }
  async #signal(name: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    if (this.#running === undefined) return;
    process.kill(await this.pid(), name);
    await this.#running.ended;
    await this.#end();
  }
  stop(): Promise<void> {
    return this.#signal('SIGTERM');
  }
  kill(): Promise<void> {
    return this.#signal('SIGKILL');
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
    await this.#folders[Symbol.asyncDispose]();
  }
}

/** A real Neo4j Community on 127.0.0.1, as an unprivileged user; gone with its data when disposed, and with us when we die. */
export async function startNeo4j(options: Neo4jOptions = {}): Promise<Neo4jServer> {
  const programs = neo4jPrograms();
  const classArchive = programs.classArchive ?? (await makeClassArchive(programs));
  return await launch({ ...programs, classArchive }, options);
}

/**
 * Makes the class-data archive by running a server that loads the classes which tests need. Java ignores an archive that another version of
 * Java made. Returns null while another process makes it.
 */
async function makeClassArchive(programs: Neo4jPrograms): Promise<string | null> {
  const install = dirname(programs.libFolder);
  const [final, partial] = [join(install, CLASS_ARCHIVE), join(install, `${CLASS_ARCHIVE}.partial`)];
  await using lock = await lockFolder(install).catch((error: unknown) => {
    if (error instanceof Failure && error.code === 'ALREADY_RUNNING') return null;
    throw error;
  });
  if (lock === null) return null;
  await using folder = await temporaryFolder();
  await chmod(folder.path, 0o711);
  const home = join(folder.path, 'home');
  const made = join(home, CLASS_ARCHIVE);
  const options = { home, javaFlags: [`-XX:ArchiveClassesAtExit=${made}`, '-Xlog:cds=off'] };
  await using server = await launch({ ...programs, classArchive: null }, options);
  await seedGraph(server, 20);
  await server.stop();
  await copyFile(made, partial);
  // A copy keeps its owner, and no server may change what other servers load.
  await chown(partial, process.getuid?.() ?? -1, process.getgid?.() ?? -1);
  await rename(partial, final);
  return final;
}

async function launch(programs: Neo4jPrograms, options: Neo4jOptions): Promise<Neo4jServer> {
  await using starting = new AsyncDisposableStack();
  const { path } = starting.use(await temporaryFolder());
  const own = starting.use(await temporaryFolder()).path;
  const owner = await unprivileged();
  if (owner !== undefined) await chown(path, owner.uid, owner.gid);
  const folders = { home: options.home ?? join(path, 'home'), own, remove: starting.move() };
  const server = new ThrowAwayServer(programs, folders, owner, options);
  try {
    await server.initialize();
    for (let attempt = 1; ; attempt += 1) {
      try {
        await server.start();
        return server;
      } catch (error) {
        if (attempt === PORT_ATTEMPTS) throw error;
        await server.moveToFreePort();
      }
    }
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
}
