import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { EngineContext, Repository } from '@lastgood/core';
import { acceptCommand, cancelAttempt, finishJob, type JobSpec, jobKey } from '@lastgood/protocol';
import { aRestoreRequest, aStartCommand, temporaryFolder } from '@lastgood/testkit';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { agentConfigSchema } from '../src/config/agent-config.ts';
import { Activity } from '../src/jobs/activity.ts';
import type { GrantAnswer } from '../src/jobs/grants.ts';
import { JobRunner, type JobRunnerParts } from '../src/jobs/job-runner.ts';
import { type Target, targetsOf } from '../src/jobs/targets.ts';
import { eventsNow } from '../src/journal/event-factory.ts';
import { Journal } from '../src/journal/journal.ts';
import { Compensations } from '../src/steps/compensations.ts';

const JOB = '01a20b1a-d025-7344-a564-47d7db15294a';
const KEY = jobKey(JOB, 1);
const GRANT_MS = 30_000;
const rotation: JobSpec = { command: 'rotate', target: 'shop', retention: { minimum: 1 }, holds: [], dryRun: false };
const plan: JobSpec = {
  command: 'plan',
  target: 'shop',
  request: aRestoreRequest(JOB, { way: 'swap', database: 'shop' }),
};

let cleanup: AsyncDisposableStack;
let journal: Journal;
let targets: Map<string, Target>;
/** A clock that stands until it is moved. */
let time: { wall: number; monotonic: number };
let questions: PromiseWithResolvers<GrantAnswer>[];
let nonces: string[];
/** How often a job has reached its repository: it has begun. */
let begun: number;
let folder: string;
let activity: Activity;

const configWith = (allow: object) =>
  agentConfigSchema.parse({
    environment: 'test',
    host: 'here',
    dataDir: folder,
    control: { url: 'http://127.0.0.1:7400' },
    repositories: { local: { type: 'folder', path: join(folder, 'backups') } },
    targets: { shop: { engine: 'postgres', repository: 'local', connection: { host: '127.0.0.1', user: 'x' }, allow } },
  });
function replace(more: Partial<Target>): void {
  const shop = targets.get('shop');
  if (shop === undefined) throw new TypeError('no target');
  targets.set('shop', { ...shop, ...more });
}
const hangs = (): Promise<Repository> => {
  begun += 1;
  return new Promise(() => undefined);
};

beforeEach(async () => {
  cleanup = new AsyncDisposableStack();
  folder = cleanup.use(await temporaryFolder()).path;
  journal = cleanup.use(await Journal.open(join(folder, 'journal.sqlite'), 0));
  targets = targetsOf(configWith({ rotate: true, restore: ['swap'] }), journal);
  time = { wall: Date.now(), monotonic: 1_000 };
  [questions, nonces, begun] = [[], [], 0];
  replace({ repository: hangs });
});
afterEach(() => cleanup.disposeAsync());

/** A runner with one accepted job. */
function runnerWith(spec: JobSpec, deadlineMs = 600_000, more: Partial<JobRunnerParts> = {}): JobRunner {
  const clock = { now: () => time.wall, monotonic: () => time.monotonic };
  activity = new Activity(clock);
  const runner = new JobRunner({
    journal,
    clock,
    activity,
    compensations: new Compensations({ journal, clock, log: pino({ enabled: false }) }),
    log: pino({ enabled: false }),
    workDir: join(folder, 'jobs'),
    targets: () => targets,
    grants: {
      requestGrant: (_jobId, _attempt, nonce) => {
        const question = Promise.withResolvers<GrantAnswer>();
        questions.push(question);
        nonces.push(nonce);
        return question.promise;
      },
    },
    controlNow: () => time.wall,
    jumpedMs: () => 0,
    ...more,
  });
  const command = aStartCommand(JOB, { spec, startBy: time.wall + 600_000, deadlineMs });
  journal.update((ledger) => acceptCommand(ledger, command, eventsNow(clock), () => null).ledger);
  // Jobs of these tests may never end; none of them writes into a journal that is closed.
  cleanup.defer(() => void runner.stop());
  return runner;
}
const job = () => journal.ledger.jobs.get(KEY);
const granted: GrantAnswer = { granted: true, ttlMs: GRANT_MS, reason: '' };
/** Lets everything run that is ready to run. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await nextTurn();
}
/** What the answer to the first hello does. */
async function reconcile(): Promise<void> {
  journal.update((ledger) => ({ ...ledger, reconciled: true }));
  await settle();
}

test('R6: a destructive job begins with its grant', async () => {
  const runner = runnerWith(rotation);
  await reconcile();
  runner.targetReady('shop');
  expect([questions.length, begun]).toEqual([1, 0]);
  time.monotonic += GRANT_MS - 1;
  questions[0]?.resolve(granted);
  await expect.poll(() => begun).toBe(1);
});

test('R6: a grant whose time, counted from the question, is over on arrival begins nothing; the same nonce asks again', async () => {
  const runner = runnerWith(rotation);
  await reconcile();
  runner.targetReady('shop');
  time.monotonic += GRANT_MS + 1;
  questions[0]?.resolve(granted);
  await expect.poll(() => questions.length).toBe(2);
  expect([begun, job()?.state, new Set(nonces).size]).toEqual([0, 'accepted', 1]);
});

test('R6: a grant ends while its job waits for its target', async () => {
  const runner = runnerWith(rotation);
  await reconcile();
  questions[0]?.resolve(granted);
  await settle();
  time.monotonic += GRANT_MS + 1;
  runner.targetReady('shop');
  await settle();
  expect([questions.length, begun, job()?.state]).toEqual([2, 0, 'accepted']);
});

test.for([plan, rotation])(
  'R14: before the first hello is answered nothing begins and nothing is asked: %j',
  async (spec) => {
    const runner = runnerWith(spec);
    runner.targetReady('shop');
    await settle();
    expect([questions.length, begun, job()?.state]).toEqual([0, 0, 'accepted']);
    await reconcile();
    expect(job()?.state === 'running' || questions.length === 1).toBe(true);
  },
);

/** Makes the plan of the target run until it is stopped: how often it started, and what it was stopped for. */
function planUntilStopped(): { started: number; stopped: unknown[] } {
  const seen = { started: 0, stopped: [] as unknown[] };
  const { stopped } = seen;
  const engine = {
    plan: (_mode: unknown, _source: unknown, context: EngineContext) =>
      new Promise((_resolve, reject) => {
        seen.started += 1;
        context.signal.addEventListener('abort', () => {
          stopped.push(context.signal.reason);
          reject(context.signal.reason);
        });
      }),
  };
  replace({
    engine: engine as never,
    repository: async () => ({ list: async () => ({ backups: [], broken: [] }), open: async () => ({}) }) as never,
  });
  return seen;
}

test('a running job is stopped when its cancel is journaled, and ends as canceled', async () => {
  const seen = planUntilStopped();
  const runner = runnerWith(plan);
  await reconcile();
  runner.targetReady('shop');
  await expect.poll(() => seen.started).toBe(1);
  journal.update((ledger) => cancelAttempt(ledger, JOB, 1, eventsNow({ now: () => time.wall })));
  await expect.poll(() => job()?.state).toBe('finished');
  expect(job()).toMatchObject({ lastType: 'canceled', error: { code: 'JOB_CANCELED' } });
  expect(seen.stopped).toMatchObject([{ code: 'JOB_CANCELED' }]);
});

test('R13: a running job that the journal has finished is stopped, and its own end changes nothing', async () => {
  const seen = planUntilStopped();
  const runner = runnerWith(plan);
  await reconcile();
  runner.targetReady('shop');
  await expect.poll(() => seen.started).toBe(1);
  const outcome = { type: 'failed', error: null, result: null } as const;
  const { after } = journal.update((ledger) => finishJob(ledger, KEY, outcome, eventsNow({ now: () => time.wall })));
  await expect.poll(() => runner.runningKeys.size).toBe(0);
  expect(seen.stopped).toHaveLength(1);
  expect(journal.ledger).toBe(after);
});

test('a job that reaches its deadline is stopped and ends with JOB_DEADLINE, and its target is free', async () => {
  const seen = planUntilStopped();
  const generations = new Set<number>();
  const runner = runnerWith(plan, 100);
  journal.subscribe(() => void generations.add(activity.generation('shop')));
  await reconcile();
  runner.targetReady('shop');
  expect(runner.runningKeys.size).toBe(1);
  await expect.poll(() => job()?.state).toBe('finished');
  expect(job()).toMatchObject({ lastType: 'failed', error: { code: 'JOB_DEADLINE' } });
  expect(seen.stopped).toHaveLength(1);
  // A reading that began before the end of the job counts as outdated before the end can be reported.
  expect([...generations]).toEqual([0, 1]);
  await expect.poll(() => runner.runningKeys.size).toBe(0);
});

test.for([rotation, { ...plan, command: 'restore', planHash: 'a'.repeat(64) }] as JobSpec[])(
  'I12: a job that was accepted is refused when the file does not allow it any more as it begins: %j',
  async (spec) => {
    const runner = runnerWith(spec);
    await reconcile();
    // The question is on its way when the file is read again.
    targets = targetsOf(configWith({ rotate: false, restore: [] }), journal);
    replace({ repository: hangs });
    questions[0]?.resolve(granted);
    runner.targetReady('shop');
    await expect.poll(() => job()?.state).toBe('finished');
    expect(job()).toMatchObject({ lastType: 'rejected', error: { code: 'HOST_LIMIT' } });
    expect(begun).toBe(0);
  },
);

test('a job whose target is no longer in the file is rejected as it starts', async () => {
  runnerWith(plan);
  targets = new Map();
  await reconcile();
  expect(job()).toMatchObject({ state: 'finished', lastType: 'rejected', error: { code: 'NOT_FOUND' } });
});

test('D1: while the clocks disagree the control plane is asked when the timer says so, whatever else happens', async () => {
  const runner = runnerWith(rotation, 600_000, { askAgainMs: 200 });
  await reconcile();
  runner.targetReady('shop');
  questions[0]?.resolve({ granted: false, ttlMs: 0, reason: 'clock' });
  await settle();
  for (let round = 0; round < 5; round += 1) runner.targetReady('shop');
  await settle();
  expect(questions).toHaveLength(1);
  await expect.poll(() => questions.length).toBe(2);
  questions[1]?.resolve(granted);
  await expect.poll(() => begun).toBe(1);
});
