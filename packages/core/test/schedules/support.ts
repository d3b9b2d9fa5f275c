import type { Schedule } from '../../src/schedules/index.ts';

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/** One without a shift today (but with one at midnight until 2019), the usual one, one of half an hour, and an odd offset. */
export const ZONES = ['America/Sao_Paulo', 'Europe/Berlin', 'Australia/Lord_Howe', 'Asia/Kathmandu'] as const;

export const schedule = (more: Partial<Schedule> = {}): Schedule => ({
  scheduleId: '11111111-1111-4111-8111-111111111111',
  cron: '0 2 * * *',
  timezone: 'UTC',
  spreadMs: 0,
  spreadKey: 'prod/db-1/shop',
  windowMs: HOUR,
  maxRunMs: 4 * HOUR,
  catchUp: 'last',
  ...more,
});

const formats = new Map<string, Intl.DateTimeFormat>();
/** The local time of an instant as `2027-03-28T02:30`. */
export function localTime(ms: number, timeZone: string): string {
  const format =
    formats.get(timeZone) ?? new Intl.DateTimeFormat('sv-SE', { timeZone, dateStyle: 'short', timeStyle: 'short' });
  formats.set(timeZone, format);
  return format.format(ms).replace(' ', 'T');
}

export const iso = (ms: number): string => new Date(ms).toISOString().slice(0, 16);
export const at = (text: string): number => Date.parse(text.length === 16 ? `${text}:00Z` : `${text}T00:00:00Z`);
