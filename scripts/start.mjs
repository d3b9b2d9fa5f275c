// `npm start`: works on Node 18 and newer with npm alone. Installs what is missing (packages of the system
// as root on Debian and Ubuntu alone), checks for PostgreSQL, runs the demo.
import { spawn, spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { canInstallPackages, installPackages } from './debian-packages.mjs';
import { ensureInstalled } from './ensure-installed.mjs';
import { ensureNeo4j } from './neo4j-programs.mjs';
import { hasPostgres, installCommand } from './postgres-programs.mjs';
import { hasSystemRedis } from './redis-programs.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

if (canInstallPackages())
  installPackages([...(hasPostgres() ? [] : ['postgresql']), ...(hasSystemRedis() ? [] : ['redis-server'])]);
if (!hasPostgres()) {
  console.error(`PostgreSQL was not found on this machine. Install it with: ${installCommand()}`);
  process.exit(69);
}
ensureInstalled(root);
if (process.argv.includes('--neo4j')) ensureNeo4j();
// The same cache as that of `npm run build`: nothing is built twice.
const build = [join(root, 'scripts/with-node.mjs'), 'turbo', 'run', 'build', '--filter=@lastgood/web'];
const built = spawnSync(process.execPath, [...build, '--output-logs=errors-only'], { stdio: 'ignore', cwd: root });
if (built.status !== 0)
  console.error('The dashboard could not be built; `npm run build` shows why. The demo works without it.');
const child = spawn(
  process.execPath,
  [join(root, 'scripts/with-node.mjs'), 'node', join(root, 'scripts/demo.ts'), ...process.argv.slice(2)],
  { stdio: 'inherit', cwd: root },
);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
  process.on(signal, () => (signal === 'SIGINT' ? undefined : child.kill(signal)));
// Of a signal to npm nothing comes here: npm and its shell are gone, and this goes on alone.
const parent = process.ppid;
setInterval(() => process.ppid !== parent && child.kill('SIGTERM'), 1000).unref();
child.on('exit', (code, signal) => process.exit(code ?? (signal === 'SIGINT' ? 130 : 1)));
