import { type RestoreMeasurement, restoreTimeOf } from '@lastgood/core/objectives';
import { expect, test } from 'vitest';
import { MeasurementIndex } from '../../src/targets/measurement-index.ts';

const MIB = 1024 * 1024;
const measurement = (host: string, index: number, more: Partial<RestoreMeasurement> = {}): RestoreMeasurement => ({
  ...{ environment: 'prod', host, target: 'shop', engine: 'postgres', method: 'logical', content: null },
  ...{ bytes: (1 + (index % 7)) * MIB, durationMs: 1_000 * (1 + (index % 5)), atMs: index },
  ...more,
});

test('the index gives the same restore time as all measurements of the fleet', () => {
  const all = Array.from({ length: 200 }, (_, index) =>
    measurement(`db-${index % 20}`, index, {
      method: index % 3 === 0 ? 'physical' : 'logical',
      bytes: index % 11 === 0 ? 1 : (1 + (index % 7)) * MIB,
      target: `t${index % 4}`,
    }),
  );
  const index = new MeasurementIndex(all);
  for (const host of ['db-1', 'db-7', 'db-99'])
    for (const method of ['logical', 'physical', 'rdb']) {
      const subject = { ...measurement(host, 0), target: 't1', method, bytes: 50 * MIB };
      expect(restoreTimeOf(subject, index.relevantTo(subject))).toEqual(restoreTimeOf(subject, all));
    }
});
