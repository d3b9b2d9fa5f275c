import { Timetable } from '../schedules/timetable.ts';
import type { EffectivePolicy } from './match.ts';
import type { FleetProblemDetail } from './problems.ts';

const DAY_MS = 86_400_000;
const HORIZON_MS = 400 * DAY_MS;
const MAX_STEPS = 1500;

/** By how much local time is ahead of UTC at an instant, in ms. */
function utcOffsetMs(ms: number, timeZone: string): number {
  const format = new Intl.DateTimeFormat('en-US', { timeZone, timeZoneName: 'longOffset', year: 'numeric' });
  const name = format.formatToParts(ms).find(({ type }) => type === 'timeZoneName')?.value ?? 'GMT';
  const [, sign, hours, minutes = '0'] = /^GMT([+-])(\d{2}):?(\d{2})?/.exec(name) ?? [];
  return sign === undefined ? 0 : (sign === '+' ? 1 : -1) * (Number(hours) * 60 + Number(minutes)) * 60_000;
}

/**
 * The longest time between two due instants that exceeds a limit, within about a year from `fromMs`; null when none does. Measured by the
 * local clock, so that a daily backup is a day apart also in the night that has 25 hours.
 */
export function gapAbove(limitMs: number, timetables: readonly Timetable[], fromMs: number): number | null {
  const next = (ms: number): { ms: number; timezone: string } | undefined =>
    timetables
      .flatMap((timetable) => {
        const at = timetable.nextAfter(ms);
        return at === null ? [] : [{ ms: at, timezone: timetable.schedule.timezone }];
      })
      .toSorted((a, b) => a.ms - b.ms)[0];
  const newestWithin = (ms: number): number | undefined =>
    timetables
      .flatMap((timetable) => timetable.dueBetween(ms, ms + limitMs, 1))
      .toSorted((a, b) => a - b)
      .at(-1);
  let longest: number | null = null;
  let at = next(fromMs)?.ms;
  const end = fromMs + Math.min(HORIZON_MS, MAX_STEPS * limitMs);
  while (at !== undefined && at < end) {
    const within = newestWithin(at);
    if (within !== undefined) {
      at = within;
      continue;
    }
    const following = next(at);
    if (following === undefined) return longest;
    const local =
      following.ms - at + utcOffsetMs(following.ms, following.timezone) - utcOffsetMs(at, following.timezone);
    if (local > limitMs) longest = Math.max(longest ?? 0, local);
    at = following.ms;
  }
  return longest;
}

/** Above this share of an objective a target is at risk. */
const TIGHT = 0.8;

/** Whether the backups of an effective policy can keep its RPO. */
export function checkRpo(policy: EffectivePolicy, nowMs: number): FleetProblemDetail | null {
  const { rpoMs } = policy.objectives;
  if (rpoMs === null || policy.requireStream) return null;
  const timetables = policy.schedules
    .filter(({ work }) => work.command === 'backup')
    .map(({ schedule }) => new Timetable(schedule));
  if (timetables.length === 0) return { code: 'rpo_unreachable', rpoMs, gapMs: null };
  const gapMs = gapAbove(rpoMs, timetables, nowMs);
  if (gapMs !== null) return { code: 'rpo_unreachable', rpoMs, gapMs };
  const nearly = gapAbove(rpoMs * TIGHT, timetables, nowMs);
  return nearly === null ? null : { code: 'rpo_tight', rpoMs, gapMs: nearly };
}
