import {
  acknowledge,
  adoptScheduleSet,
  dispatch,
  emptyAgentLedger,
  forgetHandled,
  handleOccurrences,
  type OccurrenceDecision,
  readCommand,
  reportBatch,
  type ScheduleEntry,
  type ScheduleSet,
  setSchedules,
} from '@lastgood/protocol';
import { expect, test } from 'vitest';
import { accept, backup, emptyControl, helloFrom, jobId, meet, minting, NOW, ONE, TWO, welcome } from './ledgers.ts';

const DAILY = jobId(50);
const entry = (more: Partial<ScheduleEntry> = {}): ScheduleEntry => ({
  scheduleId: DAILY,
  name: 'daily',
  cron: '0 2 * * *',
  timezone: 'UTC',
  spreadMs: 0,
  spreadKey: 'prod/db-1/shop',
  windowMs: 60_000,
  maxRunMs: 3_600_000,
  catchUp: 'last',
  spec: backup,
  ...more,
});
const set = (revision: number, ...entries: ScheduleEntry[]): ScheduleSet => ({ revision: jobId(revision), entries });
const FIRST = set(61, entry());
const SECOND = set(62, entry({ cron: '0 3 * * *' }));
const fire = (more: Partial<{ jobId: string; dueMs: number }> = {}): OccurrenceDecision => ({
  scheduleId: DAILY,
  jobId: ONE,
  dueMs: NOW,
  repeat: 0,
  action: 'fire',
  startBy: NOW + 60_000,
  ...more,
});

test('the agent replaces all schedules and reports the revision that it holds', () => {
  const events = minting();
  expect(helloFrom(emptyAgentLedger).schedules).toBeNull();
  const first = accept(emptyAgentLedger, { seq: 1, type: 'sched.set', set: FIRST }, events);
  const second = accept(first, { seq: 2, type: 'sched.set', set: set(63) }, events);
  expect([helloFrom(first).schedules, helloFrom(second).schedules]).toEqual([FIRST.revision, jobId(63)]);
  expect(second.schedules?.entries).toEqual([]);
});

test('a schedule keeps the instant from which it is active until its times change', () => {
  const first = adoptScheduleSet(emptyAgentLedger, FIRST, 10);
  const longer = adoptScheduleSet(first, set(64, entry({ windowMs: 1 })), 20);
  const moved = adoptScheduleSet(longer, SECOND, 30);
  const activeSince = [first, longer, moved].map(({ schedules }) => schedules?.entries[0]?.activeSince);
  expect(activeSince).toEqual([10, 10, 30]);
});

test('the control plane sends a set once, and a newer one replaces it while it waits', () => {
  const first = setSchedules(emptyControl(), FIRST);
  expect(setSchedules(first, FIRST)).toBe(first);
  const second = setSchedules(first, SECOND);
  expect(dispatch(second, 0, 32).commands).toEqual([
    { seq: 1, type: 'noop' },
    { seq: 2, type: 'sched.set', set: SECOND },
  ]);
});

test('a host that was set back gets its set again at the next hello', () => {
  const control = acknowledge(dispatch(setSchedules(emptyControl(), FIRST), 0, 32).ledger, 1);
  const current = accept(
    { ...emptyAgentLedger, incarnation: 'inc-1' },
    { seq: 1, type: 'sched.set', set: FIRST },
    minting(),
  );
  expect(meet(control, current).ledger.outbox).toEqual([]);
  const setBack = { ...emptyAgentLedger, incarnation: 'inc-1' };
  expect(meet(control, setBack).ledger.outbox).toEqual([{ seq: 2, type: 'sched.set', set: FIRST }]);
});

test('a set that waits in the outbox is not sent twice after a hello', () => {
  const waiting = setSchedules(emptyControl(), FIRST);
  expect(meet(waiting, { ...emptyAgentLedger, incarnation: 'inc-1' }).ledger.outbox).toHaveLength(1);
});

test('a catalog without a set leaves the schedules of the agent alone', () => {
  const held = adoptScheduleSet({ ...emptyAgentLedger, incarnation: 'inc-1' }, FIRST, NOW);
  expect(meet(emptyControl(), held).ledger.outbox).toEqual([]);
});

test('an occurrence is journaled as handled together with its job, and never becomes two jobs', () => {
  const held = adoptScheduleSet(emptyAgentLedger, FIRST, NOW);
  const fired = handleOccurrences(held, [fire()], minting(), welcome);
  expect(fired.handled.get(DAILY)).toEqual([{ dueMs: NOW, repeat: 0 }]);
  expect([...fired.jobs.values()]).toMatchObject([
    { jobId: ONE, local: true, state: 'accepted', spec: backup, origin: { scheduleId: DAILY, due: NOW } },
  ]);
  expect(handleOccurrences(fired, [fire()], minting('x'), welcome).jobs).toEqual(fired.jobs);
});

test('a skipped occurrence is reported as a rejected job with the reason', () => {
  const held = adoptScheduleSet(emptyAgentLedger, FIRST, NOW);
  const skip = { scheduleId: DAILY, jobId: TWO, dueMs: NOW, repeat: 0, action: 'skip', reason: 'overlap' } as const;
  const { events, jobs } = reportBatch(handleOccurrences(held, [skip], minting(), welcome));
  expect(jobs).toMatchObject([{ jobId: TWO }]);
  expect(events).toMatchObject([
    { type: 'rejected', error: { code: 'OCCURRENCE_SKIPPED', message: 'the run before it had not ended' } },
  ]);
});

test('old instants are forgotten, but not the newest of a schedule that is held', () => {
  const held = adoptScheduleSet(emptyAgentLedger, FIRST, NOW);
  const two = [fire(), fire({ jobId: TWO, dueMs: NOW + 1 })];
  const fired = handleOccurrences(held, two, minting(), welcome);
  expect(forgetHandled(fired, NOW)).toBe(fired);
  expect(forgetHandled(fired, NOW + 10).handled.get(DAILY)).toEqual([{ dueMs: NOW + 1, repeat: 0 }]);
  const withoutIt = adoptScheduleSet(fired, set(65), NOW);
  expect(forgetHandled(withoutIt, NOW + 10).handled.size).toBe(0);
});

test('a set that this version does not understand is acknowledged and not taken over', () => {
  const unknown = { ...entry(), spec: { command: 'teleport', target: 'shop' } };
  const read = readCommand({ seq: 1, type: 'sched.set', set: { revision: jobId(61), entries: [unknown] } });
  expect(read?.command).toEqual({ seq: 1, type: 'noop' });
});
