import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rename, stat, symlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { smallFileSystem, type TemporaryFolder, temporaryFolder } from '@lastgood/testkit';
import { describe, expect, test } from 'vitest';
import {
  discardOld,
  discardStaged,
  listManagedFolders,
  type NewFiles,
  ownershipOf,
  placeFiles,
  type RestoreFilesRequest,
  requireMovable,
  returnFiles,
  type ServerFiles,
  setAside,
  stageFiles,
} from '../src/redis/index.ts';
import { failureOf } from './support/collector.ts';

const NAMES = { rdbName: 'dump.rdb', appendFolderName: 'appendonlydir', appendFilename: 'appendonly.aof' };
const text = (content: string) => async (sink: NodeJS.WritableStream) =>
  await pipeline(Readable.from([Buffer.from(content)]), sink);
const CONTENT: Readonly<Record<NewFiles['way'], NewFiles>> = {
  plain: { way: 'plain', rdb: text('new rdb') },
  seed: { way: 'seed', rdb: text('new rdb') },
  set: {
    way: 'set',
    manifest: 'file a.1.base.rdb seq 1 type b\nfile a.1.incr.aof seq 1 type i\n',
    members: [
      { name: 'a.1.base.rdb', write: text('new base') },
      { name: 'a.1.incr.aof', write: text('new commands') },
    ],
  },
};
const NEW: Readonly<Record<NewFiles['way'], object>> = {
  plain: { 'dump.rdb': 'new rdb' },
  seed: {
    'appendonlydir/appendonly.aof.1.base.rdb': 'new rdb',
    'appendonlydir/appendonly.aof.manifest': 'file appendonly.aof.1.base.rdb seq 1 type b\n',
  },
  set: {
    'appendonlydir/a.1.base.rdb': 'new base',
    'appendonlydir/a.1.incr.aof': 'new commands',
    'appendonlydir/appendonly.aof.manifest': 'file a.1.base.rdb seq 1 type b\nfile a.1.incr.aof seq 1 type i\n',
  },
};
/** What a server may have before a restore. */
const OLD: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'a snapshot': { 'dump.rdb': 'old rdb' },
  'an append-only set': { 'appendonlydir/a.manifest': 'old manifest', 'appendonlydir/a.1.base.rdb': 'old base' },
  both: { 'dump.rdb': 'old rdb', 'appendonlydir/a.manifest': 'old manifest' },
  nothing: {},
};
const UNTOUCHED = { 'temp-1.rdb': 'temporary' };

async function fill(dir: string, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, content] of Object.entries({ ...files, ...UNTOUCHED })) {
    await mkdir(join(dir, name, '..'), { recursive: true });
    await writeFile(join(dir, name), content);
  }
}
/** All files below a folder with their contents, those of folders of ours left out. */
async function filesIn(dir: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const name of await readdir(dir, { recursive: true })) {
    if (name.startsWith('lastgood-') || (await stat(join(dir, name))).isDirectory()) continue;
    if (!(name in UNTOUCHED)) found[name] = await readFile(join(dir, name), 'utf8');
  }
  return found;
}
const kinds = async (dir: string): Promise<string[]> => (await listManagedFolders(dir)).map(({ kind }) => kind).sort();
async function prepared(
  old: Readonly<Record<string, string>>,
): Promise<{ folder: TemporaryFolder; request: RestoreFilesRequest }> {
  const folder = await temporaryFolder();
  await fill(folder.path, old);
  return { folder, request: { files: { ...NAMES, dir: folder.path }, restoreId: '0123456789ab' } };
}
const stage = async (request: RestoreFilesRequest, way: NewFiles['way']): Promise<void> =>
  await stageFiles(request, CONTENT[way], await ownershipOf(request.files));

test.for(['after the old files were set aside', 'after the new ones were placed'] as const)(
  'a server that starts %s does not keep the old files from coming back',
  async (when) => {
    const { folder, request } = await prepared({ 'dump.rdb': 'old rdb' });
    await using _ = folder;
    await stage(request, 'set');
    await setAside(request);
    if (when === 'after the new ones were placed') await placeFiles(request);
    // The host was restarted, and its service manager started the server over the empty folder.
    await writeFile(join(folder.path, 'dump.rdb'), 'nothing');
    await returnFiles(request);
    await returnFiles(request);
    expect(await filesIn(folder.path)).toEqual({ 'dump.rdb': 'old rdb' });
    expect(await filesIn(join(folder.path, 'lastgood-undone-0123456789ab'))).toMatchObject({ 'dump.rdb': 'nothing' });
  },
);

describe.for(Object.entries(OLD))('over %s', ([, old]) => {
  describe.for(['plain', 'seed', 'set'] as const)('the way %s', (way) => {
    test('puts the new files in place, keeps the old ones, and undo brings them back', async () => {
      const { folder, request } = await prepared(old);
      await using _ = folder;
      await stage(request, way);
      expect(await filesIn(folder.path)).toEqual(old);
      await setAside(request);
      expect(await filesIn(folder.path)).toEqual({});
      await placeFiles(request);
      expect(await filesIn(folder.path)).toEqual(NEW[way]);
      expect(await kinds(folder.path)).toEqual(['aside']);
      expect(await filesIn(join(folder.path, 'lastgood-aside-0123456789ab'))).toEqual(old);
      await returnFiles(request);
      expect(await filesIn(folder.path)).toEqual(old);
      expect(await kinds(folder.path)).toEqual(['undone']);
      await discardOld(request, 'undone');
      expect(await kinds(folder.path)).toEqual([]);
    });

    test.for([
      { done: 0, goOn: true },
      { done: 1, goOn: true },
      { done: 2, goOn: true },
      { done: 0, goOn: false },
      { done: 1, goOn: false },
    ])(
      'ends with all new or all old files when each step is repeated, $done steps were done, and it goes on: $goOn',
      async ({ done, goOn }) => {
        const { folder, request } = await prepared(old);
        await using _ = folder;
        const twice = async (step: (request: RestoreFilesRequest) => Promise<void>): Promise<void> => {
          await step(request);
          await step(request);
        };
        await twice(async () => await stage(request, way));
        for (const step of [setAside, placeFiles].slice(0, done)) await twice(step);
        // A runner that does not know how far it came begins with the first step.
        if (goOn) for (const step of [setAside, placeFiles]) await twice(step);
        if (goOn) expect(await filesIn(folder.path)).toEqual(NEW[way]);
        await twice(returnFiles);
        expect(await filesIn(folder.path)).toEqual(old);
        expect(await kinds(folder.path)).not.toContain('new');
      },
    );
  });
});

describe('interrupted within a step', () => {
  const id = '0123456789ab';
  const old = OLD['both'] ?? {};
  test.for<{ state: string; shape: (dir: string, request: RestoreFilesRequest) => Promise<void> }>([
    {
      state: 'the new files are half written',
      shape: async (dir) => {
        await mkdir(join(dir, `lastgood-new-${id}`));
        await writeFile(join(dir, `lastgood-new-${id}`, 'dump.rdb.partial'), 'half');
      },
    },
    {
      state: 'one of two old entries is aside',
      shape: async (dir, request) => {
        await stage(request, 'plain');
        await mkdir(join(dir, `lastgood-aside-${id}`));
        await rename(join(dir, 'dump.rdb'), join(dir, `lastgood-aside-${id}`, 'dump.rdb'));
      },
    },
    {
      state: 'the new entry is placed and its folder not removed',
      shape: async (dir, request) => {
        await stage(request, 'plain');
        await setAside(request);
        await rename(join(dir, `lastgood-new-${id}`, 'dump.rdb'), join(dir, 'dump.rdb'));
      },
    },
    {
      state: 'an undo has moved the new entry away',
      shape: async (dir, request) => {
        await stage(request, 'plain');
        await setAside(request);
        await placeFiles(request);
        await mkdir(join(dir, `lastgood-undone-${id}`));
        await rename(join(dir, 'dump.rdb'), join(dir, `lastgood-undone-${id}`, 'dump.rdb'));
      },
    },
    {
      state: 'an undo has brought one of two old entries back',
      shape: async (dir, request) => {
        await stage(request, 'seed');
        await setAside(request);
        await placeFiles(request);
        await mkdir(join(dir, `lastgood-undone-${id}`));
        await rename(join(dir, 'appendonlydir'), join(dir, `lastgood-undone-${id}`, 'appendonlydir'));
        await rename(join(dir, `lastgood-aside-${id}`), join(dir, `lastgood-return-${id}`));
        await rename(join(dir, `lastgood-return-${id}`, 'dump.rdb'), join(dir, 'dump.rdb'));
      },
    },
  ])('$state: the old files come back', async ({ shape }) => {
    const { folder, request } = await prepared(old);
    await using _ = folder;
    await shape(folder.path, request);
    await returnFiles(request);
    expect(await filesIn(folder.path)).toEqual(old);
    await returnFiles(request);
    expect(await filesIn(folder.path)).toEqual(old);
    expect(await kinds(folder.path)).not.toContain('return');
  });

  test('the placement goes on where it was interrupted', async () => {
    const { folder, request } = await prepared(old);
    await using _ = folder;
    await stage(request, 'plain');
    await setAside(request);
    await rename(join(folder.path, `lastgood-new-${id}`, 'dump.rdb'), join(folder.path, 'dump.rdb'));
    await setAside(request);
    await placeFiles(request);
    expect(await filesIn(folder.path)).toEqual(NEW.plain);
  });
});

describe('new files', () => {
  test('get the owner and the modes of the old ones', async () => {
    const { folder, request } = await prepared(OLD['both'] ?? {});
    await using _ = folder;
    await chmod(join(folder.path, 'dump.rdb'), 0o660);
    await chmod(join(folder.path, 'appendonlydir'), 0o2770);
    if (process.getuid?.() === 0) await chown(join(folder.path, 'dump.rdb'), 12_345, 23_456);
    const { uid, gid } = await stat(join(folder.path, 'dump.rdb'));
    await stage(request, 'seed');
    await setAside(request);
    await placeFiles(request);
    const set = await stat(join(folder.path, 'appendonlydir'));
    const base = await stat(join(folder.path, 'appendonlydir', 'appendonly.aof.1.base.rdb'));
    expect([set.uid, set.gid, set.mode & 0o777]).toEqual([uid, gid, 0o770]);
    expect([base.uid, base.gid, base.mode & 0o777]).toEqual([uid, gid, 0o660]);
  });

  test('that cannot be written fail the step, and nothing of them stays after a discard', async () => {
    const { folder, request } = await prepared(OLD['a snapshot'] ?? {});
    await using _ = folder;
    const owner = await ownershipOf(request.files);
    const failing: NewFiles = {
      way: 'plain',
      rdb: async () => {
        throw new RangeError('damaged source');
      },
    };
    await expect(stageFiles(request, failing, owner)).rejects.toThrow();
    await discardStaged(request);
    expect(await kinds(folder.path)).toEqual([]);
    expect(await filesIn(folder.path)).toEqual(OLD['a snapshot']);
  });

  test('that do not fit fail the step with the path that people know', async ({ skip }) => {
    await using disk = await smallFileSystem(1024 * 1024);
    if (disk.path === null) return skip(true, disk.reason);
    const request = { files: { ...NAMES, dir: disk.path }, restoreId: '0123456789ab' };
    const large: NewFiles = {
      way: 'plain',
      rdb: async (sink) => await pipeline(Readable.from([Buffer.alloc(4 * 1024 * 1024)]), sink),
    };
    const failure = await failureOf(stageFiles(request, large, await ownershipOf(request.files)));
    expect(failure).toMatchObject({ code: 'NO_SPACE' });
    expect(failure.message).toContain(join(disk.path, 'lastgood-new-0123456789ab', 'dump.rdb'));
    await discardStaged(request);
    expect(await kinds(disk.path)).toEqual([]);
  });

  test('never replace what a server has written meanwhile', async () => {
    const { folder, request } = await prepared({});
    await using _ = folder;
    await stage(request, 'plain');
    await setAside(request);
    await writeFile(join(folder.path, 'dump.rdb'), 'of a server that was started');
    expect(await failureOf(placeFiles(request))).toMatchObject({ code: 'TARGET_NOT_EMPTY' });
    expect(await readFile(join(folder.path, 'dump.rdb'), 'utf8')).toBe('of a server that was started');
  });

  test('are not led elsewhere by a link that the user of the server puts in their way', async () => {
    const { folder, request } = await prepared({});
    await using _ = folder;
    await using elsewhere = await temporaryFolder();
    await symlink(elsewhere.path, join(folder.path, `lastgood-aside-${request.restoreId}`));
    await stage(request, 'plain');
    expect(await failureOf(setAside(request))).toMatchObject({ code: 'DATA_FOLDER_UNSAFE' });
    expect(await readdir(elsewhere.path)).toEqual([]);
  });
});

test('a mount point below the data folder is refused before anything is moved', async ({ skip }) => {
  const { folder, request } = await prepared({ 'appendonlydir/a.manifest': 'x' });
  await using _ = folder;
  await requireMovable(request.files);
  await using disk = await smallFileSystem(1024 * 1024);
  if (disk.path === null) return skip(true, disk.reason);
  const parent = dirname(disk.path);
  const files: ServerFiles = { ...NAMES, dir: parent, appendFolderName: basename(disk.path) };
  expect(await failureOf(requireMovable(files))).toMatchObject({ code: 'CONFIG_INVALID' });
});

test('folders of restores are listed, and others are not', async () => {
  const { folder } = await prepared({});
  await using _ = folder;
  await mkdtemp(join(folder.path, 'lastgood-other-'));
  await mkdir(join(folder.path, 'lastgood-aside-1a'));
  await mkdir(join(folder.path, 'lastgood-undone-2b'));
  expect(await listManagedFolders(folder.path)).toEqual(
    expect.arrayContaining([
      { kind: 'aside', restoreId: '1a' },
      { kind: 'undone', restoreId: '2b' },
    ]),
  );
  expect(await listManagedFolders(folder.path)).toHaveLength(2);
});
