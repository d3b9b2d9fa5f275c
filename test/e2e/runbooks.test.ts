import { afterAll, beforeAll, expect, test } from 'vitest';
import { RecoverySite } from '../support/recovery-site.ts';

const LONG_MS = 240_000;
const HOST = 'test/db-1';

let site: RecoverySite;
const cleanup = new AsyncDisposableStack();

/** The disaster recovery of the founding document for two databases: restore, validate, start the application, validate again. */
const RUNBOOK = {
  objectives: { rto: '4h' },
  contacts: ['dba'],
  steps: {
    infrastructure: { title: 'The servers are provisioned', approve: { by: 'anyone' } },
    postgres: {
      title: 'Restore PostgreSQL',
      after: ['infrastructure'],
      restore: { target: `${HOST}/postgres`, database: 'rulex_db', into: 'swap' },
    },
    redis: {
      title: 'Restore Redis',
      after: ['postgres'],
      restore: { target: `${HOST}/redis`, into: 'swap' },
      alternative: [{ hook: { host: HOST, name: 'rebuild-redis' } }, { check: { host: HOST, name: 'velocity-keys' } }],
    },
    answers: { after: ['postgres'], check: { host: HOST, name: 'answers' } },
    migrations: { after: ['postgres'], check: { host: HOST, name: 'migrations' } },
    ping: { after: ['redis'], check: { host: HOST, name: 'ping' } },
    'start-application': { after: ['answers', 'migrations', 'ping'], hook: { host: HOST, name: 'start-application' } },
    health: { after: ['start-application'], check: { host: HOST, name: 'health' } },
    transaction: { after: ['health'], check: { host: HOST, name: 'sample-transaction' } },
  },
};
const FLEET = { contacts: { dba: { email: ['dba@empresa.com'] } }, runbooks: { recovery: RUNBOOK } };
const WHOLE = { orders: 200, keys: 200, health: 'UP' };
const CONSENT = ['--confirm', 'recovery', '--accept-skew', `${HOST}/postgres`, '--approve', 'infrastructure'];

beforeAll(async () => {
  site = cleanup.use(await RecoverySite.open());
  for (const target of ['postgres', 'redis']) {
    const backup = await site.lastgood('backup', target);
    expect(backup, backup.stderr).toMatchObject({ status: 0 });
  }
  const applied = await site.apply(FLEET);
  expect(applied, applied.stderr).toMatchObject({ status: 0 });
}, LONG_MS);
afterAll(() => cleanup.disposeAsync(), 60_000);

test('one command brings back destroyed databases and the application over them', { timeout: LONG_MS }, async () => {
  await site.destroy();
  expect(await site.state()).toEqual({ orders: -1, keys: 0, health: 'NONE' });
  const planned = await site.lastgood('runbooks', 'plan', 'recovery');
  expect(planned, planned.stdout + planned.stderr).toMatchObject({ status: 0 });
  const ran = await site.lastgood('runbooks', 'run', 'recovery', ...CONSENT);
  expect(ran, ran.stdout + ran.stderr).toMatchObject({ status: 0 });
  expect(await site.state()).toEqual(WHOLE);
});
