import { expect, test } from 'vitest';
import { mutations } from './mutations.ts';
import { findViolation } from './world.ts';

/** Several times what any rule needs today (docs/testing.md), because a change of the simulation shifts the seeds. */
const SEEDS = 20_000;

for (const { rule, without, faults, protocol, backedBy } of mutations) {
  if (backedBy !== undefined) continue;
  test(`${rule}: the simulation notices when ${without}`, { timeout: 120_000 }, () => {
    const found = findViolation(1, SEEDS, faults, protocol);
    expect(found).not.toBeNull();
  });
}

test('rules that other rules back are named as such', () => {
  for (const { backedBy, faults, protocol } of mutations) {
    if (backedBy !== undefined) expect(findViolation(1, 300, faults, protocol)).toBeNull();
  }
});
