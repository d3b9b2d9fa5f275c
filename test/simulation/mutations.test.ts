import { expect, test } from 'vitest';
import { mutations } from './mutations.ts';
import { hunt } from './world.ts';

/** Several times what any rule needs today (docs/testing.md), because a change of the simulation shifts the seeds. */
const SEEDS = 20_000;

for (const { rule, without, faults, parts, backedBy } of mutations) {
  if (backedBy !== undefined) continue;
  test(`${rule}: the simulation notices when ${without}`, { timeout: 120_000 }, () => {
    const found = hunt(1, SEEDS, faults, parts);
    expect(found).not.toBeNull();
  });
}

test('rules that other rules back are named as such', () => {
  for (const { backedBy, faults, parts } of mutations) {
    if (backedBy !== undefined) expect(hunt(1, 300, faults, parts)).toBeNull();
  }
});
