import {
  acceptCommand,
  cancelAttempt,
  confirmReported,
  deniedOutcome,
  emptyAgentLedger,
  expiredOutcome,
  finishJob,
  forgetFinished,
  helloOf,
  jobKey,
  LIMITS,
  markRunning,
  nextStep,
  recoverAfterCrash,
  reportBatch,
  startableJobs,
  wireErrorOf,
} from '@lastgood/protocol';
import { expect, test } from 'vitest';
import { accept, agentWith, backup, minting, NOW, ONE, restore, start, TWO, welcome } from './ledgers.ts';

const KEY = jobKey(ONE, 1);
const done = { type: 'succeeded', error: null, result: { command: 'backup' } } as const;
const typesOf = (ledger: { outbox: readonly { type: string }[] }) => ledger.outbox.map(({ type }) => type);

test('R2: a command that was taken before changes nothing', () => {
  const mint = minting();
  const once = agentWith(backup, mint);
  expect(acceptCommand(once, start(1, ONE, backup), mint, welcome)).toEqual({ ledger: once, stop: null, gap: false });
});

test('R2: an attempt that is in the journal is not taken again under a new number', () => {
  const mint = minting();
  const ended = finishJob(agentWith(backup, mint), KEY, done, mint);
  const again = accept(ended, start(2, ONE, backup), mint);
  expect(again).toEqual({ ...ended, lastSeq: 2 });
});

test('R4: an older attempt than the one in the journal is not taken', () => {
  const mint = minting();
  const newer = accept(emptyAgentLedger, start(1, ONE, backup, 2), mint);
  expect([...accept(newer, start(2, ONE, backup, 1), mint).jobs.keys()]).toEqual([jobKey(ONE, 2)]);
});

test('R8: a command after a missing one is refused', () => {
  const mint = minting();
  const decision = acceptCommand(emptyAgentLedger, start(2, ONE, backup), mint, welcome);
  expect(decision).toEqual({ ledger: emptyAgentLedger, stop: null, gap: true });
});

test('R12: a noop moves the number and nothing else', () => {
  const { ledger } = acceptCommand(emptyAgentLedger, { seq: 1, type: 'noop' }, minting(), welcome);
  expect(ledger).toEqual({ ...emptyAgentLedger, lastSeq: 1 });
});

test('what the host does not allow is rejected with the reason and never begins', () => {
  const refusal = wireErrorOf('POLICY_REFUSED', 'restore is not allowed');
  const { ledger } = acceptCommand(emptyAgentLedger, start(1, ONE, restore), minting(), () => refusal);
  expect(ledger.outbox).toMatchObject([{ type: 'rejected', n: 1, prev: null, error: refusal }]);
  expect(startableJobs(ledger)).toEqual([]);
  expect(markRunning(ledger, KEY, minting())).toBe(ledger);
});

test('R16: the events of an attempt are numbered and chained', () => {
  const mint = minting();
  const ended = finishJob(markRunning(agentWith(backup, mint), KEY, mint), KEY, done, mint);
  expect(ended.outbox.map(({ n, id, prev, type }) => [n, id, prev, type])).toEqual([
    [1, 'e1', null, 'accepted'],
    [2, 'e2', 'e1', 'running'],
    [3, 'e3', 'e2', 'succeeded'],
  ]);
  expect(finishJob(ended, KEY, { ...done, type: 'failed' }, mint)).toBe(ended);
});

test('R5: what ran in a crash is reported as interrupted and does not begin again', () => {
  const mint = minting();
  const running = accept(markRunning(agentWith(backup, mint), KEY, mint), start(2, TWO, backup), mint);
  const after = recoverAfterCrash(running, mint);
  expect(after.jobs.get(KEY)).toMatchObject({ state: 'finished', lastType: 'interrupted' });
  expect(after.jobs.get(jobKey(TWO, 1))?.state).toBe('accepted');
  expect(markRunning(after, KEY, mint)).toBe(after);
  expect(recoverAfterCrash(after, mint)).toBe(after);
});

test('R6, R11: a job begins in time, a destructive one with a live grant only', () => {
  const safe = agentWith(backup, minting()).jobs.get(KEY);
  const destructive = agentWith(restore, minting()).jobs.get(KEY);
  if (safe === undefined || destructive === undefined) throw new Error('no job');
  const late = safe.startBy + 1;
  expect(nextStep(safe, { now: NOW, grant: 'none' })).toBe('run');
  expect(nextStep(safe, { now: late, grant: 'none' })).toBe('expire');
  expect(nextStep(destructive, { now: NOW, grant: 'none' })).toBe('ask');
  expect(nextStep(destructive, { now: NOW, grant: 'valid' })).toBe('run');
  expect(nextStep(destructive, { now: NOW, grant: 'denied' })).toBe('expire');
  expect(nextStep(destructive, { now: late, grant: 'valid' })).toBe('expire');
});

test.each([
  ['cancelled', 'cancelled', 'JOB_CANCELLED'],
  ['expired', 'expired', 'JOB_EXPIRED'],
  ['used', 'failed', 'JOB_INTERRUPTED'],
  ['frozen', 'failed', 'JOB_INTERRUPTED'],
])('a begin that was denied because of %s ends as %s', (reason, type, code) => {
  expect(deniedOutcome(reason)).toMatchObject({ type, error: { code } });
});

test('one writer: of the jobs of a target one may begin, and none while one runs', () => {
  const mint = minting();
  const other = { ...backup, target: 'crm' };
  const both = accept(
    accept(agentWith(backup, mint), start(2, TWO, backup), mint),
    start(3, `${ONE.slice(0, -1)}3`, other),
    mint,
  );
  expect(startableJobs(both).map(({ spec, jobId }) => [spec.target, jobId])).toEqual([
    ['shop', ONE],
    ['crm', `${ONE.slice(0, -1)}3`],
  ]);
  expect(startableJobs(markRunning(both, KEY, mint)).map(({ spec }) => spec.target)).toEqual(['crm']);
});

test('a cancel ends what has not begun, stops what runs and leaves what has ended', () => {
  const mint = minting();
  const accepted = agentWith(backup, mint);
  const cancelled = acceptCommand(accepted, { seq: 2, type: 'job.cancel', jobId: ONE, attempt: 1 }, mint, welcome);
  expect(typesOf(cancelled.ledger)).toEqual(['accepted', 'cancelled']);
  expect(cancelled.stop).toBeNull();
  const running = markRunning(accepted, KEY, mint);
  expect(cancelAttempt(running, ONE, 1, mint)).toEqual({
    ledger: running,
    stop: { jobId: ONE, attempt: 1 },
    gap: false,
  });
  const ended = finishJob(running, KEY, expiredOutcome, mint);
  expect(cancelAttempt(ended, ONE, 1, mint)).toEqual({ ledger: ended, stop: null, gap: false });
});

test('R7: events stay until their ids are confirmed', () => {
  const mint = minting();
  const ledger = finishJob(agentWith(backup, mint), KEY, done, mint);
  expect(confirmReported(ledger, ['somebody else'])).toBe(ledger);
  expect(typesOf(confirmReported(ledger, ['e1']))).toEqual(['succeeded']);
});

test('a report holds the oldest events that fit, and at least one', () => {
  const mint = minting();
  const ledger = finishJob(markRunning(agentWith(backup, mint), KEY, mint), KEY, done, mint);
  expect(reportBatch(ledger, 1).map(({ id }) => id)).toEqual(['e1']);
  expect(reportBatch(ledger).map(({ id }) => id)).toEqual(['e1', 'e2', 'e3']);
  expect(reportBatch(emptyAgentLedger)).toEqual([]);
});

test('finished jobs are forgotten when they are old and confirmed, others never', () => {
  const mint = minting();
  const ended = finishJob(agentWith(backup, mint), KEY, done, mint);
  expect(forgetFinished(ended, NOW + 1)).toBe(ended);
  const confirmed = confirmReported(ended, ['e1', 'e2']);
  expect(forgetFinished(confirmed, NOW)).toBe(confirmed);
  expect(forgetFinished(confirmed, NOW + 1).jobs.size).toBe(0);
});

test('a hello fits into a frame: it tells everything open and the newest of what has ended', () => {
  const mint = minting();
  let ledger = emptyAgentLedger;
  for (let n = 1; n <= 800; n += 1) {
    const id = `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
    ledger = accept(ledger, start(n, id, backup), mint);
    if (n > 1) ledger = finishJob(ledger, jobKey(id, 1), done, { ...mint, now: NOW + n });
  }
  const confirmed = confirmReported(
    ledger,
    ledger.outbox.map(({ id }) => id),
  );
  const hello = helloOf(confirmed);
  expect(JSON.stringify(hello).length).toBeLessThan(LIMITS.frameBytes);
  expect(hello.jobs[0]).toMatchObject({ jobId: ONE, open: true });
  expect(hello.jobs.length).toBeGreaterThan(400);
  expect(hello.jobs.length).toBeLessThan(800);
  expect(hello.jobs[1]?.jobId).toBe('00000000-0000-4000-8000-000000000800');
});
