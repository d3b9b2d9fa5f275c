// `npm test [-- vitest options]`: installs what is missing, builds, checks types and style, runs every test against real servers.
// Works on Node 18 and newer with npm alone; ends with one line `N passed, N failed, N skipped`.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensureInstalled } from './ensure-installed.mjs';
import { ensureTestTools } from './test-tools.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

function run(...command) {
  const { status } = spawnSync(process.execPath, [join(root, 'scripts/with-node.mjs'), ...command], {
    cwd: root,
    stdio: 'inherit',
  });
  return status ?? 1;
}

ensureTestTools();
ensureInstalled(root);
for (const step of [
  ['turbo', 'run', 'build', '--output-logs=errors-only'],
  ['node', join(root, 'scripts/check.mjs')],
]) {
  const status = run(...step);
  if (status !== 0) process.exit(status);
}
const folder = mkdtempSync(join(tmpdir(), 'lastgood-test-'));
const report = join(folder, 'report.json');
const status = run(
  'vitest',
  'run',
  '--reporter=default',
  '--reporter=json',
  `--outputFile.json=${report}`,
  ...process.argv.slice(2),
);
const { numPassedTests, numFailedTests, numPendingTests, numTodoTests, success } = JSON.parse(
  readFileSync(report, 'utf8'),
);
rmSync(folder, { recursive: true });
// A file that fails to load has no failed test of its own, and must not look green.
const failed = numFailedTests + (numFailedTests === 0 && (!success || status !== 0) ? 1 : 0);
console.log(`${numPassedTests} passed, ${failed} failed, ${numPendingTests + numTodoTests} skipped`);
process.exit(failed === 0 ? 0 : 1);
