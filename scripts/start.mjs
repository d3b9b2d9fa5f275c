// `npm start`: works on Node 18 and newer with npm alone. Installs what is missing, checks for PostgreSQL, runs the demo.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensureInstalled } from './ensure-installed.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Folders where distributions put the server's programs. */
function serverFolders() {
  const base = '/usr/lib/postgresql';
  const debian = existsSync(base) ? readdirSync(base).map((version) => join(base, version, 'bin')) : [];
  return [
    ...debian,
    '/usr/pgsql-18/bin',
    '/usr/pgsql-17/bin',
    '/usr/pgsql-16/bin',
    '/usr/pgsql-15/bin',
    ...(process.env['PATH'] ?? '').split(delimiter),
  ];
}

function missingPostgres() {
  const folder = serverFolders().find((path) =>
    ['initdb', 'postgres', 'pg_dump'].every((tool) => existsSync(join(path, tool))),
  );
  if (folder !== undefined) return undefined;
  const release = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '';
  if (/debian|ubuntu/i.test(release)) return 'apt-get install postgresql';
  if (/alpine/i.test(release)) return 'apk add postgresql postgresql-contrib';
  if (/fedora|rhel|centos|rocky|alma/i.test(release)) return 'dnf install postgresql-server postgresql-contrib';
  if (/arch/i.test(release)) return 'pacman -S postgresql';
  if (process.platform === 'darwin') return 'brew install postgresql';
  return "install PostgreSQL's server and client programs";
}

const missing = missingPostgres();
if (missing !== undefined) {
  console.error(`PostgreSQL was not found on this machine. Install it with: ${missing}`);
  process.exit(69);
}
await ensureInstalled(root);
const child = spawn(
  process.execPath,
  [join(root, 'scripts/with-node.mjs'), 'node', join(root, 'scripts/demo.ts'), ...process.argv.slice(2)],
  { stdio: 'inherit', cwd: root },
);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
  process.on(signal, () => (signal === 'SIGINT' ? undefined : child.kill(signal)));
child.on('exit', (code, signal) => process.exit(code ?? (signal === 'SIGINT' ? 130 : 1)));
