import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { hasPostgres, installCommand, isDebian } from './postgres-programs.mjs';
import { ensurePromtool } from './promtool-program.mjs';
import { ensureRedisWheels, hasSystemRedis } from './redis-programs.mjs';

/** Programs that tests use, and Debian's packages of them. Only without PostgreSQL there is nothing to test at all. */
const TOOLS = [
  { program: 'zstd', package: 'zstd' },
  { program: 'strace', package: 'strace' },
  { program: 'ps', package: 'procps' },
  { program: 'cc', package: 'gcc libc6-dev' },
  { program: 'python3', package: 'python3' },
  { program: 'pip3', package: 'python3-pip' },
  { program: 'systemctl', package: 'systemd' },
];

const onPath = (program) =>
  (process.env['PATH'] ?? '').split(delimiter).some((folder) => existsSync(join(folder, program)));
const missingPackages = () => [
  ...(hasPostgres() ? [] : ['postgresql']),
  ...(hasSystemRedis() ? [] : ['redis-server']),
  ...TOOLS.filter(({ program }) => !onPath(program)).flatMap((tool) => tool.package.split(' ')),
];

/** Installs missing packages that the tests need, as root on Debian; otherwise prints how to. Exits when PostgreSQL is missing. */
export function ensureTestTools() {
  ensurePackages();
  ensureRedisWheels();
  ensurePromtool();
}

function ensurePackages() {
  const packages = missingPackages();
  if (packages.length === 0) return;
  if (process.getuid?.() === 0 && isDebian()) {
    console.log(`installing ${packages.join(', ')} (apt-get install)`);
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    spawnSync('apt-get', ['update', '-q'], { stdio: 'inherit', env });
    spawnSync('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...packages], { stdio: 'inherit', env });
  }
  if (!hasPostgres()) {
    console.error(`The tests need PostgreSQL's programs. Install them with: ${installCommand()}`);
    process.exit(69);
  }
  const left = missingPackages();
  if (left.length > 0)
    console.error(`Tests that need these packages of the system will be skipped: ${left.join(', ')}`);
}
