import { expect, test } from 'vitest';
import { disasters, type Faults, ordinary, rollbacks, zombies } from './faults.ts';
import { realProtocol } from './protocol-under-test.ts';
import { runSeed } from './world.ts';

const SEEDS = Number(process.env['SIM_SEEDS'] ?? 2_000);
const ONE = process.env['SIM_SEED'];
const worlds: readonly [string, Faults][] = [
  ['crashes and a bad network', ordinary],
  ['hosts set back to snapshots', rollbacks],
  ['hosts set back and the catalog restored from copies', disasters],
  ['connections that speak up long after their host was set back', zombies],
];

/** The failureReport of a failing seed, in the words of its trace. */
const failureReport = (seed: number, faults: Faults): string => {
  const { violation, trace } = runSeed(seed, faults, realProtocol, true);
  return `SIM_SEED=${seed}: ${violation}\n${trace.slice(-200).join('\n')}`;
};

test.each(worlds)(
  'I6: every job takes effect as promised and comes to one end: %s',
  { timeout: 600_000 },
  (_, faults) => {
    const seeds = ONE === undefined ? Array.from({ length: SEEDS }, (_unused, index) => index + 1) : [Number(ONE)];
    let effects = 0;
    for (const seed of seeds) {
      const outcome = runSeed(seed, faults, realProtocol);
      effects += outcome.effects;
      if (outcome.violation !== null) expect.fail(failureReport(seed, faults));
    }
    expect(effects).toBeGreaterThan(0);
  },
);

test('a seed always tells the same failureReport', () => {
  const once = runSeed(7, disasters, realProtocol, true);
  expect(once.trace.length).toBeGreaterThan(50);
  expect(runSeed(7, disasters, realProtocol, true)).toEqual(once);
});
