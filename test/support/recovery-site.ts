import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  freePort,
  type PostgresServer,
  type RedisService,
  root,
  startPostgres,
  startRedisService,
  temporaryFolder,
} from '@lastgood/testkit';
import { commandLine, type Ran } from './command-line.ts';
import { type AgentFileContent, Fleet } from './fleet.ts';
import type { SiteSettings } from './site-settings.ts';

const SCHEMA = `
create table flyway_schema_history (installed_rank int primary key, version text, description text not null, success boolean not null);
insert into flyway_schema_history values (1, '1', 'orders', true), (2, '2', 'customers', true);
create table orders (id bigserial primary key, customer text not null);
insert into orders (customer) select 'customer ' || n from generate_series(1, 200) n;`;

/** More servers than PostgreSQL and Redis, with their part of the agent file and of the runbook. */
export interface RecoverySiteOptions {
  readonly change?: (file: AgentFileContent) => void;
}

/** A site as the founding document describes it: databases, an application over them, and the agent that can bring them back. */
export class RecoverySite implements AsyncDisposable {
  readonly fleet: Fleet;
  readonly postgres: PostgresServer;
  readonly redis: RedisService;
  readonly folder: string;
  readonly applicationPort: number;
  readonly lastgood: (...args: string[]) => Promise<Ran>;
  readonly #cleanup: AsyncDisposableStack;

  private constructor(
    parts: Pick<RecoverySite, 'fleet' | 'postgres' | 'redis' | 'folder' | 'applicationPort'>,
    cleanup: AsyncDisposableStack,
  ) {
    this.fleet = parts.fleet;
    this.postgres = parts.postgres;
    this.redis = parts.redis;
    this.folder = parts.folder;
    this.applicationPort = parts.applicationPort;
    this.lastgood = commandLine(parts.fleet);
    this.#cleanup = cleanup;
  }

  static async open({ change = () => undefined }: RecoverySiteOptions = {}): Promise<RecoverySite> {
    await using cleanup = new AsyncDisposableStack();
    const postgres = cleanup.use(await startPostgres({}));
    const redis = cleanup.use(await startRedisService({ config: { appendonly: 'yes' } }));
    const { path: folder } = cleanup.use(await temporaryFolder());
    const applicationPort = await freePort();
    const fleet = cleanup.use(
      await Fleet.start(folder, postgres.connection, {
        change: (file) => {
          describeHost(file, { postgres, redis, folder, applicationPort });
          change(file);
        },
      }),
    );
    await writeHooks({ postgres, redis, folder, applicationPort });
    const site = new RecoverySite({ fleet, postgres, redis, folder, applicationPort }, cleanup.move());
    await site.fill();
    return site;
  }

  /** The data of both servers, as they are before the disaster. */
  async fill(): Promise<void> {
    await this.postgres.query('postgres', 'create database rulex_db');
    await this.postgres.query('rulex_db', SCHEMA);
    await this.fillRedis();
  }
  async fillRedis(): Promise<void> {
    await this.redis.call('MSET', ...Array.from({ length: 200 }, (_, n) => [`velocity:${n + 1}`, '1']).flat());
  }

  /** Every database and the application are gone; the servers run, as after they were provisioned again. */
  async destroy(): Promise<void> {
    await this.stopApplication();
    await this.postgres.query('postgres', 'drop database if exists rulex_db with (force)');
    await this.redis.call('FLUSHALL');
  }

  /** What is there: orders of PostgreSQL, keys of Redis, and the health of the application. */
  async state(): Promise<{ orders: number; keys: number; health: string }> {
    const [row] = await this.postgres
      .query('rulex_db', 'select count(*)::int as orders from orders')
      .catch(() => [{ orders: -1 }]);
    const health = await fetch(`http://127.0.0.1:${this.applicationPort}/actuator/health`)
      .then(async (response) => ((await response.json()) as { status: string }).status)
      .catch(() => 'NONE');
    return { orders: Number(row?.['orders']), keys: Number(await this.redis.call('DBSIZE')), health };
  }

  async stopApplication(): Promise<void> {
    const pid = Number(await readFile(join(this.folder, 'application.pid'), 'utf8').catch(() => '0'));
    if (pid > 0)
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended before.
      }
  }

  /** Writes a fleet file with this runbook and puts it in force. */
  async apply(content: object): Promise<Ran> {
    const file = join(this.folder, 'fleet.json');
    await writeFile(file, JSON.stringify(content));
    return await this.lastgood('apply', '-f', file, '--accept-loss');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stopApplication();
    await this.#cleanup.disposeAsync();
  }
}

interface Site {
  readonly postgres: PostgresServer;
  readonly redis: RedisService;
  readonly folder: string;
  readonly applicationPort: number;
}

function describeHost(file: AgentFileContent, { redis, folder, applicationPort }: Site): void {
  const { shop, ...others } = file.targets;
  const allow = { restore: ['new', 'swap', 'in-place'], rotate: true, roles: 'full' };
  file.targets = {
    ...others,
    postgres: { ...shop, allow },
    redis: {
      engine: 'redis',
      repository: 'local',
      connection: redis.connection,
      service: redis.service,
      allow: { restore: ['swap'] },
    },
  };
  const application = `http://127.0.0.1:${applicationPort}`;
  file.checks = {
    answers: { target: 'postgres', sql: { database: 'rulex_db', query: 'select count(*) >= 200 from public.orders' } },
    migrations: { target: 'postgres', flyway: { database: 'rulex_db', version: '2' } },
    ping: { target: 'redis', ping: {} },
    'velocity-keys': { target: 'redis', keys: { least: 200 } },
    health: { http: { url: `${application}/actuator/health`, json: { status: 'UP' } }, within: '60s' },
    'sample-transaction': { http: { url: `${application}/orders`, method: 'POST', body: '{}', status: 201 } },
    'never-passes': { tcp: { port: 1 }, within: '0s' },
  };
  file.hooks = {
    'start-application': [join(folder, 'start-application')],
    'rebuild-redis': [join(folder, 'rebuild-redis')],
    forbidden: ['/bin/true'],
  };
  file.allow = { hooks: ['start-application', 'rebuild-redis'] };
}

async function writeScript(path: string, lines: readonly string[]): Promise<void> {
  await writeFile(path, ['#!/bin/sh', ...lines, ''].join('\n'));
  await chmod(path, 0o700);
}

/** The hooks of the agent file. What they start ends with this process. */
async function writeHooks({ postgres, redis, folder, applicationPort }: Site): Promise<void> {
  const { host, port, user, passfile } = postgres.connection;
  const { socket, passwordFile } = redis.connection;
  const settings: SiteSettings = {
    applicationPort,
    postgres: { host, port, user, passfile },
    redis: { socket, passwordFile },
  };
  const file = join(folder, 'site.json');
  await writeFile(file, JSON.stringify(settings), { mode: 0o600 });
  const run = (program: string): string => `'${process.execPath}' '${join(root, 'test/support', program)}' '${file}'`;
  await writeScript(join(folder, 'start-application'), [
    `setsid ${run('shop-application.ts')} </dev/null >/dev/null 2>&1 &`,
    `echo $! >'${folder}/application.pid'`,
    `setsid sh -c 'while kill -0 "$1" 2>/dev/null && kill -0 "$2" 2>/dev/null; do sleep 1; done; kill -0 "$1" 2>/dev/null || kill -9 "$2"' guard ${process.pid} $! </dev/null >/dev/null 2>&1 &`,
  ]);
  await writeScript(join(folder, 'rebuild-redis'), [`exec ${run('rebuild-velocity.ts')}`]);
}
