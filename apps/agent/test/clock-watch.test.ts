import { expect, test } from 'vitest';
import { ClockWatch } from '../src/jobs/clock-watch.ts';

const DAY = 86_400_000;

/** A clock in the hands of the test: time passes on both, or the wall clock is set. */
function handClock() {
  let [wall, monotonic] = [Date.parse('2026-06-01T00:00:00Z'), 5_000];
  return {
    now: () => wall,
    monotonic: () => monotonic,
    pass: (ms: number) => {
      wall += ms;
      monotonic += ms;
    },
    set: (ms: number) => {
      wall += ms;
    },
  };
}

test('a clock that runs steadily, or is corrected by a little, did not jump', () => {
  const clock = handClock();
  const watch = new ClockWatch(clock);
  clock.pass(30 * DAY);
  clock.set(2_000);
  expect(Math.abs(watch.jumpedMs)).toBeLessThan(10_000);
});

test('D1: a jump is reported until the clock is corrected', () => {
  const clock = handClock();
  const watch = new ClockWatch(clock);
  clock.set(40 * DAY);
  expect(watch.jumpedMs).toBe(40 * DAY);
  clock.pass(DAY / 2);
  expect(watch.jumpedMs).toBe(40 * DAY);
  clock.set(-40 * DAY);
  expect(watch.jumpedMs).toBe(0);
});

test('D2: a jump back is reported as well', () => {
  const clock = handClock();
  const watch = new ClockWatch(clock);
  clock.set(-Date.parse('2026-06-01T00:00:00Z'));
  expect(watch.jumpedMs).toBeLessThan(-DAY);
});

test('a clock that stays where it jumped to is believed after a day', () => {
  const clock = handClock();
  const watch = new ClockWatch(clock);
  clock.set(40 * DAY);
  expect(watch.jumpedMs).toBe(40 * DAY);
  clock.pass(DAY + 1);
  expect(watch.jumpedMs).toBe(0);
  clock.pass(60_000);
  expect(watch.jumpedMs).toBe(0);
});
