import {
  type AgentLedger,
  adoptHelloAnswer,
  beginStep,
  blockedTargets,
  cancelAttempt,
  compensateStep,
  completeStep,
  confirmReported,
  failCompensation,
  finishJob,
  forgetFinished,
  helloOf,
  jobKey,
  markRunning,
  openSteps,
  recoverAfterCrash,
  type StepRequest,
  startableJobs,
  wireErrorOf,
} from '@lastgood/protocol';
import { expect, test } from 'vitest';
import { accept, agentWith, answerOf, backup, controlWith, meet, minting, NOW, ONE, start, TWO } from './ledgers.ts';

const KEY = jobKey(ONE, 1);
const done = { type: 'succeeded', error: null, result: null } as const;
const failed = { type: 'failed', error: wireErrorOf('TOOL_FAILED', 'the tool failed'), result: null } as const;
const step = (kind: string): StepRequest => ({
  kind,
  params: { kind },
  compensation: { kind: `un${kind}`, params: 1 },
});
const broken = wireErrorOf('IO_ERROR', 'no');

/** A running job that has stopped a service and renamed a database in it. */
function withSteps(eventFactory = minting()): AgentLedger {
  const running = markRunning(agentWith(backup, eventFactory), KEY, eventFactory);
  const stopped = completeStep(beginStep(running, KEY, 's1', step('stop')), KEY, 's1');
  return beginStep(stopped, KEY, 's2', step('rename'));
}
const jobOf = (ledger: AgentLedger) => {
  const job = ledger.jobs.get(KEY);
  if (job === undefined) throw new TypeError('no job');
  return job;
};
const openIds = (ledger: AgentLedger): string[] => openSteps(jobOf(ledger)).map(({ stepId }) => stepId);

test('a step is open from before its effect until it is taken back, and the newest is taken back first', () => {
  const ledger = withSteps();
  expect(jobOf(ledger).steps.map(({ state }) => state)).toEqual(['done', 'begun']);
  expect(openIds(ledger)).toEqual(['s2', 's1']);
  const back = compensateStep(ledger, KEY, 's2');
  expect(openIds(back)).toEqual(['s1']);
  expect(compensateStep(back, KEY, 's2')).toBe(back);
});

test('a step without a compensation has nothing to take back', () => {
  const running = markRunning(agentWith(backup, minting()), KEY, minting('r'));
  expect(openIds(beginStep(running, KEY, 's1', { ...step('note'), compensation: null }))).toEqual([]);
});

test('only a running attempt can begin a step', () => {
  const accepted = agentWith(backup, minting());
  expect(beginStep(accepted, KEY, 's1', step('stop'))).toBe(accepted);
  const ended = finishJob(withSteps(), KEY, failed, minting('f'));
  expect(beginStep(ended, KEY, 's3', step('stop'))).toBe(ended);
});

test('what a success has done stays; what has failed to be taken back does not count as done', () => {
  const complete = completeStep(withSteps(), KEY, 's2');
  expect(openIds(finishJob(complete, KEY, done, minting('f')))).toEqual([]);
  const stuck = failCompensation(complete, KEY, 's2', broken);
  expect(openIds(finishJob(stuck, KEY, done, minting('f')))).toEqual(['s2', 's1']);
});

test('I10: no job starts on a target where an ended job has left a step, and one starts once it is taken back', () => {
  const eventFactory = minting();
  const both = accept({ ...withSteps(eventFactory), reconciled: true }, start(2, TWO, backup), eventFactory);
  const ended = finishJob(compensateStep(both, KEY, 's2'), KEY, failed, eventFactory);
  expect([...blockedTargets(ended)]).toEqual(['shop']);
  expect(startableJobs(ended)).toEqual([]);
  const stuck = failCompensation(ended, KEY, 's1', broken);
  expect(jobOf(stuck).steps[0]).toMatchObject({ state: 'failed', error: broken });
  expect(startableJobs(stuck)).toEqual([]);
  const back = compensateStep(stuck, KEY, 's1');
  expect(blockedTargets(back).size).toBe(0);
  expect(startableJobs(back).map(({ jobId }) => jobId)).toEqual([TWO]);
});

test('I10: after a crash, an attempt with steps to take back is reported as interrupted only when that was tried', () => {
  const ledger = withSteps();
  expect(recoverAfterCrash(ledger, minting('c'))).toBe(ledger);
  const back = compensateStep(compensateStep(ledger, KEY, 's2'), KEY, 's1');
  expect(jobOf(recoverAfterCrash(back, minting('c')))).toMatchObject({ state: 'finished', lastType: 'interrupted' });
});

test('a cancel and the version of the control plane leave the steps to be taken back', () => {
  expect(openIds(cancelAttempt(withSteps(), ONE, 1, minting('c')))).toEqual(['s2', 's1']);
  const ledger = withSteps();
  const met = meet({ ...controlWith(backup), acked: 1, outbox: [] }, { ...ledger, jobs: new Map() });
  const hello = helloOf({ ...ledger, jobs: new Map() });
  const adopted = adoptHelloAnswer({ ...ledger, outbox: [] }, hello.jobs, answerOf(met), minting('h'));
  expect(openIds(adopted)).toEqual(['s2', 's1']);
});

test('a job that has left a step is not forgotten', () => {
  const eventFactory = minting();
  const ended = finishJob(withSteps(eventFactory), KEY, failed, eventFactory);
  const confirmed = confirmReported(
    ended,
    ended.outbox.map(({ id }) => id),
  );
  expect(forgetFinished(confirmed, NOW + 1)).toBe(confirmed);
  const back = compensateStep(compensateStep(confirmed, KEY, 's2'), KEY, 's1');
  expect(forgetFinished(back, NOW + 1).jobs.size).toBe(0);
});
