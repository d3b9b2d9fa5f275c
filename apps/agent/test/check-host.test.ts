import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '@lastgood/host';
import { createFolderRepository } from '@lastgood/repository';
import { temporaryFolder } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { checkHost } from '../src/check-host.ts';
import { agentConfigSchema } from '../src/config/agent-config.ts';

test('a check says of everything that the file names whether it is in order, with the remedy, and makes nothing', async () => {
  await using folder = await temporaryFolder();
  const [fresh, made, foreign] = ['fresh', 'made', 'foreign'].map((name) => join(folder.path, name)) as [
    string,
    string,
    string,
  ];
  const { id } = await createFolderRepository({ path: made });
  await mkdir(foreign, { mode: 0o700 });
  await writeFile(join(foreign, 'theirs'), '');
  const passfile = join(folder.path, 'open');
  await writeFile(passfile, '', { mode: 0o644 });
  const config = agentConfigSchema.parse({
    environment: 'test',
    host: 'here',
    dataDir: folder.path,
    control: { url: 'http://127.0.0.1:7400' },
    repositories: {
      fresh: { type: 'folder', path: fresh },
      made: { type: 'folder', path: made },
      foreign: { type: 'folder', path: foreign },
      unmounted: { type: 'folder', path: fresh, mustBeMount: folder.path },
    },
    targets: {
      away: { engine: 'postgres', repository: 'made', connection: { host: '127.0.0.1', port: 1, user: 'x' } },
      open: { engine: 'postgres', repository: 'made', connection: { host: '127.0.0.1', port: 1, user: 'x', passfile } },
    },
  });
  const before = (await readdir(folder.path)).toSorted();
  const found = new Map((await checkHost(config, systemClock)).map((each) => [each.name, each]));
  expect((await readdir(folder.path)).toSorted()).toEqual(before);
  expect([...found.values()].filter(({ inOrder }) => inOrder).map(({ name }) => name)).toEqual([
    'repository fresh',
    'repository made',
  ]);
  expect(found.get('repository made')?.text).toContain(id);
  expect(found.get('repository foreign')?.text).toMatch(/^STORE_NOT_MOUNTED: .* has no lastgood.json/);
  expect(found.get('repository unmounted')?.text).toContain('is not a mount point');
  expect(found.get('target away')?.text).toContain('DATABASE_UNREACHABLE');
  expect(found.get('target open')?.text).toContain('DATA_FOLDER_UNSAFE');
});
