// A browser without a window for the tests of the dashboard: Debian's package, with the libraries that it needs. Works on Node 18.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { canInstallPackages } from './debian-packages.mjs';

const NAME = 'chromium-headless-shell';

/** `findBrowser` of packages/testkit searches the same places. */
export function hasBrowser() {
  return (process.env['PATH'] ?? '').split(delimiter).some((folder) => existsSync(join(folder, NAME)));
}

/**
 * Installs the browser when it is missing, as root on Debian. It is installed alone: not every release has it, and the other packages
 * must not fail with it. A failure is reported; the tests that need it are skipped.
 */
export function ensureBrowser() {
  if (hasBrowser()) return;
  if (canInstallPackages()) {
    console.log(`installing ${NAME} (apt-get install)`);
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    const options = { stdio: ['ignore', 'ignore', 'inherit'], env };
    // The lists of packages may be missing or old.
    spawnSync('apt-get', ['update', '-q'], options);
    spawnSync('apt-get', ['install', '-y', '-q', '--no-install-recommends', NAME], options);
  }
  if (!hasBrowser())
    console.error(`${NAME} is not on this machine. The tests of the dashboard in a browser will be skipped.`);
}
