import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { JobResult, JobView } from '@lastgood/protocol';
import { aRestoreRequest, lyingTool, seedShop, startPostgres, temporaryFolder, waitFor } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Fleet } from '../support/fleet.ts';
import { findLeftovers, runningTools } from '../support/leftovers.ts';

type Server = Awaited<ReturnType<typeof startPostgres>>;
let server: Server;
let fleet: Fleet;
const cleanup = new AsyncDisposableStack();
const forever = new AbortController().signal;

beforeAll(async () => {
  server = cleanup.use(await startPostgres({}));
  await seedShop(server, 'shop', { rows: 2_000 });
  const folder = cleanup.use(await temporaryFolder());
  fleet = cleanup.use(await Fleet.start(folder.path, server.connection));
}, 120_000);
afterAll(() => cleanup.disposeAsync(), 60_000);

function resultOf<C extends JobResult['command']>(job: JobView, command: C): Extract<JobResult, { command: C }> {
  expect(job.error).toBeNull();
  expect(job.state).toBe('succeeded');
  if (job.result?.command !== command) throw new TypeError(`no result of ${command}`);
  return job.result as Extract<JobResult, { command: C }>;
}
const content = async (database: string): Promise<unknown> =>
  await server.query(
    database,
    "select count(*) as n, md5(string_agg(md5(o::text), '' order by md5(o::text))) as d from orders o",
  );
async function freshBackup(): Promise<string> {
  return resultOf(
    await fleet.run({
      command: 'backup',
      target: 'shop',
      method: null,
      contents: ['shop'],
      options: { digests: true },
    }),
    'backup',
  ).backup.backupId;
}

test('a verification at level 6 finds the backup equal to its source', async () => {
  const backupId = await freshBackup();
  const verified = resultOf(await fleet.run({ command: 'verify', target: 'shop', backupId, level: 6 }), 'verify');
  expect(verified).toMatchObject({ passed: true, reached: 6, findings: [] });
  expect((await fleet.client.targets.query({}))[0]?.lastTested).toMatchObject({
    backupId,
    verified: { level: 6, passed: true },
  });
});

test('a later verification at a lower level does not replace a restore test', async () => {
  const backupId = await freshBackup();
  await fleet.run({ command: 'verify', target: 'shop', backupId, level: 6 });
  await fleet.run({ command: 'verify', target: 'shop', backupId, level: 1 });
  expect((await fleet.client.targets.query({}))[0]?.lastTested).toMatchObject({ backupId, verified: { level: 6 } });
});

test('a restore to a new name equals the source and does not change it', async () => {
  const backupId = await freshBackup();
  const mode = { way: 'new', database: 'shop', as: 'shop_copy' } as const;
  const { plan } = resultOf(
    await fleet.run({ command: 'plan', target: 'shop', request: aRestoreRequest(backupId, mode) }),
    'plan',
  );
  const restored = resultOf(
    await fleet.run({
      command: 'restore',
      target: 'shop',
      request: aRestoreRequest(backupId, mode),
      planHash: plan.hash,
    }),
    'restore',
  );
  expect(restored).toMatchObject({ into: 'shop_copy', setAsideAs: null });
  expect(await content('shop_copy')).toEqual(await content('shop'));
});

test('a swap restore brings back a lost table, and undo reverts the swap', async () => {
  const backupId = await freshBackup();
  const before = await content('shop');
  await server.query('shop', 'drop table orders cascade');
  const mode = { way: 'swap', database: 'shop' } as const;
  const { plan } = resultOf(
    await fleet.run({ command: 'plan', target: 'shop', request: aRestoreRequest(backupId, mode) }),
    'plan',
  );
  const jobId = await fleet.send({
    command: 'restore',
    target: 'shop',
    request: aRestoreRequest(backupId, mode),
    planHash: plan.hash,
  });
  resultOf(await fleet.ended(jobId), 'restore');
  expect(await content('shop')).toEqual(before);
  resultOf(await fleet.run({ command: 'undo', target: 'shop', restoreJobId: jobId }), 'undo');
  await expect(content('shop')).rejects.toThrow('orders');
  const again = resultOf(
    await fleet.run({ command: 'plan', target: 'shop', request: aRestoreRequest(backupId, mode) }),
    'plan',
  );
  resultOf(
    await fleet.run({
      command: 'restore',
      target: 'shop',
      request: aRestoreRequest(backupId, mode),
      planHash: again.plan.hash,
    }),
    'restore',
  );
  expect(await content('shop')).toEqual(before);
});

test('a restore whose plan has changed is refused and changes nothing', async () => {
  const backupId = await freshBackup();
  const before = await content('shop');
  const job = await fleet.run({
    command: 'restore',
    target: 'shop',
    request: aRestoreRequest(backupId, { way: 'swap', database: 'shop' }),
    planHash: 'a'.repeat(64),
  });
  expect(job).toMatchObject({ state: 'failed', error: { code: 'PLAN_CHANGED' } });
  expect(await content('shop')).toEqual(before);
});

test('a dry run of rotate gives a reason for every backup and removes none', async () => {
  const before = await fleet.client.backups.query({});
  const result = resultOf(
    await fleet.run({
      command: 'rotate',
      target: 'shop',
      retention: { keepLast: 1, minimum: 1 },
      holds: [],
      dryRun: true,
    }),
    'rotate',
  );
  expect(result.decisions).toHaveLength(before.length);
  for (const decision of result.decisions) expect(decision.reason).not.toBe('');
  expect(await fleet.client.backups.query({})).toHaveLength(before.length);
});

test.for(['accepted', 'running', 'engine-done', 'published', 'finished', 'reported'])(
  'A16, J8: after an agent dies at the point "%s" of a backup, no partial backup exists and the job succeeds',
  async (point) => {
    await fleet.killAgent();
    await fleet.startAgent({ LASTGOOD_FAULT: point });
    await fleet.untilOnline();
    const jobId = await fleet.send({
      command: 'backup',
      target: 'shop',
      method: null,
      contents: ['shop'],
      options: {},
    });
    await fleet.agentEnded();
    await fleet.startAgent();
    const job = await fleet.ended(jobId);
    expect(job.state).toBe('succeeded');
    const stored = await readdir(join(fleet.folder, 'repository', 'test', 'db-1', 'shop', 'backups'));
    const known = (await fleet.client.backups.query({ limit: 1000 })).map((backup) => backup.backupId);
    expect(stored.filter((name) => !name.startsWith('.')).sort()).toEqual(known.sort());
  },
);

test('C1, K3: a control plane killed during a backup records its outcome after a restart', async () => {
  await fleet.untilOnline();
  const jobId = await fleet.send({
    command: 'backup',
    target: 'shop',
    method: null,
    contents: ['shop'],
    options: { digests: true },
  });
  await fleet.until(jobId, 'the backup to start', (job) => job.state !== 'queued');
  await fleet.killControl();
  await fleet.startControl();
  expect((await fleet.ended(jobId)).state).toBe('succeeded');
});

/** Changes the connection of the target in the agent file. The agent must not run. */
async function connectWith(connection: object): Promise<void> {
  const config = JSON.parse(await readFile(fleet.configFile, 'utf8'));
  config.targets.shop.connection = connection;
  await writeFile(fleet.configFile, JSON.stringify(config), { mode: 0o600 });
}
const countStaging = async (): Promise<number> =>
  (await server.query('postgres', "select 1 from pg_database where strpos(datname, '__lastgood_new_') > 0")).length;

test('F2: an agent killed during a restore keeps the old data and reports the restore as interrupted', async () => {
  const backupId = await freshBackup();
  const before = await content('shop');
  const mode = { way: 'swap', database: 'shop' } as const;
  const { plan } = resultOf(
    await fleet.run({ command: 'plan', target: 'shop', request: aRestoreRequest(backupId, mode) }),
    'plan',
  );
  await fleet.killAgent();
  const tools = join(fleet.folder, 'tools');
  await mkdir(tools);
  await lyingTool(tools, 'pg_restore', { lie: 'hangs', afterBytes: 0 }, { when: '--dbname' });
  await connectWith({ ...server.connection, binDir: tools });
  await fleet.startAgent();
  await fleet.untilOnline();
  const jobId = await fleet.send({
    command: 'restore',
    target: 'shop',
    request: aRestoreRequest(backupId, mode),
    planHash: plan.hash,
  });
  await waitFor('pg_restore to hang', 60_000, forever, async () =>
    (await runningTools(server)).some((line) => line.startsWith('sleep infinity')) ? true : undefined,
  );
  expect(await countStaging()).toBe(1);
  await fleet.killAgent();
  await connectWith(server.connection);
  await fleet.startAgent();
  expect(await fleet.ended(jobId)).toMatchObject({ state: 'failed', error: { code: 'JOB_INTERRUPTED' } });
  expect(await content('shop')).toEqual(before);
  await waitFor('the staging database to be removed', 60_000, forever, async () =>
    (await countStaging()) === 0 ? true : undefined,
  );
});

test('I10: afterwards no process, scratch server, unpublished file or staging database is left', async () => {
  await fleet.untilOnline();
  expect(await findLeftovers(fleet, server)).toEqual([]);
});
