import { mkdir, readdir, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { toWireError } from '@lastgood/core';
import { postgresMethods } from '@lastgood/engines/postgres';
import { systemClock, uuidv7 } from '@lastgood/host';
import { createFolderRepository } from '@lastgood/repository';
import { startPostgres, startPrimary, temporaryFolder } from '@lastgood/testkit';
import { expect, test, vi } from 'vitest';
import { checkHost, type Found } from '../src/check-host.ts';
import { agentConfigSchema } from '../src/config/agent-config.ts';
import { Journal } from '../src/journal/journal.ts';
import { openRepository } from '../src/repositories/open-repository.ts';
import { enrollAs } from './support/enrolled.ts';

test('a check reports the state of everything that the file names, with remedies, and changes nothing', async () => {
  await using folder = await temporaryFolder();
  const [fresh, made, foreign] = ['fresh', 'made', 'foreign'].map((name) => join(folder.path, name)) as [
    string,
    string,
    string,
  ];
  const { id } = await createFolderRepository({ understood: postgresMethods, path: made });
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
    'restore tests',
    'limits of away',
    'limits of open',
  ]);
  expect(found.get('repository made')?.text).toContain(id);
  expect(found.get('repository foreign')?.text).toMatch(/^REPOSITORY_NOT_MOUNTED: .* has no lastgood.json/);
  expect(found.get('repository unmounted')?.text).toContain('is not a mount point');
  expect(found.get('target away')?.text).toMatch(/DATABASE_UNREACHABLE: .*\n {4}Check that the server runs/);
  expect(found.get('target open')?.text).toContain('DATA_FOLDER_UNSAFE');
});

test('B5: a check finds what the first backup would: a disk that is away, another disk, a folder that is open; and a new disk is in order', async () => {
  await using folder = await temporaryFolder();
  const at = (name: string): string => join(folder.path, name);
  const dataDir = at('data');
  await mkdir(dataDir, { mode: 0o700 });
  await enrollAs(dataDir, { host: 'here' });
  const names = ['away', 'other', 'disk', 'theirs'];
  const config = agentConfigSchema.parse({
    environment: 'test',
    host: 'here',
    dataDir,
    control: { url: 'http://127.0.0.1:1' },
    repositories: Object.fromEntries(names.map((name) => [name, { type: 'folder', path: at(name) }])),
    targets: {},
  });
  using journal = await Journal.open(join(dataDir, 'journal.sqlite'), 0);
  for (const name of ['away', 'other']) {
    await openRepository(config, name, journal);
    await rename(at(name), at(`${name}-before`));
  }
  await mkdir(at('away'), { mode: 0o700 });
  await createFolderRepository({ understood: postgresMethods, path: at('other') });
  await mkdir(join(at('disk'), 'lost+found'), { recursive: true, mode: 0o755 });
  await symlink(at('disk'), at('theirs'));
  const found = new Map((await checkHost(config, systemClock)).map((each) => [each.name, each.text]));
  const opened = new Map<string, string>();
  for (const name of names)
    opened.set(
      name,
      await openRepository(config, name, journal).then(
        () => 'opened',
        (error: unknown) => toWireError(error).message,
      ),
    );
  expect(found.get('repository away')).toContain('has no lastgood.json');
  expect(found.get('repository other')).toContain('holds another repository');
  expect(found.get('repository theirs')).toContain('is a symbolic link');
  for (const name of ['away', 'other']) expect(found.get(`repository ${name}`)).toContain(opened.get(name));
  expect(opened.get('theirs')).toContain('symbolic link');
  expect([found.get('repository disk'), opened.get('disk')]).toEqual([
    `${at('disk')} becomes a repository with the first backup`,
    'opened',
  ]);
});

test('B14: a check finds that the folder of a target is written by another installation, as the first backup would', async () => {
  await using server = await startPostgres();
  await using folder = await temporaryFolder();
  const [dataDir, path] = [join(folder.path, 'data'), join(folder.path, 'repository')];
  await mkdir(dataDir, { mode: 0o700 });
  await enrollAs(dataDir, { host: 'here' });
  const config = agentConfigSchema.parse({
    environment: 'test',
    host: 'here',
    dataDir,
    control: { url: 'http://127.0.0.1:1' },
    repositories: { local: { type: 'folder', path } },
    targets: { shop: { engine: 'postgres', repository: 'local', connection: server.connection } },
  });
  const target = async (): Promise<Found | undefined> =>
    (await checkHost(config, systemClock)).find(({ name }) => name === 'target shop');
  expect(await target()).toMatchObject({ inOrder: true });
  const theirs = await createFolderRepository({ understood: postgresMethods, path, writer: 'theirs' });
  const ref = { environment: 'test', host: 'here', target: 'shop' };
  const about = { ref, jobId: uuidv7(), attempt: 1, engine: 'postgres', lastgoodVersion: '0' } as const;
  await theirs.begin({ ...about, backupId: uuidv7(), startedAt: '2026-01-01T00:00:00Z' }, 'another server');
  expect(await target()).toMatchObject({
    inOrder: false,
    text: expect.stringMatching(/^REPOSITORY_FOREIGN: .*\n.*adopt/),
  });
});

test('a check prints what the server lacks for its stream, as statements that it accepts, and the RPO of its settings', async () => {
  await using server = await startPrimary({
    extraConf: 'max_wal_senders = 1\nmax_slot_wal_keep_size = -1\nfull_page_writes = on\nfsync = on',
  });
  await server.query('postgres', "create role agent login password 'agent'");
  await using folder = await temporaryFolder();
  const passfile = join(folder.path, 'passfile');
  await writeFile(passfile, '*:*:*:agent:agent\n', { mode: 0o600 });
  const config = agentConfigSchema.parse({
    environment: 'test',
    host: 'here',
    dataDir: folder.path,
    control: { url: 'http://127.0.0.1:1' },
    repositories: { local: { type: 'folder', path: join(folder.path, 'repository') } },
    targets: {
      shop: {
        engine: 'postgres',
        repository: 'local',
        connection: { ...server.connection, user: 'agent', passfile },
        stream: { switchSeconds: 30 },
      },
    },
  });
  const stream = async (): Promise<Found | undefined> =>
    (await checkHost(config, systemClock)).find(({ name }) => name === 'stream of shop');
  const before = await stream();
  expect(before?.inOrder).toBe(false);
  const lines = before?.text.split('\n').map((line) => line.trim()) ?? [];
  expect(lines[0]).toMatch(/^RPO without a limit/);
  expect(lines.slice(2)).toEqual([
    "ALTER SYSTEM SET max_wal_senders = '10';  -- needs a restart",
    "ALTER SYSTEM SET max_slot_wal_keep_size = '10240MB';",
    'SELECT pg_reload_conf();',
    'GRANT pg_monitor TO agent;',
    'ALTER ROLE agent REPLICATION;',
    'GRANT EXECUTE ON FUNCTION pg_switch_wal() TO agent;',
  ]);
  for (const line of lines.slice(2)) await server.query('postgres', line);
  await vi.waitFor(
    async () =>
      expect((await stream())?.text.split('\n').map((line) => line.trim())).toEqual([
        expect.stringMatching(/^RPO without a limit/),
        'settings that wait for a restart: max_wal_senders',
      ]),
    20_000,
  );
});
