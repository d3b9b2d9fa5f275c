import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';

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

export function isDebian() {
  return existsSync('/etc/os-release') && /debian|ubuntu/i.test(readFileSync('/etc/os-release', 'utf8'));
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
