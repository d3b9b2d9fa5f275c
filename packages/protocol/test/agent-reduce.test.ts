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
  type JobSpec,
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
  const eventFactory = minting();
  const once = agentWith(backup, eventFactory);
  expect(acceptCommand(once, start(1, ONE, backup), eventFactory, welcome)).toEqual({ ledger: once, refused: null });
});

test('R2: an attempt that is in the journal is not taken again under a new number', () => {
  const eventFactory = minting();
  const ended = finishJob(agentWith(backup, eventFactory), KEY, done, eventFactory);
  const again = accept(ended, start(2, ONE, backup), eventFactory);
  expect(again).toEqual({ ...ended, lastSeq: 2 });
});

test('R4: an older attempt than the one in the journal is not taken', () => {
  const eventFactory = minting();
  const newer = accept(emptyAgentLedger, start(1, ONE, backup, 2), eventFactory);
  expect([...accept(newer, start(2, ONE, backup, 1), eventFactory).jobs.keys()]).toEqual([jobKey(ONE, 2)]);
});

test('R8: a command after a missing one is refused', () => {
  const eventFactory = minting();
  const decision = acceptCommand(emptyAgentLedger, start(2, ONE, backup), eventFactory, welcome);
  expect(decision).toEqual({ ledger: emptyAgentLedger, refused: 'gap' });
});

test('R12: a noop moves the number and nothing else', () => {
  const { ledger } = acceptCommand(emptyAgentLedger, { seq: 1, type: 'noop' }, minting(), welcome);
  expect(ledger).toEqual({ ...emptyAgentLedger, lastSeq: 1 });
});

test('what the host does not allow is rejected with the reason and never begins', () => {
  const refusal = wireErrorOf('HOST_LIMIT', 'restore is not allowed');
  const { ledger } = acceptCommand(emptyAgentLedger, start(1, ONE, restore), minting(), () => refusal);
  expect(ledger.outbox).toMatchObject([{ type: 'rejected', eventNumber: 1, previousEventId: null, error: refusal }]);
  expect(startableJobs(ledger)).toEqual([]);
  expect(markRunning(ledger, KEY, minting())).toBe(ledger);
});

test('R16: the events of an attempt are numbered and chained', () => {
  const eventFactory = minting();
  const ended = finishJob(markRunning(agentWith(backup, eventFactory), KEY, eventFactory), KEY, done, eventFactory);
  expect(
    ended.outbox.map(({ eventNumber, id, previousEventId, type }) => [eventNumber, id, previousEventId, type]),
  ).toEqual([
    [1, 'e1', null, 'accepted'],
    [2, 'e2', 'e1', 'running'],
    [3, 'e3', 'e2', 'succeeded'],
  ]);
  expect(finishJob(ended, KEY, { ...done, type: 'failed' }, eventFactory)).toBe(ended);
});

test('R5: what ran in a crash is reported as interrupted and does not begin again', () => {
  const eventFactory = minting();
  const running = accept(
    markRunning(agentWith(backup, eventFactory), KEY, eventFactory),
    start(2, TWO, backup),
    eventFactory,
  );
  const after = recoverAfterCrash(running, eventFactory);
  expect(after.jobs.get(KEY)).toMatchObject({ state: 'finished', lastType: 'interrupted' });
  expect(after.jobs.get(jobKey(TWO, 1))?.state).toBe('accepted');
  expect(markRunning(after, KEY, eventFactory)).toBe(after);
  expect(recoverAfterCrash(after, eventFactory)).toBe(after);
});

test('R6, R11: a job begins in time, a destructive one with a live grant only', () => {
  const safe = agentWith(backup, minting()).jobs.get(KEY);
  const destructive = agentWith(restore, minting()).jobs.get(KEY);
  if (safe === undefined || destructive === undefined) throw new Error('no job');
  const late = safe.startBy + 1;
  expect(nextStep(emptyAgentLedger, safe, { now: NOW, grant: 'none' })).toBe('run');
  expect(nextStep(emptyAgentLedger, safe, { now: late, grant: 'none' })).toBe('expire');
  expect(nextStep(emptyAgentLedger, destructive, { now: NOW, grant: 'none' })).toBe('ask');
  expect(nextStep(emptyAgentLedger, destructive, { now: NOW, grant: 'valid' })).toBe('run');
  expect(nextStep(emptyAgentLedger, destructive, { now: NOW, grant: 'denied' })).toBe('expire');
  expect(nextStep(emptyAgentLedger, destructive, { now: late, grant: 'valid' })).toBe('expire');
});

test.each([
  ['canceled', 'canceled', 'JOB_CANCELED'],
  ['expired', 'expired', 'JOB_EXPIRED'],
  ['used', 'failed', 'JOB_INTERRUPTED'],
  ['frozen', 'failed', 'JOB_INTERRUPTED'],
])('a begin that was denied because of %s ends as %s', (reason, type, code) => {
  expect(deniedOutcome(reason)).toMatchObject({ type, error: { code } });
});

test('R14: no job starts before the first hello of the process is answered', () => {
  const reconciled = { ...agentWith(backup, minting()), reconciled: true };
  expect(startableJobs(reconciled)).toHaveLength(1);
  const restarted = recoverAfterCrash(reconciled, minting());
  expect([restarted.reconciled, startableJobs(restarted)]).toEqual([false, []]);
});

test('one writer: of the jobs of a target one may begin, and none while one runs', () => {
  const eventFactory = minting();
  const other = { ...backup, target: 'crm' };
  const taken = accept(
    accept(agentWith(backup, eventFactory), start(2, TWO, backup), eventFactory),
    start(3, `${ONE.slice(0, -1)}3`, other),
    eventFactory,
  );
  const both = { ...taken, reconciled: true };
  expect(startableJobs(both).map(({ spec, jobId }) => [spec.target, jobId])).toEqual([
    ['shop', ONE],
    ['crm', `${ONE.slice(0, -1)}3`],
  ]);
  expect(startableJobs(markRunning(both, KEY, eventFactory)).map(({ spec }) => spec.target)).toEqual(['crm']);
});

test('a rotation that waits for its grant does not hold up a later backup, but a restore does', () => {
  const waiting = (first: JobSpec): string[] => {
    const eventFactory = minting();
    const both = accept(agentWith(first, eventFactory), start(2, TWO, backup), eventFactory);
    return startableJobs({ ...both, reconciled: true }).map(({ jobId }) => jobId);
  };
  expect(waiting({ command: 'rotate', target: 'shop', retention: { minimum: 1 }, holds: [], dryRun: false })).toEqual([
    ONE,
    TWO,
  ]);
  expect(waiting(restore)).toEqual([ONE]);
});

test('a cancel ends a job that has not started, marks a running one to be stopped, and leaves an ended one', () => {
  const eventFactory = minting();
  const accepted = agentWith(backup, eventFactory);
  const canceled = acceptCommand(
    accepted,
    { seq: 2, type: 'job.cancel', jobId: ONE, attempt: 1 },
    eventFactory,
    welcome,
  );
  expect(typesOf(canceled.ledger)).toEqual(['accepted', 'canceled']);
  const running = markRunning(accepted, KEY, eventFactory);
  const asked = cancelAttempt(running, ONE, 1, eventFactory);
  expect(asked.jobs.get(KEY)).toMatchObject({ state: 'running', cancelRequested: true });
  expect(asked.outbox).toBe(running.outbox);
  expect(cancelAttempt(asked, ONE, 1, eventFactory)).toBe(asked);
  const ended = finishJob(running, KEY, expiredOutcome, eventFactory);
  expect(cancelAttempt(ended, ONE, 1, eventFactory)).toBe(ended);
});

test('R7: events stay until their ids are confirmed', () => {
  const eventFactory = minting();
  const ledger = finishJob(agentWith(backup, eventFactory), KEY, done, eventFactory);
  expect(confirmReported(ledger, ['somebody else'])).toBe(ledger);
  expect(typesOf(confirmReported(ledger, ['e1']))).toEqual(['succeeded']);
});

test('a report holds the oldest events that fit, and at least one', () => {
  const eventFactory = minting();
  const ledger = finishJob(markRunning(agentWith(backup, eventFactory), KEY, eventFactory), KEY, done, eventFactory);
  expect(reportBatch(ledger, 1).events.map(({ id }) => id)).toEqual(['e1']);
  expect(reportBatch(ledger).events.map(({ id }) => id)).toEqual(['e1', 'e2', 'e3']);
  expect(reportBatch(emptyAgentLedger)).toEqual({ events: [], jobs: [] });
});

test('finished jobs are forgotten when they are old and confirmed, others never', () => {
  const eventFactory = minting();
  const ended = finishJob(agentWith(backup, eventFactory), KEY, done, eventFactory);
  expect(forgetFinished(ended, NOW + 1)).toBe(ended);
  const confirmed = confirmReported(ended, ['e1', 'e2']);
  expect(forgetFinished(confirmed, NOW)).toBe(confirmed);
  expect(forgetFinished(confirmed, NOW + 1).jobs.size).toBe(0);
});

test('a hello fits into a frame: it tells everything open and the newest of what has ended', () => {
  const eventFactory = minting();
  let ledger = emptyAgentLedger;
  for (let n = 1; n <= 800; n += 1) {
    const id = `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
    ledger = accept(ledger, start(n, id, backup), eventFactory);
    if (n > 1) ledger = finishJob(ledger, jobKey(id, 1), done, { ...eventFactory, now: NOW + n });
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
