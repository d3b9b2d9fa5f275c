import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Sized, standingVerdict, suspectSizes, type Verdict } from '../src/index.ts';

const passed = (level: number): Verdict => ({ level, at: `p${level}`, passed: true });
const failed = (reached: number): Verdict => ({ level: reached, at: `f${reached}`, passed: false });

describe('standingVerdict keeps', () => {
  test.for<[string, Verdict | null, Verdict, Verdict]>([
    ['the first verdict', null, passed(1), passed(1)],
    ['a pass at a higher level when a lower level passes later', passed(6), passed(1), passed(6)],
    ['a later pass at a higher level', passed(1), passed(6), passed(6)],
    [
      'the newer of two passes at the same level',
      passed(4),
      { ...passed(4), at: 'later' },
      { ...passed(4), at: 'later' },
    ],
    ['a failure after a pass at any level', passed(6), failed(0), failed(0)],
    ['E2: a failure at level 6, when a level 1 check passes', failed(5), passed(1), failed(5)],
    ['a failure at level 6, when level 5 passes', failed(5), passed(5), failed(5)],
    ['a pass at the level of the earlier failure', failed(5), passed(6), passed(6)],
    ['a pass after a missing object is back', failed(-1), passed(0), passed(0)],
    ['the higher level of two failures, with the time of the later', failed(5), failed(0), { ...failed(0), level: 5 }],
  ])('%s', ([, before, found, stands]) => {
    expect(standingVerdict(before, found)).toEqual(stands);
  });
});

const MB = 1_000_000;
const sized = (bytes: number, more: Partial<Sized> = {}): Sized => ({
  producedBytes: bytes,
  state: 'good',
  verifiedLevel: null,
  ...more,
});
const suspects = (...series: (number | Sized)[]): number[] =>
  suspectSizes(series.map((one) => (typeof one === 'number' ? sized(one) : one))).flatMap((isSuspect, index) =>
    isSuspect ? [index] : [],
  );

describe('A23: an unusual size', () => {
  test('is suspect below half and above twice the median', () => {
    expect(suspects(MB, MB, MB / 2, 2 * MB)).toEqual([]);
    expect(suspects(MB, MB, MB / 2 - 1)).toEqual([2]);
    expect(suspects(MB, MB, 2 * MB + 1)).toEqual([2]);
  });
  test('D4: stays suspect however often it repeats, when it is smaller', () => {
    expect(suspects(MB, MB, ...Array.from({ length: 50 }, () => 1), MB)).toEqual(
      Array.from({ length: 50 }, (_, index) => index + 2),
    );
  });
  test('is accepted from the third backup in a row, when it is larger', () => {
    expect(suspects(MB, MB, 3 * MB, 3 * MB, 3 * MB, 3 * MB, 3 * MB)).toEqual([2, 3]);
    expect(suspects(MB, MB, 3 * MB, 3 * MB, MB, 3 * MB, MB)).toEqual([2, 3, 5]);
  });
  test('is accepted after a restore test of a backup of that size', () => {
    expect(suspects(9 * MB, 9 * MB, MB, sized(MB, { verifiedLevel: 4 }), MB, MB)).toEqual([2]);
    expect(suspects(9 * MB, 9 * MB, sized(MB, { verifiedLevel: 3 }), MB)).toEqual([2, 3]);
  });
  test('is not compared with backups that failed verification', () => {
    expect(suspects(MB, sized(1, { state: 'bad' }), sized(1, { state: 'bad' }), MB)).toEqual([]);
  });
  test('is never suspect for the first good backup', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 9 * MB }), { minLength: 1 }), (bytes) => {
        expect(suspectSizes(bytes.map((each) => sized(each)))[0]).toBe(false);
      }),
    );
  });
});
