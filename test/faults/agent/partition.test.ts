import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { JobSpec } from '@lastgood/protocol';
import { freePort, seedShop, startPostgres, TcpFaultProxy, temporaryFolder, waitFor } from '@lastgood/testkit';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { Fleet } from '../../support/fleet.ts';

const forever = new AbortController().signal;
const cleanup = new AsyncDisposableStack();
const backup: JobSpec = { command: 'backup', target: 'shop', method: null, contents: ['shop'], options: {} };
let fleet: Fleet;
let proxy: TcpFaultProxy;

beforeAll(async () => {
  const server = cleanup.use(await startPostgres());
  await seedShop(server, 'shop', { rows: 500 });
  const { path } = cleanup.use(await temporaryFolder());
  const port = await freePort();
  proxy = cleanup.use(await TcpFaultProxy.open({ port }));
  fleet = cleanup.use(await Fleet.start(path, server.connection, { port, through: proxy.port }));
});
afterAll(() => cleanup.disposeAsync());
// A new agent has no failed attempts and so reconnects with the shortest delay. A host is online after its hello, before it receives
// commands, so a complete job is run to make sure that the session works.
beforeEach(async () => {
  await fleet.killAgent();
  await proxy.resume();
  await fleet.untilOffline();
  await fleet.startAgent();
  await fleet.untilOnline();
  expect((await fleet.run(backup)).state).toBe('succeeded');
});

const stored = async (): Promise<string[]> =>
  (await readdir(join(fleet.folder, 'repository', 'test', 'db-1', 'shop', 'backups')).catch(() => [])).sort();
const cataloged = async (): Promise<string[]> =>
  (await fleet.client.backups.query({ limit: 1000 })).map((found) => found.backupId).sort();
async function untilStored(count: number): Promise<void> {
  await waitFor(`${count} backups in the repository`, 60_000, forever, async () => {
    const names = await stored();
    const published = await Promise.all(
      names.map((name) => readdir(join(fleet.folder, 'repository', 'test', 'db-1', 'shop', 'backups', name))),
    );
    return published.filter((files) => files.includes('manifest.json')).length >= count ? true : undefined;
  });
}

test('K1: a job continues in a silent partition, and its result arrives once afterwards', async () => {
  const before = (await stored()).length;
  const jobId = await fleet.send(backup);
  await fleet.until(jobId, 'the job to reach the agent', (job) => job.state !== 'queued');
  proxy.hold();
  await untilStored(before + 1);
  expect((await fleet.client.job.query({ jobId })).endedAt).toBeNull();
  await proxy.resume();
  expect(await fleet.ended(jobId)).toMatchObject({ state: 'succeeded', attempt: 1 });
  expect((await stored()).length).toBe(before + 1);
  expect(await cataloged()).toEqual(await stored());
});

test('K2: a command takes effect once when messages from the agent are lost', async () => {
  const before = (await stored()).length;
  proxy.hold('toServer');
  const jobId = await fleet.send(backup);
  await untilStored(before + 1);
  expect((await fleet.client.job.query({ jobId })).endedAt).toBeNull();
  proxy.cut();
  await proxy.resume();
  expect(await fleet.ended(jobId)).toMatchObject({ state: 'succeeded', attempt: 1 });
  expect((await stored()).length).toBe(before + 1);
});

test('K2: a backup is recorded once when messages to the agent are lost', async () => {
  const before = (await stored()).length;
  const jobId = await fleet.send(backup);
  await fleet.until(jobId, 'the job to reach the agent', (job) => !['queued', 'dispatched'].includes(job.state));
  proxy.hold('toClient');
  await untilStored(before + 1);
  await fleet.killAgent();
  await proxy.resume();
  await fleet.startAgent();
  expect(await fleet.ended(jobId)).toMatchObject({ state: 'succeeded', attempt: 1 });
  expect((await stored()).length).toBe(before + 1);
  expect(await cataloged()).toEqual(await stored());
});

test('K4: repeated cuts neither lose nor repeat jobs', async () => {
  const before = (await stored()).length;
  const jobs: string[] = [];
  for (let round = 0; round < 3; round += 1) {
    jobs.push(await fleet.send(backup));
    const { accepted } = proxy;
    proxy.cut();
    await proxy.until((now) => now.accepted > accepted);
  }
  for (const jobId of jobs) expect(await fleet.ended(jobId)).toMatchObject({ state: 'succeeded', attempt: 1 });
  expect((await stored()).length).toBe(before + jobs.length);
});

test('K5: forty results arrive after the connection to the control plane was stalled', async () => {
  const backupId = (await cataloged()).at(-1) ?? '';
  proxy.hold('toServer');
  const jobs: string[] = [];
  for (let round = 0; round < 40; round += 1)
    jobs.push(await fleet.send({ command: 'verify', target: 'shop', backupId, level: 1 }));
  await fleet.untilLogged('"command":"verify"');
  proxy.cut();
  await proxy.resume();
  for (const jobId of jobs) expect((await fleet.ended(jobId)).state).toBe('succeeded');
});
