import {
  acknowledge,
  afterCatalogRestore,
  type ControlLedger,
  dispatch,
  type EventType,
  expireLeases,
  grantStart,
  type JobEvent,
  MAX_ATTEMPTS,
  receiveHeartbeat,
  receiveReport,
  requestCancel,
} from '@lastgood/protocol';
import { expect, test } from 'vitest';
import {
  backup,
  controlWith,
  emptyControl,
  jobOf,
  LEASE,
  NOW,
  ONE,
  reportOf,
  restore,
  TWO,
  withJob,
} from './ledgers.ts';

const event = (n: number, type: EventType, more: Partial<JobEvent> = {}): JobEvent => ({
  id: `${more.attempt ?? 1}-${n}`,
  previousEventId: n === 1 ? null : `${more.attempt ?? 1}-${n - 1}`,
  jobId: ONE,
  attempt: 1,
  eventNumber: n,
  type,
  at: NOW,
  error: null,
  result: null,
  ...more,
});
const report = (ledger: ControlLedger, ...events: JobEvent[]) => receiveReport(ledger, reportOf(...events), NOW, LEASE);
const running = (spec = backup) => report(controlWith(spec), event(1, 'accepted'), event(2, 'running')).ledger;

test('a job id that exists already makes no second job', () => {
  const ledger = withJob(emptyControl(), backup);
  expect(withJob(ledger, restore)).toBe(ledger);
});

test('commands are dispatched over in order from the given number, and said again until they are acknowledged', () => {
  const two = withJob(withJob(emptyControl(), backup), backup, TWO);
  const first = dispatch(two, 0, 1);
  expect(first.commands.map(({ seq }) => seq)).toEqual([1]);
  expect([jobOf(first.ledger).state, jobOf(first.ledger, TWO).state]).toEqual(['dispatched', 'queued']);
  expect(dispatch(first.ledger, 0, 32).commands.map(({ seq }) => seq)).toEqual([1, 2]);
  const acked = acknowledge(first.ledger, 1);
  expect(dispatch(acked, 0, 32).commands.map(({ seq }) => seq)).toEqual([2]);
  expect(acknowledge(acked, 1)).toBe(acked);
  expect(acknowledge(acked, 99).acked).toBe(2);
});

test('R12: a job that no agent received is canceled at once, and its number stays as a noop', () => {
  const ledger = requestCancel(withJob(emptyControl(), backup), ONE, NOW);
  expect(jobOf(ledger)).toMatchObject({ state: 'canceled', error: { code: 'JOB_CANCELED' }, endedAt: NOW });
  expect(dispatch(ledger, 0, 32).commands).toEqual([{ seq: 1, type: 'noop' }]);
});

test('what was dispatched over is canceled by the agent; asking twice sends one command', () => {
  const asked = requestCancel(controlWith(backup), ONE, NOW);
  expect(jobOf(asked)).toMatchObject({ state: 'dispatched', cancelRequested: true });
  expect(asked.outbox.map(({ type }) => type)).toEqual(['job.start', 'job.cancel']);
  expect(requestCancel(asked, ONE, NOW)).toBe(asked);
});

test('R3: events that are reported again change nothing and are confirmed', () => {
  const ledger = running();
  const again = report(ledger, event(1, 'accepted'), event(2, 'running'));
  expect(again).toEqual({ ledger, acceptedIds: ['1-1', '1-2'], diverged: false });
});

test.each([
  ['R3: a missing event', event(4, 'succeeded', { previousEventId: '1-3' })],
  ['R16: an event that follows another one', event(3, 'succeeded', { previousEventId: 'other' })],
  ['R16: another event with a number that is taken', event(2, 'running', { id: 'other' })],
  ['an attempt that was never made', event(1, 'accepted', { attempt: 2 })],
])('%s is another history: nothing after it is taken', (_, wrong) => {
  const { ledger, acceptedIds, diverged } = report(running(), wrong, event(3, 'succeeded'));
  expect({ acceptedIds, diverged }).toEqual({ acceptedIds: [], diverged: true });
  expect(jobOf(ledger)).toMatchObject({ state: 'running', lastEventNumber: 2, diverged: true });
});

test('events of one job go on until another job is another history', () => {
  const both = dispatch(withJob(controlWith(backup), backup, TWO), 1, 32).ledger;
  const heard = report(both, event(1, 'accepted'), event(2, 'running', { jobId: TWO, id: 'x', previousEventId: 'y' }));
  expect(heard).toMatchObject({ acceptedIds: ['1-1'], diverged: true });
  expect([jobOf(heard.ledger).state, jobOf(heard.ledger, TWO).diverged]).toEqual(['accepted', true]);
});

test.each(['succeeded', 'failed', 'canceled', 'expired'] as const)('a job that is %s stays so', (type) => {
  const ended = report(running(), event(3, type)).ledger;
  expect(jobOf(ended)).toMatchObject({ state: type, endedAt: NOW, leaseUntil: null });
  expect(ended.outbox.every((command) => command.type === 'noop')).toBe(true);
  expect(jobOf(report(ended, event(4, 'succeeded')).ledger).state).toBe(type);
  expect(requestCancel(ended, ONE, NOW)).toBe(ended);
  expect(expireLeases(ended, NOW * 9)).toBe(ended);
});

test('a safe job that was interrupted gets a new attempt, three at most', () => {
  let ledger = running();
  for (let attempt = 1; attempt < MAX_ATTEMPTS; attempt += 1) {
    ledger = report(ledger, event(3, 'interrupted', { attempt })).ledger;
    expect(jobOf(ledger)).toMatchObject({
      state: 'queued',
      attempt: attempt + 1,
      lastEventNumber: 0,
      dispatched: false,
    });
    const sent = dispatch(ledger, ledger.acked, 32);
    expect(sent.commands.at(-1)).toMatchObject({ type: 'job.start', jobId: ONE, attempt: attempt + 1 });
    const next = { attempt: attempt + 1 };
    ledger = report(sent.ledger, event(1, 'accepted', next), event(2, 'running', next)).ledger;
  }
  ledger = report(ledger, event(3, 'interrupted', { attempt: MAX_ATTEMPTS })).ledger;
  expect(jobOf(ledger)).toMatchObject({ state: 'failed', error: { code: 'JOB_INTERRUPTED' } });
});

test('R4: events of an attempt nobody waits for are confirmed and change nothing', () => {
  const second = report(running(), event(3, 'interrupted')).ledger;
  const heard = report(second, event(3, 'interrupted'), event(2, 'running'));
  expect(heard).toEqual({ ledger: second, acceptedIds: ['1-3', '1-2'], diverged: false });
});

test('R5: a destructive job that was interrupted is failed, never begun again', () => {
  const ledger = report(running(restore), event(3, 'interrupted')).ledger;
  expect(jobOf(ledger)).toMatchObject({ state: 'failed', attempt: 1, error: { code: 'JOB_INTERRUPTED' } });
});

test('a job whose cancel was asked for gets no new attempt', () => {
  const ledger = report(requestCancel(running(), ONE, NOW), event(3, 'interrupted')).ledger;
  expect(jobOf(ledger).state).toBe('canceled');
});

test('R6, R15: a grant is given once, and again only to who asked first', () => {
  const accepted = report(controlWith(restore), event(1, 'accepted')).ledger;
  const first = grantStart(accepted, ONE, 1, 'a', NOW);
  expect(first.granted).toBe(true);
  expect(grantStart(first.ledger, ONE, 1, 'a', NOW).granted).toBe(true);
  expect(grantStart(first.ledger, ONE, 1, 'b', NOW)).toMatchObject({ granted: false, reason: 'used' });
});

test.each([
  ['unknown', controlWith(restore), TWO],
  ['canceled', requestCancel(controlWith(restore), ONE, NOW), ONE],
  ['begun', running(restore), ONE],
  ['ended', report(running(restore), event(3, 'failed')).ledger, ONE],
  ['unmerged', afterCatalogRestore(controlWith(restore), 'inc-2'), ONE],
  ['expired', controlWith(restore), 'late'],
])('R6: no grant when the job is %s', (reason, ledger, id) => {
  const asked = grantStart(ledger, id === 'late' ? ONE : id, 1, 'a', id === 'late' ? NOW + 60_001 : NOW);
  expect(asked).toEqual({ ledger, granted: false, reason });
});

test('R9: a job without reports is lost, not failed, and can come back', () => {
  const lost = expireLeases(running(), NOW + LEASE + 1);
  expect(jobOf(lost)).toMatchObject({ state: 'lost', attempt: 1 });
  expect(lost.outbox).toEqual(running().outbox);
  const back = receiveHeartbeat(lost, [{ jobId: ONE, attempt: 1 }], NOW, LEASE).ledger;
  expect(jobOf(back)).toMatchObject({ state: 'running', leaseUntil: NOW + LEASE });
  expect(jobOf(report(lost, event(3, 'succeeded')).ledger).state).toBe('succeeded');
});

test('R11: a job that no agent received in time expires', () => {
  const ledger = expireLeases(withJob(emptyControl(), backup), NOW + 60_001);
  expect(jobOf(ledger)).toMatchObject({ state: 'expired', error: { code: 'JOB_EXPIRED' } });
  const dispatched = controlWith(backup);
  expect(expireLeases(dispatched, NOW + 60_001)).toBe(dispatched);
});

test('the answer to a heartbeat lists the jobs that must be stopped', () => {
  const asked = requestCancel(running(), ONE, NOW);
  expect(receiveHeartbeat(asked, [{ jobId: ONE, attempt: 1 }], NOW, LEASE).cancel).toEqual([
    { jobId: ONE, attempt: 1 },
  ]);
  expect(receiveHeartbeat(running(), [{ jobId: ONE, attempt: 1 }], NOW, LEASE).cancel).toEqual([]);
});

test('R17, R18: after a restore of the catalog nothing is sent or decided, and destructive jobs are frozen', () => {
  const ledger = afterCatalogRestore(withJob(withJob(emptyControl(), restore), backup, TWO), 'inc-2');
  expect(dispatch(ledger, 0, 32).commands).toEqual([]);
  expect(jobOf(requestCancel(ledger, TWO, NOW), TWO).state).toBe('queued');
  expect(expireLeases(ledger, NOW * 9)).toBe(ledger);
  expect([jobOf(ledger).frozen, jobOf(ledger, TWO).frozen]).toEqual([true, false]);
});

test('an agent clock that runs ahead gives no times in the future', () => {
  const ledger = report(controlWith(backup), event(1, 'accepted'), event(2, 'running', { at: NOW * 5 })).ledger;
  expect(jobOf(ledger).startedAt).toBe(NOW);
});
