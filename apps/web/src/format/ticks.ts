import { MONTHS, two } from './times.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const STEPS_MS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720].map((minutes) => minutes * MINUTE_MS);
const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];

export interface Tick {
  readonly atMs: number;
  readonly label: string;
}

/** Midnights of the viewer's zone. Days on which the clock changes have 23 or 25 hours. */
function daysBetween(fromMs: number, toMs: number): Tick[] {
  const days: Tick[] = [];
  for (const day = new Date(fromMs); ; ) {
    day.setHours(24, 0, 0, 0);
    if (day.getTime() >= toMs) return days;
    days.push({
      atMs: day.getTime(),
      label: `${DAYS[day.getDay()]} ${day.getDate()} ${MONTHS[day.getMonth()]}`,
    });
  }
}

/** The ticks of a time axis: at most `most`, at midnights or at round times of the viewer's zone. */
export function ticksBetween(fromMs: number, toMs: number, most: number): Tick[] {
  const stepMs = STEPS_MS.find((step) => (toMs - fromMs) / step <= most);
  if (stepMs === undefined || toMs - fromMs > 2 * DAY_MS) return daysBetween(fromMs, toMs);
  const offsetMs = new Date(fromMs).getTimezoneOffset() * MINUTE_MS;
  const ticks: Tick[] = [];
  for (let atMs = Math.ceil((fromMs - offsetMs) / stepMs) * stepMs + offsetMs; atMs < toMs; atMs += stepMs) {
    const date = new Date(atMs);
    ticks.push({ atMs, label: `${two(date.getHours())}:${two(date.getMinutes())}` });
  }
  return ticks;
}
