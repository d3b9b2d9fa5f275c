import { describe, expect, test } from 'vitest';
import {
  type AgentContact,
  isMissed,
  type MissedInput,
  PLAN_AHEAD_MS,
  planOccurrences,
  REPORT_GRACE_MS,
  Timetable,
  trackUptime,
  withdrawnOccurrences,
} from '../../src/schedules/index.ts';
import { at, DAY, HOUR, iso, MINUTE, schedule } from './support.ts';

const DUE = at('2027-06-01T02:00');
const LATE = DUE + HOUR + REPORT_GRACE_MS;
const online = (more: Partial<Extract<AgentContact, { state: 'online' }>> = {}): AgentContact => ({
  state: 'online',
  connectedSinceMs: DUE - DAY,
  isCaughtUp: true,
  clockSkewMs: 0,
  ...more,
});
const missed = (more: Partial<MissedInput>): boolean =>
  isMissed({ dueMs: DUE, windowMs: HOUR, nowMs: LATE, upSinceMs: DUE - DAY, agent: online(), ...more });

describe('an occurrence without a report', () => {
  test('is missed once its window and the grace have passed', () => {
    expect(missed({ nowMs: LATE - 1 })).toBe(false);
    expect(missed({ nowMs: LATE })).toBe(true);
  });

  test('of an offline host is missed as well', () => {
    expect(missed({ agent: { state: 'offline' } })).toBe(true);
  });

  test('after an outage of the control plane waits for the agent to catch up', () => {
    const upSinceMs = LATE + DAY;
    const after = (ms: number, isCaughtUp: boolean): boolean =>
      missed({
        nowMs: upSinceMs + ms,
        upSinceMs,
        agent: online({ connectedSinceMs: upSinceMs + MINUTE, isCaughtUp }),
      });
    expect(after(2 * MINUTE, false)).toBe(false);
    expect(after(2 * MINUTE, true)).toBe(true);
    expect(after(MINUTE + REPORT_GRACE_MS, false)).toBe(true);
  });

  test('after an outage of the control plane waits a grace for an agent that stays away', () => {
    const upSinceMs = LATE + DAY;
    const agent = { state: 'offline' } as const;
    expect(missed({ nowMs: upSinceMs + REPORT_GRACE_MS - 1, upSinceMs, agent })).toBe(false);
    expect(missed({ nowMs: upSinceMs + REPORT_GRACE_MS, upSinceMs, agent })).toBe(true);
  });

  test('is not missed by a clock of the control plane that is ahead of the host', () => {
    const nowMs = LATE + DAY;
    expect(missed({ nowMs, agent: online({ clockSkewMs: -2 * DAY }) })).toBe(false);
    expect(missed({ nowMs, agent: online({ clockSkewMs: -HOUR }) })).toBe(true);
    expect(missed({ nowMs, agent: online({ clockSkewMs: 2 * DAY }) })).toBe(true);
  });
});

describe('the uptime of the control plane', () => {
  const start = trackUptime(null, { wallMs: DUE, monotonicMs: 0 });
  test('goes on from tick to tick', () => {
    expect(trackUptime(start, { wallMs: DUE + MINUTE, monotonicMs: MINUTE }).upSinceMs).toBe(DUE);
  });
  test.for([
    { what: 'a process that stood still', wall: HOUR, monotonic: HOUR },
    { what: 'a machine that was suspended', wall: HOUR, monotonic: MINUTE },
    { what: 'a clock that was set forward', wall: DAY, monotonic: MINUTE },
    { what: 'a clock that was set back', wall: -DAY, monotonic: MINUTE },
  ])('begins anew after $what', ({ wall, monotonic }) => {
    expect(trackUptime(start, { wallMs: DUE + wall, monotonicMs: monotonic }).upSinceMs).toBe(DUE + wall);
  });
});

describe('planning', () => {
  const timetable = new Timetable(schedule({ cron: '0 */6 * * *' }));
  const now = at('2027-06-01T12:00');
  test('writes the next 48 hours, and nothing twice', () => {
    const first = planOccurrences({ timetable, plannedUntilMs: now }, now);
    expect(first.add.map(({ dueMs }) => iso(dueMs))).toEqual([
      '2027-06-01T18:00',
      '2027-06-02T00:00',
      '2027-06-02T06:00',
      '2027-06-02T12:00',
      '2027-06-02T18:00',
      '2027-06-03T00:00',
      '2027-06-03T06:00',
      '2027-06-03T12:00',
    ]);
    expect(first.plannedUntilMs).toBe(now + PLAN_AHEAD_MS);
    const again = planOccurrences({ timetable, plannedUntilMs: first.plannedUntilMs }, now + HOUR);
    expect(again.add).toEqual([]);
  });

  test('adds the instants of days on which nothing was planned', () => {
    const { add } = planOccurrences({ timetable, plannedUntilMs: now - 5 * DAY }, now);
    expect(add.filter(({ dueMs }) => dueMs <= now)).toHaveLength(20);
  });

  test('adds nothing twice when the clock is set back', () => {
    const ahead = planOccurrences({ timetable, plannedUntilMs: now }, now + 10 * DAY);
    expect(planOccurrences({ timetable, plannedUntilMs: ahead.plannedUntilMs }, now)).toEqual({
      add: [],
      plannedUntilMs: ahead.plannedUntilMs,
    });
  });

  test('a changed schedule takes back only what is not due yet and not reported', () => {
    const { add } = planOccurrences({ timetable, plannedUntilMs: now - DAY }, now);
    const existing = add.map((each, index) => ({ ...each, state: index === 5 ? 'running' : 'expected' }));
    const withdrawn = withdrawnOccurrences(existing, now);
    expect(withdrawn.map(({ dueMs }) => dueMs > now)).not.toContain(false);
    expect(withdrawn).toHaveLength(existing.length - 5);
  });
});
