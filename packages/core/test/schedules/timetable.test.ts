import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checkCron, spreadOffsetMs, Timetable } from '../../src/schedules/index.ts';
import { at, DAY, HOUR, iso, localTime, MINUTE, schedule, ZONES } from './support.ts';

const pad = (value: number): string => String(value).padStart(2, '0');

/** The first minute of a local day at or after a time of day: what a person expects of "daily at 02:30", by search alone. */
function expectedInstant(day: string, time: string, timeZone: string): number {
  const noon = at(day) + 12 * HOUR;
  for (let ms = noon - 27 * HOUR; ; ms += 15 * MINUTE) {
    const [date = '', clock = ''] = localTime(ms, timeZone).split('T');
    if (date === day && clock >= time) return ms;
  }
}

const daysOf = (year: number): string[] =>
  Array.from({ length: 365 }, (_, index) => new Date(Date.UTC(year, 0, index + 1)).toISOString().slice(0, 10));

describe('a fixed local time', () => {
  test.for(ZONES)('runs once a local day in %s, also when the clocks change', (timezone) => {
    for (const year of [2018, 2027])
      for (const [hour, minute] of [
        [0, 0],
        [1, 45],
        [2, 30],
        [23, 30],
      ] as const) {
        const timetable = new Timetable(schedule({ cron: `${minute} ${hour} * * *`, timezone }));
        const days = daysOf(year);
        const first = expectedInstant(days[0] ?? '', `${pad(hour)}:${pad(minute)}`, timezone);
        const found = timetable.nextInstants(first - 1, days.length);
        expect(found.map((ms) => localTime(ms, timezone).slice(0, 10))).toEqual(days);
      }
  });

  test.for(ZONES)('in %s is the first instant at or after that time of the day', (timezone) => {
    fc.assert(
      fc.property(
        fc.constantFrom(2017, 2018, 2019, 2026, 2027, 2031),
        fc.integer({ min: 0, max: 364 }),
        fc.integer({ min: 0, max: 23 }),
        fc.constantFrom(0, 15, 30, 45),
        (year, index, hour, minute) => {
          const day = daysOf(year)[index] ?? '';
          const expected = expectedInstant(day, `${pad(hour)}:${pad(minute)}`, timezone);
          const timetable = new Timetable(schedule({ cron: `${minute} ${hour} * * *`, timezone }));
          expect(timetable.nextInstants(expected - 1, 1).map(iso)).toEqual([iso(expected)]);
        },
      ),
      { numRuns: 60 },
    );
  });

  test.for([
    {
      cron: '30 2 * * *',
      timezone: 'Europe/Berlin',
      from: '2027-03-27',
      due: ['2027-03-27T01:30', '2027-03-28T01:00'],
    },
    {
      cron: '30 2 * * *',
      timezone: 'Europe/Berlin',
      from: '2027-10-30',
      due: ['2027-10-30T00:30', '2027-10-31T00:30'],
    },
    {
      cron: '15 2,3 * * *',
      timezone: 'Europe/Berlin',
      from: '2027-10-31',
      due: ['2027-10-31T00:15', '2027-10-31T02:15'],
    },
    {
      cron: '0 0 * * *',
      timezone: 'America/Sao_Paulo',
      from: '2018-11-04',
      due: ['2018-11-04T03:00', '2018-11-05T02:00'],
    },
    {
      cron: '30 2 * * *',
      timezone: 'Australia/Lord_Howe',
      from: '2027-04-03',
      due: ['2027-04-03T16:00', '2027-04-04T16:00'],
    },
    {
      cron: '0 2 * * *',
      timezone: 'Asia/Kathmandu',
      from: '2027-06-01',
      due: ['2027-06-01T20:15', '2027-06-02T20:15'],
    },
  ])('$cron in $timezone from $from is due at $due', ({ cron, timezone, from, due }) => {
    expect(new Timetable(schedule({ cron, timezone })).nextInstants(at(from), due.length).map(iso)).toEqual(due);
  });
});

test('a step runs at equal intervals through the change of the clocks, so the night has a longer gap by the local clock', () => {
  const halfHourly = new Timetable(schedule({ cron: '*/30 1-3 * * *', timezone: 'Europe/Berlin' }));
  expect(halfHourly.dueBetween(at('2027-10-30T12:00'), at('2027-10-31T12:00'))).toHaveLength(8);
  expect(halfHourly.dueBetween(at('2027-03-27T12:00'), at('2027-03-28T12:00'))).toHaveLength(4);
  const sixHourly = new Timetable(schedule({ cron: '0 */6 * * *', timezone: 'Europe/Berlin' }));
  const due = sixHourly.dueBetween(at('2027-10-30T20:00'), at('2027-10-31T12:00'));
  expect(due.slice(1).map((ms, index) => (ms - (due[index] ?? 0)) / HOUR)).toEqual([7, 6]);
});

test('dueBetween and nextInstants agree for any expression, zone and spread', () => {
  const minute = fc.constantFrom('0', '*/7', '15,45', '59', '*');
  const hour = fc.constantFrom('*', '2', '*/6', '1-3', '0,23');
  const rest = fc.constantFrom('* * *', '1 * *', 'L * *', '* * 1-5', '* 3,10 *', '* * MON#1');
  fc.assert(
    fc.property(
      fc.tuple(minute, hour, rest),
      fc.constantFrom(...ZONES),
      fc.integer({ min: at('2017-01-01'), max: at('2032-01-01') }),
      fc.constantFrom(0, HOUR, 3 * HOUR),
      (fields, timezone, from, spreadMs) => {
        const timetable = new Timetable(schedule({ cron: fields.join(' '), timezone, spreadMs }));
        const forward = timetable.nextInstants(from, 12);
        const last = forward.at(-1) ?? 0;
        expect(timetable.dueBetween(from, last).map(iso)).toEqual(forward.map(iso));
        expect(timetable.dueBetween(from, last - 1).map(iso)).toEqual(forward.slice(0, -1).map(iso));
        expect(timetable.dueBetween(from, last, 3).map(iso)).toEqual(forward.slice(-3).map(iso));
      },
    ),
    { numRuns: 60 },
  );
});

describe('spread', () => {
  const offset = (spreadKey: string, spreadMs = HOUR): number => spreadOffsetMs({ spreadKey, spreadMs });
  test('delays every run of a target by the same time below the span', () => {
    const timetable = new Timetable(schedule({ spreadMs: HOUR }));
    const delays = timetable.nextInstants(at('2027-01-01'), 30).map((ms) => (ms - 2 * HOUR) % DAY);
    expect(new Set(delays)).toEqual(new Set([offset('prod/db-1/shop')]));
    expect(offset('prod/db-1/shop')).toBeLessThan(HOUR);
    expect(offset('prod/db-1/shop', 0)).toBe(0);
  });
  test('divides a fleet about evenly over the span', () => {
    const tenths = Array.from({ length: 10 }, () => 0);
    for (let host = 0; host < 2000; host += 1) {
      const tenth = Math.floor(offset(`prod/db-${host}/shop`) / (HOUR / 10));
      tenths[tenth] = (tenths[tenth] ?? 0) + 1;
    }
    expect(Math.min(...tenths)).toBeGreaterThan(150);
    expect(Math.max(...tenths)).toBeLessThan(250);
  });
});

describe('checkCron', () => {
  const codeOf = (cron: string, timezone = 'UTC'): string | undefined =>
    checkCron(cron, timezone, at('2027-01-01'))?.code;
  test.for(['0 2 * * *', '*/15 0-6 1,15 JAN-MAR MON', '0 2 L * *', '0 2 15W * *', '0 2 1 * +MON', '0 2 29 2 *'])(
    'accepts %s',
    (cron) => {
      expect(codeOf(cron)).toBeUndefined();
    },
  );
  test.for([
    '',
    '0 2 * *',
    '0 0 2 * * *',
    '61 2 * * *',
    '0 24 * * *',
    '@daily',
    '? 2 * * *',
    '0 2 * * FOO',
    '0  2 * * *',
  ])('refuses "%s" as invalid', (cron) => {
    expect(codeOf(cron)).toBe('cron_invalid');
  });
  test.for(['0 2 31 2 *', '0 2 30 2 *', '0 2 31 4,6,9,11 *'])('refuses %s, which never fires', (cron) => {
    expect(codeOf(cron)).toBe('cron_never_fires');
  });
  test.for(['Europa/Berlin', '', '+02:00', 'America/Sao Paulo'])('refuses the time zone "%s"', (timezone) => {
    expect(codeOf('0 2 * * *', timezone)).toBe('timezone_unknown');
  });
});

test('a timetable of an unchecked expression is a defect', () => {
  expect(() => new Timetable(schedule({ cron: '0 2 31 2 *' }))).toThrow('cron_never_fires');
});
