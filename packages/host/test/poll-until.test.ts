import { Failure } from '@lastgood/core';
import { expect, test } from 'vitest';
import { pollUntil, systemWaitingClock } from '../src/index.ts';
import { ManualClock } from './manual-clock.ts';

const never = new AbortController().signal;
const what = 'the test';

test('checks again after pauses that grow from 50 ms to 1 s', async () => {
  const clock = new ManualClock();
  const at: number[] = [];
  const check = async (): Promise<string | undefined> => {
    at.push(clock.monotonic());
    return at.length === 12 ? 'found' : undefined;
  };
  expect(await pollUntil(check, { until: 60_000, signal: never, clock, what })).toBe('found');
  const pauses = at.slice(1).map((instant, index) => instant - (at[index] ?? 0));
  expect(pauses[0]).toBe(50);
  expect(pauses.toSorted((a, b) => a - b)).toEqual(pauses);
  expect(pauses.at(-1)).toBe(1_000);
});

test('checks once more at the deadline, and not after it', async () => {
  const clock = new ManualClock();
  const at: number[] = [];
  const check = async (): Promise<undefined> => {
    at.push(clock.monotonic());
  };
  expect(await pollUntil(check, { until: 100, signal: never, clock, what })).toBeUndefined();
  expect(at).toEqual([0, 50, 100]);
});

test('checks once when the deadline has passed already', async () => {
  const clock = new ManualClock();
  let checks = 0;
  const check = async (): Promise<number> => ++checks;
  expect(await pollUntil(check, { until: -1, signal: never, clock, what })).toBe(1);
});

test('passes on what a check throws', async () => {
  const limits = { until: 100, signal: never, clock: new ManualClock(), what };
  const failure = new Failure('SERVICE_FAILED', 'broken');
  await expect(pollUntil(() => Promise.reject(failure), limits)).rejects.toBe(failure);
});

for (const [reason, code] of [
  [undefined, 'JOB_CANCELED'],
  [new Failure('JOB_DEADLINE', 'too late'), 'JOB_DEADLINE'],
] as const)
  test(`ends a pause when the signal aborts, with ${code}`, async () => {
    const stop = new AbortController();
    const clock = systemWaitingClock;
    const check = async (): Promise<undefined> => {
      setImmediate(() => stop.abort(reason));
    };
    const limits = { until: clock.monotonic() + 3_600_000, signal: stop.signal, clock, what };
    await expect(pollUntil(check, limits)).rejects.toMatchObject({ code });
  });
