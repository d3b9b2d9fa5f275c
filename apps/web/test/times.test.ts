import { afterAll, beforeAll, expect, test } from 'vitest';
import { ticksBetween } from '../src/format/ticks.ts';
import { shortTime } from '../src/format/times.ts';

const zone = process.env['TZ'];
beforeAll(() => {
  process.env['TZ'] = 'Europe/Berlin';
});
afterAll(() => {
  if (zone === undefined) delete process.env['TZ'];
  else process.env['TZ'] = zone;
});

test('times are in the zone of the viewer, with the offset of that instant', () => {
  const now = Date.parse('2026-03-29T10:00:00Z');
  expect(shortTime('2026-03-29T08:30:05Z', now)).toBe('10:30:05 +02:00');
  expect(shortTime('2026-03-28T08:30:05Z', now)).toBe('28 Mar 09:30 +01:00');
  expect(shortTime('2025-03-28T08:30:05Z', now)).toBe('28 Mar 2025 09:30 +01:00');
});

test('the axis of a week has its midnights, also where a day has 23 hours', () => {
  const ticks = ticksBetween(Date.parse('2026-03-27T12:00:00Z'), Date.parse('2026-03-31T12:00:00Z'), 10);
  expect(ticks.map(({ label }) => label)).toEqual(['Sat 28 Mar', 'Sun 29 Mar', 'Mon 30 Mar', 'Tue 31 Mar']);
  expect(
    ticks.map(({ atMs }, index) => (index === 0 ? 0 : (atMs - (ticks[index - 1]?.atMs ?? 0)) / 3_600_000)),
  ).toEqual([0, 24, 23, 24]);
});

test('the axis of a few minutes has round times', () => {
  const ticks = ticksBetween(Date.parse('2026-01-15T11:58:30Z'), Date.parse('2026-01-15T12:07:00Z'), 5);
  expect(ticks.map(({ label }) => label)).toEqual(['13:00', '13:02', '13:04', '13:06']);
});
