// `npm run soak [-- MINUTES]`: the tests that look for rare failures, for ten minutes each unless given. CI runs one round of them.
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensureTestTools } from './test-tools.mjs';

const TESTS = ['test/e2e/point-in-time-kills.test.ts'];

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const minutes = Number(process.argv[2] ?? 10);
if (!(minutes > 0)) {
  process.stderr.write('usage: npm run soak [-- MINUTES]\n');
  process.exit(2);
}
ensureTestTools();
const seed = process.env.LASTGOOD_TEST_SEED ?? String(1 + (Date.now() % 1_000_000));
process.stdout.write(`LASTGOOD_TEST_SEED=${seed}\n`);
const { status } = spawnSync(process.execPath, [join(root, 'scripts/with-node.mjs'), 'vitest', 'run', ...TESTS], {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, LASTGOOD_SOAK_MINUTES: String(minutes), LASTGOOD_TEST_SEED: seed },
});
process.exit(status ?? 1);
