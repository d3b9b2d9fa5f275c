import { seedGraph, startNeo4j, startNeo4jService } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RecoverySite } from '../support/recovery-site.ts';

const LONG_MS = 600_000;
const HOST = 'test/db-1';
const CUSTOMERS = 20;

let site: RecoverySite;
let nodes: () => Promise<number>;
let destroyGraph: () => Promise<unknown>;
const cleanup = new AsyncDisposableStack();

const restore = (target: string, database?: string) => ({
  target: `${HOST}/${target}`,
  into: 'swap',
  ...(database === undefined ? {} : { database }),
});
const check = (name: string, ...after: string[]) => ({ after, check: { host: HOST, name } });
/** Section 6 of the founding document. */
const RUNBOOK = {
  objectives: { rto: '4h' },
  contacts: ['dba', 'devops', 'support'],
  steps: {
    infrastructure: { title: 'Servers for PostgreSQL, Redis and Neo4j are provisioned', approve: {} },
    postgres: { after: ['infrastructure'], restore: restore('postgres', 'rulex_db') },
    neo4j: { after: ['postgres'], restore: restore('neo4j', 'neo4j') },
    redis: { after: ['postgres'], restore: restore('redis') },
    'postgres-answers': check('answers', 'postgres'),
    migrations: check('migrations', 'postgres'),
    'redis-ping': check('ping', 'redis'),
    graph: check('graph', 'neo4j'),
    'start-application': {
      after: ['postgres-answers', 'migrations', 'redis-ping', 'graph'],
      hook: { host: HOST, name: 'start-application' },
    },
    health: check('health', 'start-application'),
    transaction: check('sample-transaction', 'health'),
  },
};
const CONTACTS = {
  dba: { email: ['dba@empresa.com'] },
  devops: { email: ['devops@empresa.com'] },
  support: { email: ['support@cognition.ai'] },
};

beforeAll(async () => {
  const server = cleanup.use(await startNeo4j());
  await seedGraph(server, CUSTOMERS);
  await server.stop();
  const service = cleanup.use(await startNeo4jService(server));
  const connection = { ...server.connection, scratch: { heapMb: 256, pageCacheMb: 64 } };
  site = cleanup.use(
    await RecoverySite.open({
      change: (file) => {
        const target = { engine: 'neo4j', repository: 'local', connection, service: service.commands };
        file.targets['neo4j'] = { ...target, allow: { restore: ['swap'], uncontainedRestoreTests: true } };
        file.checks = { ...file.checks, graph: { target: 'neo4j', graph: { nodes: CUSTOMERS }, within: '60s' } };
      },
    }),
  );
  const count = async (): Promise<number> =>
    Number((await service.query('MATCH (n) RETURN count(n) AS nodes'))[0]?.['nodes']);
  nodes = count;
  destroyGraph = () => service.query('MATCH (n) DETACH DELETE n');
  for (const target of ['postgres', 'redis', 'neo4j']) {
    const backup = await site.fleet.run({ command: 'backup', target, method: null, contents: null, options: {} });
    expect(backup.error).toBeNull();
  }
  const applied = await site.apply({ contacts: CONTACTS, runbooks: { 'disaster-recovery': RUNBOOK } });
  expect(applied, applied.stderr).toMatchObject({ status: 0 });
}, LONG_MS);
afterAll(() => cleanup.disposeAsync(), LONG_MS);

test('one command brings back three destroyed databases, and the six checks of the founding document pass', {
  timeout: LONG_MS,
}, async () => {
  const before = await nodes();
  await site.destroy();
  await destroyGraph();
  expect([await site.state(), await nodes()]).toEqual([{ orders: -1, keys: 0, health: 'NONE' }, 0]);
  const name = 'disaster-recovery';
  const skew = ['postgres', 'redis', 'neo4j'].flatMap((target) => ['--accept-skew', `${HOST}/${target}`]);
  const ran = await site.lastgood('runbooks', 'run', name, '--confirm', name, '--approve', 'infrastructure', ...skew);
  expect(ran, ran.stdout + ran.stderr).toMatchObject({ status: 0 });
  for (const step of ['postgres-answers', 'migrations', 'redis-ping', 'graph', 'health', 'transaction'])
    expect(ran.stdout).toMatch(new RegExp(`done +${step} `));
  expect(ran.stdout).toContain('support: support@cognition.ai');
  expect([await site.state(), await nodes()]).toEqual([{ orders: 200, keys: 200, health: 'UP' }, before]);
});
