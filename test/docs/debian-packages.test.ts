import { spawnSync } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { root, temporaryFolder } from '@lastgood/testkit';
import { expect, test } from 'vitest';

const SCRIPT = join(root, 'scripts/debian-packages.mjs');

test('packages of the system are named before they are installed, and none are when none is missing', async () => {
  await using folder = await temporaryFolder();
  const calls = join(folder.path, 'calls');
  await writeFile(join(folder.path, 'apt-get'), `#!/bin/sh\necho "$*" >>'${calls}'\necho "apt-get $1"\n`, {
    mode: 0o755,
  });
  const install = (packages: readonly string[]): string => {
    const program = `import(${JSON.stringify(SCRIPT)}).then((m) => m.installPackages(${JSON.stringify(packages)}))`;
    const env = { ...process.env, PATH: [folder.path, process.env['PATH']].join(delimiter) };
    const { stdout, status } = spawnSync(process.execPath, ['-e', program], { encoding: 'utf8', env });
    expect(status).toBe(0);
    return stdout;
  };
  expect(install([])).toBe('');
  expect(install(['postgresql', 'redis-server']).split('\n')).toEqual([
    'installing postgresql, redis-server (apt-get install)',
    'apt-get update',
    'apt-get install',
    '',
  ]);
  expect(await readFile(calls, 'utf8')).toBe(
    'update -q\ninstall -y -q --no-install-recommends postgresql redis-server\n',
  );
});
