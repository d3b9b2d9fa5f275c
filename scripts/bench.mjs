// `npm run bench [-- backup redis neo4j agent control]`: runs the measurements one after the other and writes docs/performance.md's tables.
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const wanted = process.argv.slice(2);
/** The daemons are measured as they ship. */
const build = spawnSync('turbo', ['run', 'build', '--output-logs=errors-only'], { stdio: 'inherit', cwd: root });
if (build.status !== 0) process.exit(build.status ?? 1);
const all = ['backup', 'redis', 'neo4j', 'agent', 'control'];
for (const name of wanted.length > 0 ? wanted : all) {
  if (!all.includes(name)) {
    console.error(`unknown bench "${name}"; there are: ${all.join(', ')}`);
    process.exit(64);
  }
  const { status } = spawnSync(process.execPath, [join(root, 'bench', `${name}.ts`)], { stdio: 'inherit', cwd: root });
  if (status !== 0) process.exit(status ?? 1);
}
