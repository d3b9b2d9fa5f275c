import type { ScheduleEntry, ScheduleSet } from '../schedules/schedule-set.ts';
import type { AgentLedger, HandledInstant, HeldSchedule } from './agent-ledger.ts';

const hasSameTimes = (one: ScheduleEntry, other: ScheduleEntry): boolean =>
  one.cron === other.cron &&
  one.timezone === other.timezone &&
  one.spreadMs === other.spreadMs &&
  one.spreadKey === other.spreadKey;

/**
 * Replaces all schedules. One whose times stay the same keeps the instant from which it is active. What was handled of a schedule that
 * is no longer held is forgotten: should it come back, earlier instants are not caught up, and the ids of its jobs are still known.
 */
export function adoptScheduleSet(ledger: AgentLedger, { revision, entries }: ScheduleSet, now: number): AgentLedger {
  const before = new Map(ledger.schedules?.entries.map((entry) => [entry.scheduleId, entry]));
  const held = entries.map((entry): HeldSchedule => {
    const known = before.get(entry.scheduleId);
    const activeSince = known !== undefined && hasSameTimes(known, entry) ? known.activeSince : now;
    return { ...entry, activeSince };
  });
  const ids = new Set(held.map(({ scheduleId }) => scheduleId));
  const handled = [...ledger.handled].filter(([scheduleId]) => ids.has(scheduleId));
  return {
    ...ledger,
    schedules: { revision, entries: held },
    handled: handled.length === ledger.handled.size ? ledger.handled : new Map(handled),
  };
}

/**
 * Removes handled instants that were due before an instant. The newest one stays while the schedule is held: the next instant is counted
 * from it.
 */
export function forgetHandled(ledger: AgentLedger, before: number): AgentLedger {
  const held = new Set(ledger.schedules?.entries.map(({ scheduleId }) => scheduleId));
  const kept = new Map<string, readonly HandledInstant[]>();
  let removed = 0;
  for (const [scheduleId, instants] of ledger.handled) {
    const newest = held.has(scheduleId) ? instants.length - 1 : -1;
    const rest = instants.filter(({ dueMs }, index) => dueMs >= before || index === newest);
    removed += instants.length - rest.length;
    if (rest.length > 0) kept.set(scheduleId, rest.length === instants.length ? instants : rest);
  }
  return removed === 0 ? ledger : { ...ledger, handled: kept };
}
