import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Sized, standingVerdict, suspectSizes, type Verdict } from '../src/index.ts';

const passed = (level: number): Verdict => ({ level, at: `p${level}`, passed: true });
const failed = (reached: number): Verdict => ({ level: reached, at: `f${reached}`, passed: false });

describe('the verdict that stands', () => {
  test.for<[string, Verdict | null, Verdict, Verdict]>([
    ['the first one', null, passed(1), passed(1)],
    ['a deeper proof, when a shallow look passes', passed(6), passed(1), passed(6)],
    ['a deeper proof that passes later', passed(1), passed(6), passed(6)],
    ['the newer of two that are as deep', passed(4), { ...passed(4), at: 'later' }, { ...passed(4), at: 'later' }],
    ['a failure, whatever was proven', passed(6), failed(0), failed(0)],
    ['E2: a failure at level 6, when a level 1 check passes', failed(5), passed(1), failed(5)],
    ['a failure at level 6, when level 5 passes', failed(5), passed(5), failed(5)],
    ['a check that goes as deep as the failure was found', failed(5), passed(6), passed(6)],
    ['a missing object that is there again', failed(-1), passed(0), passed(0)],
    ['the deeper of two failures, with the time of the later', failed(5), failed(0), { ...failed(0), level: 5 }],
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
  suspectSizes(series.map((one) => (typeof one === 'number' ? sized(one) : one))).flatMap((odd, index) =>
    odd ? [index] : [],
  );

describe('A23: a size that falls out of line', () => {
  test('is suspect below half and above twice the usual one', () => {
    expect(suspects(MB, MB, MB / 2, 2 * MB)).toEqual([]);
    expect(suspects(MB, MB, MB / 2 - 1)).toEqual([2]);
    expect(suspects(MB, MB, 2 * MB + 1)).toEqual([2]);
  });
  test('D4: is suspect however often it is repeated, when it is smaller', () => {
    expect(suspects(MB, MB, ...Array.from({ length: 50 }, () => 1), MB)).toEqual(
      Array.from({ length: 50 }, (_, index) => index + 2),
    );
  });
  test('is normal from the third in a row on, when it is larger: databases grow', () => {
    expect(suspects(MB, MB, 3 * MB, 3 * MB, 3 * MB, 3 * MB, 3 * MB)).toEqual([2, 3]);
    expect(suspects(MB, MB, 3 * MB, 3 * MB, MB, 3 * MB, MB)).toEqual([2, 3, 5]);
  });
  test('is normal once a backup of that size was loaded into a server', () => {
    expect(suspects(9 * MB, 9 * MB, MB, sized(MB, { verifiedLevel: 4 }), MB, MB)).toEqual([2]);
    expect(suspects(9 * MB, 9 * MB, sized(MB, { verifiedLevel: 3 }), MB)).toEqual([2, 3]);
  });
  test('is not measured by what failed its verification', () => {
    expect(suspects(MB, sized(1, { state: 'bad' }), sized(1, { state: 'bad' }), MB)).toEqual([]);
  });
  test('whatever the series, the first good backup is trusted', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 9 * MB }), { minLength: 1 }), (bytes) => {
        expect(suspectSizes(bytes.map((each) => sized(each)))[0]).toBe(false);
      }),
    );
  });
});
