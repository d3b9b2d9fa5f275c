import { describe, expect, test } from 'vitest';
import {
  type AgentSchedule,
  decideFires,
  type FireDecision,
  type HandledInstant,
  occurrenceIdOf,
  type Schedule,
  Timetable,
} from '../../src/schedules/index.ts';
import { at, DAY, HOUR, iso, MINUTE, schedule } from './support.ts';

const ACTIVE = at('2027-05-01');
const handled = (...instants: string[]): HandledInstant[] => instants.map((text) => ({ dueMs: at(text), repeat: 0 }));
const agentSchedule = (more: Partial<AgentSchedule> & { content?: Partial<Schedule> } = {}): AgentSchedule => {
  const { content, ...rest } = more;
  return { timetable: new Timetable(schedule(content)), activeSinceMs: ACTIVE, handled: [], isBusy: false, ...rest };
};
const decide = (one: AgentSchedule, now: string, lastAlive = now): readonly FireDecision[] =>
  decideFires({ schedules: [one], nowMs: at(now), lastAliveMs: at(lastAlive) }).decisions;
const short = (decision: FireDecision): string =>
  decision.action === 'fire'
    ? `${iso(decision.dueMs)} ${decision.isCatchUp ? 'catch-up' : 'fire'}`
    : `${iso(decision.dueMs)} ${decision.reason}`;

describe('a run that is due', () => {
  const yesterday = handled('2027-05-31T02:00');
  test('fires once, with the id that the control plane expects', () => {
    const [fire] = decide(agentSchedule({ handled: yesterday }), '2027-06-01T02:00');
    expect(fire).toEqual({
      action: 'fire',
      scheduleId: schedule().scheduleId,
      dueMs: at('2027-06-01T02:00'),
      repeat: 0,
      occurrenceId: occurrenceIdOf(schedule().scheduleId, at('2027-06-01T02:00')),
      isCatchUp: false,
      notBeforeMs: at('2027-06-01T02:00'),
      startByMs: at('2027-06-01T03:00'),
    });
    const after = agentSchedule({ handled: [...yesterday, ...handled('2027-06-01T02:00')] });
    expect(decide(after, '2027-06-01T02:01')).toEqual([]);
  });

  test('does not fire a second early', () => {
    const input = { schedules: [agentSchedule({ handled: yesterday })], lastAliveMs: 0 };
    const plan = decideFires({ ...input, nowMs: at('2027-06-01T02:00') - 1000 });
    expect(plan.decisions).toEqual([]);
    expect(iso(plan.nextDueMs ?? 0)).toBe('2027-06-01T02:00');
  });

  test('fires within its window when the agent is late', () => {
    expect(decide(agentSchedule({ handled: yesterday }), '2027-06-01T03:00').map(short)).toEqual([
      '2027-06-01T02:00 fire',
    ]);
  });

  test('is skipped while the run before has not ended', () => {
    const busy = agentSchedule({ handled: yesterday, isBusy: true });
    expect(decide(busy, '2027-06-01T02:00').map(short)).toEqual(['2027-06-01T02:00 overlap']);
  });

  test('before the agent received the schedule is not caught up', () => {
    const fresh = agentSchedule({ activeSinceMs: at('2027-06-01T02:10') });
    expect(decide(fresh, '2027-06-01T02:20')).toEqual([]);
  });

  test('of a changed schedule is the same occurrence, so it runs once', () => {
    const changed = agentSchedule({
      content: { cron: '0 2,14 * * *', windowMs: 2 * HOUR },
      activeSinceMs: at('2027-06-01T02:00'),
      handled: handled('2027-06-01T02:00'),
    });
    expect(decide(changed, '2027-06-01T02:30')).toEqual([]);
  });
});

describe('after downtime', () => {
  const down = agentSchedule({ handled: handled('2027-05-28T02:00') });
  test('runs once, not once per missed run, and reports the others', () => {
    expect(decide(down, '2027-06-01T09:00', '2027-05-28T18:00').map(short)).toEqual([
      '2027-05-29T02:00 superseded',
      '2027-05-30T02:00 superseded',
      '2027-05-31T02:00 superseded',
      '2027-06-01T02:00 catch-up',
    ]);
  });

  test('does not run a schedule without catch-up, and says why', () => {
    const none = agentSchedule({ content: { catchUp: 'none' }, handled: handled('2027-05-30T02:00') });
    expect(decide(none, '2027-06-01T09:00', '2027-05-30T18:00').map(short)).toEqual([
      '2027-05-31T02:00 agent_down',
      '2027-06-01T02:00 agent_down',
    ]);
    expect(decide(none, '2027-06-01T09:00', '2027-06-01T08:59').map(short)).toEqual([
      '2027-05-31T02:00 late',
      '2027-06-01T02:00 late',
    ]);
  });

  test('delays the run within its spread, so that the agents of a site do not catch up all at once', () => {
    const spread = agentSchedule({ content: { spreadMs: 30 * MINUTE }, handled: handled('2027-05-28T02:00') });
    const fire = decide(spread, '2027-06-01T09:00').find(({ action }) => action === 'fire');
    expect(fire).toMatchObject({ isCatchUp: true, startByMs: at('2027-06-01T10:00') });
    const delay = fire?.action === 'fire' ? fire.notBeforeMs - at('2027-06-01T09:00') : 0;
    expect(delay).toBeGreaterThan(0);
    expect(delay).toBeLessThan(30 * MINUTE);
  });

  test('of years reports only the newest instants', () => {
    const minutely = agentSchedule({ content: { cron: '* * * * *' }, handled: handled('2025-06-01T00:00') });
    expect(decide(minutely, '2027-06-01T00:00')).toHaveLength(100);
  });
});

/** Lets an agent decide every five minutes while `wallOf` gives its wall clock. Runs end at once. */
function live(realMinutes: number, wallOf: (realMs: number) => number, start: AgentSchedule): string[] {
  const fired: string[] = [];
  const journal = [...start.handled];
  let lastAliveMs = wallOf(0);
  for (let minute = 0; minute <= realMinutes; minute += 5) {
    const nowMs = wallOf(minute * MINUTE);
    const { decisions } = decideFires({ schedules: [{ ...start, handled: journal }], nowMs, lastAliveMs });
    lastAliveMs = nowMs;
    for (const decision of decisions) {
      journal.push({ dueMs: decision.dueMs, repeat: decision.repeat });
      if (decision.action === 'fire') fired.push(`${Math.round(minute / 60)}h ${decision.occurrenceId}`);
    }
  }
  return fired;
}
const hours = (fired: readonly string[]): number[] => fired.map((text) => Number.parseInt(text, 10));
const ids = (fired: readonly string[]): Set<string> => new Set(fired.map((text) => text.split(' ')[1] ?? ''));

describe('when the clock jumps', () => {
  const sixHourly = agentSchedule({ content: { cron: '0 */6 * * *' }, activeSinceMs: at('2027-06-01') });
  const zero = at('2027-06-01');

  test('forward by days, runs once for what it passed, then goes on', () => {
    const fired = live(24 * 60, (real) => zero + real + (real >= HOUR ? 10 * DAY : 0), sixHourly);
    expect(hours(fired)).toEqual([1, 6, 12, 18, 24]);
  });

  test('back by some minutes, runs nothing twice', () => {
    const fired = live(24 * 60, (real) => zero + real - (real > 6 * HOUR + 3 * MINUTE ? 20 * MINUTE : 0), sixHourly);
    expect(hours(fired)).toEqual([6, 12, 18]);
    expect(ids(fired).size).toBe(3);
  });

  test('back by days, goes on running at the interval of the schedule, under ids of its own', () => {
    const wall = (real: number): number => zero + 30 * DAY + real - (real >= 31 * HOUR ? 30 * DAY : 0);
    const fired = live(4 * 24 * 60, wall, { ...sixHourly, activeSinceMs: zero + 30 * DAY });
    expect(hours(fired)).toEqual([6, 12, 18, 24, 30, 36, 42, 48, 54, 60, 66, 72, 78, 84, 90, 96]);
    expect(ids(fired).size).toBe(fired.length);
  });

  test('back and forth again and again, leaves no gap longer than two intervals', () => {
    const wall = (real: number): number => zero + real + (Math.floor(real / (20 * HOUR)) % 2) * 3 * DAY;
    const fired = hours(live(8 * 24 * 60, wall, sixHourly));
    const gaps = fired.map((hour, index) => hour - (fired[index - 1] ?? 0));
    expect(Math.max(...gaps)).toBeLessThanOrEqual(12);
    expect(fired.length).toBeGreaterThan(8 * 4 * 0.8);
  });
});

test('H7: instants before a change of the schedule are neither fired nor reported as skipped', () => {
  const timetable = new Timetable(schedule({ cron: '0 * * * *' }));
  const handled = [{ dueMs: at('2027-03-01T02:00'), repeat: 0 }];
  const changed = { timetable, activeSinceMs: at('2027-03-01T09:30'), handled, isBusy: false };
  const decide = (nowMs: number) => decideFires({ schedules: [changed], nowMs, lastAliveMs: nowMs }).decisions;
  expect(decide(at('2027-03-01T09:40'))).toEqual([]);
  expect(decide(at('2027-03-01T10:00'))).toMatchObject([{ action: 'fire', dueMs: at('2027-03-01T10:00') }]);
});
