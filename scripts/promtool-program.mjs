// promtool for the tests of /metrics: taken out of Debian's package, which is not installed: that would start a server. Node 18.
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { toolCache } from './tool-cache.mjs';

/** The path of promtool; undefined when there is none. `findPromtool` of packages/testkit searches the same places. */
export function findPromtool() {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), join(toolCache(), 'promtool')];
  return folders.map((folder) => join(folder, 'promtool')).find((path) => existsSync(path));
}

const succeeds = (file, args, cwd) =>
  spawnSync(file, args, { cwd, stdio: ['ignore', 'ignore', 'inherit'] }).status === 0;

/** Returns null, or why there is no promtool. */
function install(work) {
  if (!succeeds('apt-get', ['download', '-q', 'prometheus'], work)) return 'apt-get download prometheus failed';
  const file = readdirSync(work).find((name) => name.endsWith('.deb'));
  if (file === undefined || !succeeds('dpkg-deb', ['-x', file, 'unpacked'], work))
    return 'the package could not be unpacked';
  const folder = join(work, 'unpacked/usr/bin');
  chmodSync(folder, 0o755);
  mkdirSync(toolCache(), { recursive: true, mode: 0o755 });
  const partial = mkdtempSync(join(toolCache(), 'partial-'));
  try {
    // A copy by the system: the cache may be on another file system.
    if (!succeeds('cp', [join(folder, 'promtool'), partial], work)) return 'promtool could not be copied';
    chmodSync(partial, 0o755);
    renameSync(partial, join(toolCache(), 'promtool'));
    return null;
  } catch (error) {
    // Another run was first.
    if (findPromtool() !== undefined) return null;
    throw error;
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
}

/** Fetches promtool into the cache of test tools when it is missing. A failure is reported; the tests that need it are skipped. */
export function ensurePromtool() {
  if (findPromtool() !== undefined) return;
  console.log(`downloading promtool (apt-get download prometheus) into ${toolCache()}`);
  const work = mkdtempSync(join(tmpdir(), 'lg-promtool-'));
  // apt downloads as its own user.
  chmodSync(work, 0o777);
  try {
    const reason = install(work);
    if (reason !== null) console.error(`promtool could not be installed: ${reason}`);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
