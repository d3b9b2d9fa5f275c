import { join } from 'node:path';
import { Bug, Failure, type StepRunner } from '@lastgood/core';
import { systemClock } from '@lastgood/host';
import {
  type AgentJob,
  type AgentLedger,
  acceptCommand,
  beginStep,
  completeStep,
  type Finding,
  jobKey,
  markRunning,
  openSteps,
  startableJobs,
} from '@lastgood/protocol';
import { aStartCommand, temporaryFolder } from '@lastgood/testkit';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { InProcessFleet } from '../../../test/support/in-process-fleet.ts';
import { Activity } from '../src/jobs/activity.ts';
import { JobRunner, type JobRunnerParts } from '../src/jobs/job-runner.ts';
import type { Target } from '../src/jobs/targets.ts';
import { eventsNow } from '../src/journal/event-factory.ts';
import { Journal } from '../src/journal/journal.ts';
import { type CompensationHandler, Compensations } from '../src/steps/compensations.ts';
import { Compensator } from '../src/steps/compensator.ts';
import { stepFindings } from '../src/steps/step-findings.ts';

const ONE = '00000000-0000-4000-8000-000000000001';
const TWO = '00000000-0000-4000-8000-000000000002';
const KEY = jobKey(ONE, 1);
const log = pino({ enabled: false });
const stop = { kind: 'stop', params: 'redis', compensation: { kind: 'start', params: 'redis' } };
const rename = { kind: 'rename', params: 'shop', compensation: { kind: 'rename-back', params: 'shop' } };

let cleanup: AsyncDisposableStack;
let folder: string;
let journal: Journal;
let compensations: Compensations;
/** What happened to the outside world, in order. */
let happened: string[];
/** Whether the handler of `start` fails. */
let broken: boolean;

beforeEach(async () => {
  cleanup = new AsyncDisposableStack();
  folder = cleanup.use(await temporaryFolder()).path;
  journal = cleanup.use(await Journal.open(join(folder, 'journal.sqlite'), 0));
  compensations = new Compensations({ journal, clock: systemClock, log, limitMs: 200 });
  [happened, broken] = [[], false];
  compensations.register('start', async (params) => {
    happened.push(`start ${params}`);
    if (broken) throw new Failure('IO_ERROR', 'the service does not start');
  });
  compensations.register('rename-back', async (params) => void happened.push(`rename back ${params}`));
});
afterEach(() => cleanup.disposeAsync());

function accept(...jobIds: string[]): void {
  for (const jobId of jobIds)
    journal.update((ledger) => {
      const command = aStartCommand(jobId, { seq: ledger.lastSeq + 1 });
      return { ...acceptCommand(ledger, command, eventsNow(systemClock), () => null).ledger, reconciled: true };
    });
}
const job = (jobId = ONE): AgentJob | undefined => journal.ledger.jobs.get(jobKey(jobId, 1));

/** A runner whose jobs do this; the second job of a target only notes that it ran. */
function run(work: (steps: StepRunner, signal: AbortSignal) => Promise<unknown>): JobRunner {
  const targets = new Map([['shop', { name: 'shop', config: { allow: { restore: [] } } } as unknown as Target]]);
  const execute: JobRunnerParts['execute'] = async (_spec, { jobId, context }) => {
    if (jobId !== ONE) happened.push('the next job');
    else await work(context.steps, context.signal);
    return { command: 'rotate' } as never;
  };
  const runner = new JobRunner({
    ...{ journal, clock: systemClock, log, compensations, workDir: join(folder, 'jobs'), targets: () => targets },
    ...{ activity: new Activity(systemClock), controlNow: () => null, jumpedMs: () => 0, execute },
    grants: { requestGrant: () => Promise.reject(new Error('not connected')) },
  });
  cleanup.defer(() => runner.stop());
  runner.targetReady('shop');
  return runner;
}
function compensate(isRunning: (key: string) => boolean = () => false): Compensator {
  const settle = async ({ jobId }: AgentJob): Promise<void> => void happened.push(`settle ${jobId.slice(-1)}`);
  const compensator = new Compensator({ journal, compensations, isRunning, settle, backoffMs: () => 5 });
  cleanup.defer(() => compensator.stop());
  return compensator;
}
const note = (what: string) => async (): Promise<void> => void happened.push(what);

test('a step of a job that succeeds stays, and one that lasts for some work is taken back after it', async () => {
  accept(ONE, TWO);
  run((steps) => steps.during(stop, note('stop'), () => steps.run(rename, note('rename'))));
  await expect.poll(() => job(TWO)?.state).toBe('finished');
  expect(happened).toEqual(['stop', 'rename', 'start redis', 'the next job']);
  expect(job()).toMatchObject({ lastType: 'succeeded', steps: [{ kind: 'stop', state: 'compensated' }] });
});

test('the steps of a job that fails are taken back in reverse order before it ends and the next one starts', async () => {
  accept(ONE, TWO);
  run(async (steps) => {
    await steps.run(stop, note('stop'));
    await steps.run(rename, note('rename'));
    throw new Failure('TOOL_FAILED', 'no');
  });
  await expect.poll(() => job(TWO)?.state).toBe('finished');
  expect(happened).toEqual(['stop', 'rename', 'rename back shop', 'start redis', 'the next job']);
  expect(job()).toMatchObject({ lastType: 'failed', error: { code: 'TOOL_FAILED' } });
});

test('a step whose effect failed is taken back too, because a part of it may be there', async () => {
  accept(ONE);
  run((steps) => steps.run(stop, () => Promise.reject(new Failure('TOOL_FAILED', 'half stopped'))));
  await expect.poll(() => job()?.state).toBe('finished');
  expect(happened).toEqual(['start redis']);
});

test('J1: the agent that stops takes the steps back at once and leaves the job to be reported as interrupted', async () => {
  accept(ONE);
  const runner = run(async (steps, signal) => {
    await steps.run(stop, note('stop'));
    await new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  });
  await expect.poll(() => happened).toEqual(['stop']);
  await runner.stop();
  expect(happened).toEqual(['stop', 'start redis']);
  expect(job()).toMatchObject({ state: 'running', steps: [{ state: 'compensated' }] });
});

test('a compensation that fails is tried again, blocks the target, and is a finding of it until it succeeds', async () => {
  accept(ONE, TWO);
  broken = true;
  const runner = run(async (steps) => {
    await steps.run(stop, note('stop'));
    throw new Failure('TOOL_FAILED', 'no');
  });
  compensate((key) => runner.runningKeys.has(key));
  await expect.poll(() => happened.filter((what) => what === 'start redis').length).toBeGreaterThan(3);
  expect(job()).toMatchObject({ state: 'finished', lastType: 'failed', error: { code: 'TOOL_FAILED' } });
  expect([startableJobs(journal.ledger), happened.includes('the next job')]).toEqual([[], false]);
  expect(stepFindings(journal.ledger, 'shop')).toMatchObject([
    {
      code: 'COMPENSATION_FAILED',
      params: { step: 'stop', job: ONE, error: 'IO_ERROR', reason: 'the service does not start' },
    },
  ]);
  expect(stepFindings(journal.ledger, 'crm')).toEqual([]);
  broken = false;
  await expect.poll(() => happened.at(-1)).toBe('the next job');
  expect(stepFindings(journal.ledger, 'shop')).toEqual([]);
});

/** What a process leaves that died after it had stopped the service. */
const crashed = (ledger: AgentLedger): AgentLedger =>
  completeStep(beginStep(markRunning(ledger, KEY, eventsNow(systemClock)), KEY, 's1', stop), KEY, 's1');

test('after a crash the attempt is settled after the first try, whether or not that succeeds', async () => {
  accept(ONE);
  broken = true;
  journal.update(crashed);
  const compensator = compensate();
  await compensator.firstTry('shop');
  expect(happened.slice(0, 2)).toEqual(['start redis', 'settle 1']);
  await compensator.firstTry('a target without steps');
});

test('a compensation that this version does not know blocks the target', async () => {
  accept(ONE, TWO);
  journal.update((ledger) => {
    const running = markRunning(ledger, KEY, eventsNow(systemClock));
    return beginStep(running, KEY, 's1', { ...stop, compensation: { kind: 'of a newer version', params: null } });
  });
  await compensate().firstTry('shop');
  expect(stepFindings(journal.ledger, 'shop')).toMatchObject([{ params: { error: 'COMMAND_UNSUPPORTED' } }]);
});

test('a handler that hangs counts as failed, and is not called again before it ends', async () => {
  accept(ONE);
  const hanging = Promise.withResolvers<void>();
  let calls = 0;
  compensations.register('hang', () => {
    calls += 1;
    return hanging.promise;
  });
  journal.update((ledger) => {
    const running = markRunning(ledger, KEY, eventsNow(systemClock));
    return beginStep(running, KEY, 's1', { ...stop, compensation: { kind: 'hang', params: null } });
  });
  compensate();
  await expect.poll(() => stepFindings(journal.ledger, 'shop')).toMatchObject([{ params: { error: 'JOB_DEADLINE' } }]);
  expect(calls).toBe(1);
  hanging.resolve();
  await expect.poll(() => openSteps(job() ?? { steps: [] })).toEqual([]);
  expect(calls).toBe(2);
});

test('two handlers for one kind are a defect', () => {
  expect(() => compensations.register('start', async () => undefined)).toThrow(Bug);
});

test('I10: an agent takes back what its predecessor has left before it reports and probes, and reports what it cannot', async () => {
  await using fleet = await InProcessFleet.open();
  await fleet.startAgent();
  await fleet.announced();
  await fleet.stopAgent();
  {
    using left = await Journal.open(fleet.journalFile, Date.now());
    left.update((ledger) => {
      const command = aStartCommand(ONE, { seq: ledger.lastSeq + 1 });
      return crashed(acceptCommand(ledger, command, eventsNow(systemClock), () => null).ledger);
    });
  }
  let fails = true;
  const start: CompensationHandler = async () => {
    happened.push(`start, reported as ${fleet.journaled(ONE)?.lastType}`);
    if (fails) throw new Failure('IO_ERROR', 'the service does not start');
  };
  await fleet.startAgent({ compensations: { start } });
  const findings = async (): Promise<Finding[]> =>
    (await fleet.admin.targets.query({})).flatMap((target) => target.findings);
  const blocked = async (): Promise<Finding | undefined> =>
    (await findings()).find(({ code }) => code === 'COMPENSATION_FAILED');
  expect(await fleet.until('the finding', blocked)).toMatchObject({
    ...{ severity: 'error', params: { job: ONE, step: 'stop', error: 'IO_ERROR' } },
  });
  expect(happened[0]).toBe('start, reported as running');
  expect(fleet.journaled(ONE)).toMatchObject({ state: 'finished', lastType: 'interrupted' });
  fails = false;
  await fleet.until('the finding to go', async () => ((await blocked()) === undefined ? true : undefined));
});
