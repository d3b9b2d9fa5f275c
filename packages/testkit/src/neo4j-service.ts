import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runTool } from '@lastgood/host';
import type { Driver } from 'neo4j-driver-lite';
import { NEO4J_JAVA_FLAGS } from './neo4j-programs.ts';
import type { Neo4jServer } from './neo4j-server.ts';
import { temporaryFolder } from './temporary-folder.ts';
import { waitFor } from './wait-for.ts';

const never = new AbortController().signal;
const SCRIPT_MS = 120_000;

/** The commands of a service, as an agent file names them. */
export interface ServiceCommands {
  readonly kind: 'command';
  readonly start: string[];
  readonly stop: string[];
  readonly status: string[];
}
/** A Neo4j that an agent may stop and start: it is not a child of the test. */
export interface Neo4jService extends AsyncDisposable {
  readonly commands: ServiceCommands;
  isRunning(): Promise<boolean>;
  start(): Promise<void>;
  stop(): Promise<void>;
  /** The process that runs; fails when none does. */
  pid(): Promise<number>;
  /** As `Neo4jServer.query`, over a connection of its own. */
  query(cypher: string, parameters?: Record<string, unknown>, database?: string): Promise<Record<string, unknown>[]>;
}

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/**
 * Runs a stopped server by the commands of a service, as an operator would. The server ends with this process, and when disposed. Resolves
 * when the database `neo4j` can be queried.
 */
export async function startNeo4jService(server: Neo4jServer): Promise<Neo4jService> {
  const folder = await temporaryFolder();
  const { programs, home, confFolder, owner } = server;
  const pidFile = join(home, 'service.pid');
  const archive =
    programs.classArchive === null ? [] : [`-XX:SharedArchiveFile=${programs.classArchive}`, '-Xlog:cds=off'];
  const java = [
    programs.java,
    ...['-Xms64m', '-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', ...archive, ...NEO4J_JAVA_FLAGS],
    ...['-cp', join(programs.libFolder, '*'), 'org.neo4j.server.CommunityEntryPoint'],
    ...[`--home-dir=${home}`, `--config-dir=${confFolder}`],
  ];
  const drop = owner === undefined ? '' : `setpriv --reuid=${owner.uid} --regid=${owner.gid} --clear-groups `;
  const isAlive = `pid=$(cat ${quote(pidFile)} 2>/dev/null) && tr '\\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF -- ${quote(home)}`;
  const scripts: Record<'start' | 'stop' | 'status', string> = {
    start: `if ${isAlive}; then exit 0; fi
setsid ${drop}sh -c 'echo $$ >"$0"; exec "$@"' ${quote(pidFile)} ${java.map(quote).join(' ')} </dev/null >/dev/null 2>&1 &
setsid sh -c 'while kill -0 "$1" 2>/dev/null && kill -0 "$2" 2>/dev/null; do sleep 2; done; kill -0 "$1" 2>/dev/null || kill -9 "$2"' guard ${process.pid} "$!" </dev/null >/dev/null 2>&1 &`,
    stop: `if ${isAlive}; then kill "$pid"; while ${isAlive}; do sleep 0.1; done; fi`,
    status: `if ${isAlive}; then exit 0; fi
exit 3`,
  };
  const paths: Record<string, string> = {};
  for (const [name, script] of Object.entries(scripts)) {
    const path = join(folder.path, name);
    await writeFile(path, `#!/bin/sh\n${script}\n`);
    await chmod(path, 0o700);
    paths[name] = path;
  }
  const commands: ServiceCommands = {
    kind: 'command',
    start: [paths['start'] ?? ''],
    stop: [paths['stop'] ?? ''],
    status: [paths['status'] ?? ''],
  };
  const service = new ScriptedService(server, commands, pidFile, folder);
  try {
    await service.start();
    return service;
  } catch (error) {
    await service[Symbol.asyncDispose]();
    throw error;
  }
}

class ScriptedService implements Neo4jService {
  readonly commands: ServiceCommands;
  readonly #server: Neo4jServer;
  readonly #pidFile: string;
  readonly #folder: AsyncDisposable;
  #driver: Driver | undefined;

  constructor(server: Neo4jServer, commands: ServiceCommands, pidFile: string, folder: AsyncDisposable) {
    this.commands = commands;
    this.#server = server;
    this.#pidFile = pidFile;
    this.#folder = folder;
  }
  async #run(action: 'start' | 'stop' | 'status'): Promise<number> {
    const [file = '', ...args] = this.commands[action];
    const call = { file, args, signal: never, timeoutMs: SCRIPT_MS, acceptedExitCodes: [3], cwd: '/' };
    return (await runTool({ ...call, startsServer: action === 'start' })).exitCode;
  }
  async isRunning(): Promise<boolean> {
    return (await this.#run('status')) === 0;
  }
  async start(): Promise<void> {
    await this.#run('start');
    await waitFor('Neo4j to serve', SCRIPT_MS, never, async () =>
      this.query('RETURN 1').then(
        () => true,
        () => undefined,
      ),
    );
  }
  async stop(): Promise<void> {
    await this.#run('stop');
  }
  async pid(): Promise<number> {
    return Number(await readFile(this.#pidFile, 'utf8'));
  }
  async query(
    cypher: string,
    parameters: Record<string, unknown> = {},
    database = 'neo4j',
  ): Promise<Record<string, unknown>[]> {
    const { default: neo4j } = await import('neo4j-driver-lite');
    const { host, port, user, password } = this.#server;
    const login = { scheme: 'basic', principal: user, credentials: password };
    this.#driver ??= neo4j.driver(`bolt://${host}:${port}`, login, {
      useBigInt: true,
      maxTransactionRetryTime: 0,
      connectionTimeout: 10_000,
    });
    const session = this.#driver.session({ database });
    try {
      return (await session.run(cypher, parameters)).records.map((record) => record.toObject());
    } finally {
      await session.close();
    }
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#driver?.close();
    await this.stop().catch(() => undefined);
    await this.#folder[Symbol.asyncDispose]();
  }
}
