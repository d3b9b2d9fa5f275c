import {
  type AgentLedger,
  acceptCommand,
  adoptHelloAnswer,
  afterCatalogRestore,
  confirmReported,
  createLocalJob,
  emptyAgentLedger,
  expireLeases,
  finishJob,
  forgetFinished,
  grantStart,
  helloOf,
  type JobOrigin,
  type JobSpec,
  jobKey,
  LIMITS,
  markRunning,
  nextStep,
  receiveReport,
  reportBatch,
  requestCancel,
  startableJobs,
  wireErrorOf,
} from '@lastgood/protocol';
import { expect, test } from 'vitest';
import {
  accept,
  answerOf,
  backup,
  emptyControl,
  jobId,
  jobOf,
  LEASE,
  meet,
  minting,
  NOW,
  ONE,
  start,
  TWO,
  welcome,
  withJob,
} from './ledgers.ts';

const KEY = jobKey(ONE, 1);
const SCHEDULE = jobId(77);
const DUE = NOW - 1_000;
const rotate: JobSpec = { command: 'rotate', target: 'shop', retention: { minimum: 1 }, holds: [], dryRun: false };
const withoutDigests: JobSpec = { command: 'backup', target: 'shop', method: null, contents: null, options: {} };
const originAt = (due = DUE): JobOrigin => ({ kind: 'schedule', scheduleId: SCHEDULE, due });
const done = { type: 'succeeded', error: null, result: { command: 'backup' } } as const;
const occurrence = (spec = backup, id = ONE, due = DUE) => ({
  jobId: id,
  spec,
  origin: originAt(due),
  startBy: NOW + 60_000,
  deadlineMs: 60_000,
});
/** An agent that has created one job itself. */
const agentWith = (spec = backup, eventFactory = minting(), ledger = emptyAgentLedger): AgentLedger =>
  createLocalJob(ledger, occurrence(spec), eventFactory, welcome).ledger;
const report = (control: ReturnType<typeof emptyControl>, agent: AgentLedger) =>
  receiveReport(control, reportBatch(agent), NOW + 5_000, LEASE);

test('a job that an agent creates is accepted once per id', () => {
  const agent = agentWith();
  expect(agent.jobs.get(KEY)).toMatchObject({ state: 'accepted', local: true, createdAt: NOW, origin: originAt() });
  expect(agent.outbox).toMatchObject([{ type: 'accepted', eventNumber: 1, previousEventId: null }]);
  expect(createLocalJob(agent, occurrence(), minting(), welcome)).toEqual({ ledger: agent, value: 'known' });
});

test('an occurrence is not created again after its job was forgotten, and others of its schedule are', () => {
  const eventFactory = minting();
  const ended = finishJob(agentWith(backup, eventFactory), KEY, done, eventFactory);
  const confirmed = confirmReported(
    ended,
    ended.outbox.map(({ id }) => id),
  );
  const forgotten = forgetFinished(confirmed, NOW + 1);
  expect(forgotten.jobs.size).toBe(0);
  expect(createLocalJob(forgotten, occurrence(), eventFactory, welcome).value).toBe('known');
  expect(createLocalJob(forgotten, occurrence(backup, TWO, DUE - 1), eventFactory, welcome).value).toBe('created');
  // Its id is kept for two months more.
  expect(forgetFinished(forgotten, NOW + 60 * 86_400_000).mintedIds.size).toBe(1);
  expect(forgetFinished(forgotten, NOW + 61 * 86_400_000).mintedIds.size).toBe(0);
});

test('an occurrence that the control plane has ordered is not created by the agent as well, and the other way around', () => {
  const command = { ...start(1, ONE, backup), origin: originAt() };
  const ordered = acceptCommand(emptyAgentLedger, command as never, minting(), welcome).ledger;
  expect(createLocalJob(ordered, occurrence(), minting(), welcome)).toEqual({ ledger: ordered, value: 'known' });
  const created = agentWith();
  expect(acceptCommand(created, command as never, minting(), welcome).ledger).toEqual({ ...created, lastSeq: 1 });
});

test('what the host does not allow is rejected with the reason and reported all the same', () => {
  const refusal = wireErrorOf('HOST_LIMIT', 'rotate is not allowed');
  const { ledger, value } = createLocalJob(emptyAgentLedger, occurrence(rotate), minting(), () => refusal);
  expect([value, ledger.jobs.get(KEY)?.state]).toEqual(['created', 'finished']);
  expect(jobOf(report(emptyControl(), ledger).ledger)).toMatchObject({ state: 'rejected', error: refusal });
});

test('a spec that is too large for a report is refused', () => {
  const holds = Array.from({ length: LIMITS.specBytes / 30 }, (_, n) => jobId(n));
  const large = createLocalJob(emptyAgentLedger, occurrence({ ...rotate, holds }), minting(), welcome);
  expect(large).toEqual({ ledger: emptyAgentLedger, value: 'too-large' });
});

test('R14: a safe job of the agent starts before the hello is answered, a destructive one and commands do not', () => {
  expect(startableJobs(agentWith()).map((job) => job.jobId)).toEqual([ONE]);
  expect(startableJobs(agentWith(rotate))).toEqual([]);
  expect(startableJobs(accept(emptyAgentLedger, start(1, ONE, backup), minting()))).toEqual([]);
});

test('R6: a destructive job of the agent asks for its grant once the control plane knows the job', () => {
  const agent = { ...agentWith(rotate), reconciled: true };
  const step = (ledger: AgentLedger) => {
    const job = ledger.jobs.get(KEY);
    if (job === undefined) throw new TypeError('no job');
    return nextStep(ledger, job, { now: NOW, grant: 'none' });
  };
  expect(step(agent)).toBe('wait');
  const { ledger, acceptedIds } = report(emptyControl(), agent);
  expect(step(confirmReported(agent, acceptedIds))).toBe('ask');
  expect(grantStart(ledger, ONE, 1, 'nonce', NOW)).toMatchObject({ granted: true });
});

test('a report of a job that only the agent knows adopts it with its spec, origin and times', () => {
  const eventFactory = minting();
  const running = markRunning(agentWith(backup, eventFactory), KEY, { ...eventFactory, now: NOW + 1 });
  const agent = finishJob(running, KEY, done, { ...eventFactory, now: NOW + 2 });
  const { ledger, acceptedIds } = report(emptyControl(), agent);
  expect(acceptedIds).toHaveLength(3);
  expect(jobOf(ledger)).toMatchObject({
    ...{ state: 'succeeded', spec: backup, origin: originAt(), frozen: false, result: done.result },
    ...{ createdAt: NOW, startedAt: NOW + 1, endedAt: NOW + 2 },
  });
  expect(report(ledger, agent)).toEqual({ ledger, acceptedIds, diverged: false });
});

test('a job whose first events another catalog has confirmed is adopted from any later report', () => {
  const eventFactory = minting();
  const running = markRunning(agentWith(backup, eventFactory), KEY, eventFactory);
  const confirmed = confirmReported(running, ['e1', 'e2']);
  const { ledger } = report(emptyControl(), finishJob(confirmed, KEY, done, eventFactory));
  expect(jobOf(ledger)).toMatchObject({ state: 'succeeded', lastEventNumber: 3 });
});

test('a job that both sides have created is one job, in the version of its agent', () => {
  const control = withJob(emptyControl(), withoutDigests, ONE, originAt());
  const { ledger } = report(control, agentWith());
  expect(ledger.jobs.size).toBe(1);
  expect(jobOf(ledger)).toMatchObject({ state: 'accepted', spec: backup });
});

test('an agent cannot give another spec to a job that somebody has ordered', () => {
  const control = withJob(emptyControl(), backup);
  const { events, jobs } = reportBatch(agentWith());
  const forged = jobs.map((job) => ({ ...job, spec: rotate }));
  expect(jobOf(receiveReport(control, { events, jobs: forged }, NOW, LEASE).ledger).spec).toEqual(backup);
});

test('R12: the cancel of an occurrence is sent to its agent, even if the job was never sent', () => {
  const asked = requestCancel(withJob(emptyControl(), backup, ONE, originAt()), ONE, NOW);
  expect(jobOf(asked)).toMatchObject({ state: 'queued', cancelRequested: true });
  expect(asked.outbox.map(({ type }) => type)).toEqual(['job.start', 'job.cancel']);
});

test('R12: an occurrence that was not sent in time is left to its agent', () => {
  const waiting = withJob(emptyControl(), backup, ONE, originAt());
  expect(expireLeases(waiting, NOW + 60_001)).toBe(waiting);
});

test('R12: after a restore an occurrence whose cancel was asked for is sent again, with its cancel', () => {
  const asked = requestCancel(withJob(emptyControl(), backup, ONE, originAt()), ONE, NOW);
  const met = meet(afterCatalogRestore(asked, 'inc-2'), { ...emptyAgentLedger, incarnation: 'inc-1', lastSeq: 4 });
  expect(met.ledger.outbox.map(({ type, seq }) => [type, seq])).toEqual([
    ['job.start', 5],
    ['job.cancel', 6],
  ]);
});

test('a hello brings a job that only the agent knows; a destructive one of a complete catalog may start', () => {
  const met = meet(emptyControl(), agentWith(rotate));
  expect([met.merged, met.reset]).toEqual([null, null]);
  expect(jobOf(met.ledger)).toMatchObject({ state: 'accepted', frozen: false, createdAt: NOW });
});

test('R18: after a restore a destructive occurrence of the lost days is frozen, a later one is not', () => {
  const restored = meet(afterCatalogRestore(emptyControl(), 'inc-2'), emptyAgentLedger).ledger;
  expect(restored.completeSince).toBe(NOW);
  expect(jobOf(report(restored, agentWith(rotate)).ledger).frozen).toBe(true);
  const later = createLocalJob(emptyAgentLedger, occurrence(rotate, ONE, NOW + 3_600_000), minting(), welcome).ledger;
  expect(jobOf(report(restored, later).ledger).frozen).toBe(false);
});

test('a newer attempt from the control plane ends an older one of the agent that has not started', () => {
  const command = { ...start(1, ONE, backup, 2), origin: originAt() };
  const both = acceptCommand(agentWith(), command as never, minting('x'), welcome).ledger;
  expect(both.jobs.get(KEY)).toMatchObject({ state: 'finished', lastType: null });
  expect(both.outbox.map(({ attempt }) => attempt)).toEqual([2]);
});

test('R13: a host that was set back to before its occurrence learns of it and does not create it again', () => {
  const control = report(emptyControl(), agentWith()).ledger;
  const setBack: AgentLedger = { ...emptyAgentLedger, incarnation: 'inc-1' };
  const met = meet(control, setBack);
  expect(met.reset?.jobs).toMatchObject([{ jobId: ONE, terminal: false }]);
  const after = adoptHelloAnswer(setBack, helloOf(setBack).jobs, answerOf(met), minting('h'));
  expect(after.jobs.get(KEY)).toMatchObject({ state: 'finished', lastType: 'interrupted' });
  expect(createLocalJob(after, occurrence(), minting(), welcome).value).toBe('known');
});
