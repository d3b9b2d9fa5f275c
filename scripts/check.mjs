// `npm run check [-- --write]`: types, then style and lint, of everything; `--write` mends what can be mended.
import { spawnSync } from 'node:child_process';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
for (const [command, ...args] of [
  ['tsc', '-p', '.'],
  // The dashboard runs in a browser: other libraries, and JSX.
  ['tsc', '-p', 'apps/web'],
  process.argv.includes('--write') ? ['biome', 'check', '--write', '.'] : ['biome', 'ci', '.'],
]) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (error !== undefined) console.error(error.message);
  if (status !== 0) process.exit(status ?? 1);
}
