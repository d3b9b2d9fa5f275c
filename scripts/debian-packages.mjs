// Packages of Debian and Ubuntu that the demo and the tests need. Works on Node 18.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

export function isDebian() {
  return existsSync('/etc/os-release') && /debian|ubuntu/i.test(readFileSync('/etc/os-release', 'utf8'));
}

/** True when this process may install packages. */
export const canInstallPackages = () => process.getuid?.() === 0 && isDebian();

/** Installs packages after saying so. What could not be installed is still missing afterwards: the caller looks for it again. */
export function installPackages(packages) {
  if (packages.length === 0) return;
  console.log(`installing ${packages.join(', ')} (apt-get install)`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  spawnSync('apt-get', ['update', '-q'], { stdio: 'inherit', env });
  spawnSync('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...packages], { stdio: 'inherit', env });
}
