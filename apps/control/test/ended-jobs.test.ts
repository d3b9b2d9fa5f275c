import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { type ControlJob, createJob, emptyControlLedger, requestCancel } from '@lastgood/protocol';
import { aJobDescription, temporaryFolder } from '@lastgood/testkit';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { AgentRecord } from '../src/catalog/agents.ts';
import type { Catalog } from '../src/catalog/catalog.ts';
import { openSqliteCatalog } from '../src/catalog/sqlite-catalog.ts';
import { queueJob } from '../src/dispatch/job-commands.ts';
import { pruneJobHistory } from '../src/dispatch/job-history.ts';
import { LedgerStore } from '../src/dispatch/ledger-store.ts';
import { StandingClock } from './support/control-harness.ts';

const DAY = 86_400_000;
let cleanup: AsyncDisposableStack;
let catalog: Catalog;
let ledgers: LedgerStore;
let clock: StandingClock;

const agentOf = (host: string): AgentRecord => ({
  ...{ agentId: `agent-${host}`, installId: host, environment: 'test', host, labels: {}, publicKey: host },
  ...{ enrolledAt: 1, agentVersion: null, signingKey: null, lastSeenAt: null, quarantinedAt: null },
});
const [one, two] = [agentOf('db-1'), agentOf('db-2')];

beforeEach(async () => {
  cleanup = new AsyncDisposableStack();
  const folder = cleanup.use(await temporaryFolder());
  clock = new StandingClock();
  catalog = await openSqliteCatalog(join(folder.path, 'catalog.sqlite'));
  cleanup.defer(() => catalog.close());
  ledgers = await LedgerStore.open(catalog, clock);
  for (const agent of [one, two]) await ledgers.create(agent.agentId, [{ type: 'agent.enroll', agent }]);
});
afterEach(() => cleanup.disposeAsync());

async function queue(jobId = randomUUID() as string): Promise<string> {
  await queueJob(ledgers, one, aJobDescription(jobId, {}, clock.now()), randomUUID(), []);
  return jobId;
}
/** A job that was canceled before it was sent. */
async function endedJob(): Promise<string> {
  const jobId = await queue();
  await ledgers.apply(one.agentId, (ledger) => ({
    ledger: requestCancel(ledger, jobId, clock.now()),
    value: undefined,
  }));
  return jobId;
}
const inMemory = (store = ledgers): string[] => [...store.ledger(one.agentId).jobs.keys()];

test('a job leaves memory when it ends and stays in the catalog, before and after a restart', async () => {
  const ended = await endedJob();
  const open = await queue();
  expect(inMemory()).toEqual([open]);
  expect((await catalog.jobs.get(ended))?.job.state).toBe('canceled');
  expect(inMemory(await LedgerStore.open(catalog, clock))).toEqual([open]);
});

test('a step that names an ended job sees it, and another step does not', async () => {
  const ended = await endedJob();
  const seen = async (jobIds: string[]): Promise<ControlJob['state'] | undefined> =>
    await ledgers.apply(one.agentId, (ledger) => ({ ledger, value: ledger.jobs.get(ended)?.state }), jobIds);
  expect(await seen([ended, randomUUID()])).toBe('canceled');
  expect(await seen([])).toBeUndefined();
  expect(inMemory()).toEqual([]);
});

test('an ended job that a step changes is written and leaves memory again', async () => {
  const ended = await endedJob();
  await ledgers.apply(
    one.agentId,
    (ledger) => {
      const job = ledger.jobs.get(ended);
      if (job === undefined) throw new TypeError('the job was not looked up');
      return { ledger: { ...ledger, jobs: new Map(ledger.jobs).set(ended, { ...job, result: 'late' }) }, value: null };
    },
    [ended],
  );
  expect((await catalog.jobs.get(ended))?.job.result).toBe('late');
  expect(inMemory()).toEqual([]);
});

test('the id of an ended job makes no second job', async () => {
  const ended = await endedJob();
  await expect(queue(ended)).rejects.toMatchObject({ code: 'CONFLICT' });
  expect((await catalog.jobs.get(ended))?.job.state).toBe('canceled');
});

test('the job of one host cannot be taken over by another one', async () => {
  const jobId = await queue();
  const other = createJob(emptyControlLedger(two.agentId, 'inc-1'), aJobDescription(jobId));
  const takeOver = ledgers.apply(two.agentId, (ledger) => ({
    ledger: { ...ledger, jobs: other.jobs },
    value: undefined,
  }));
  await expect(takeOver).rejects.toMatchObject({ code: 'CONFLICT' });
  expect((await catalog.jobs.get(jobId))?.agentId).toBe(one.agentId);
  expect([...ledgers.ledger(two.agentId).jobs]).toEqual([]);
});

test('attack-B12: of too many ended jobs of one host the oldest are removed before their time', async () => {
  const ended: string[] = [];
  for (let n = 0; n < 5; n += 1) {
    clock.advance(1);
    ended.push(await endedJob());
  }
  const open = await queue();
  expect(await pruneJobHistory(catalog, clock.now(), 3)).toBe(3);
  const left = (await catalog.jobs.list({ agentId: one.agentId }, 10)).map(({ job }) => job.jobId);
  expect(left.toSorted()).toEqual([...ended.slice(3), open].toSorted());
});

test('ended jobs are removed after 37 days, open ones never', async () => {
  const [ended, open] = [await endedJob(), await queue()];
  expect(await pruneJobHistory(catalog, clock.now() + 36 * DAY)).toBe(0);
  expect(await pruneJobHistory(catalog, clock.now() + 38 * DAY)).toBe(1);
  expect(await catalog.jobs.get(ended)).toBeUndefined();
  expect(await catalog.jobs.get(open)).toBeDefined();
});
