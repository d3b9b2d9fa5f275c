/** Prints the table of docs/testing.md that shows how soon the simulation notices the loss of each rule. Takes some minutes. */
import { mutations } from './mutations.ts';
import { findViolation, runSeed } from './world.ts';

const SAMPLE = 1_000;
const print = (...cells: readonly unknown[]): void => void process.stdout.write(`| ${cells.join(' | ')} |\n`);

print('Rule', 'Mutation', 'Fault model', 'First seed', 'Of 1,000', 'Violation of the first seed');
print('---', '---', '---', '---', '---', '---');
for (const { rule, without, faults, protocol, backedBy } of mutations) {
  if (backedBy !== undefined) continue;
  const found = findViolation(1, 20 * SAMPLE, faults, protocol);
  let failing = 0;
  for (let seed = 1; seed <= SAMPLE; seed += 1) if (runSeed(seed, faults, protocol).violation !== null) failing += 1;
  const shown = found?.violation.replace(/^[0-9a-f]{8}-[0-9a-f-]{27}(?:#\d+)?/, 'job') ?? 'nothing';
  print(rule, without, faults.name, found?.seed ?? 'none', failing, shown);
}
