import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Neo4jServer, seedGraph, startNeo4j, type TemporaryFolder } from '@lastgood/testkit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type AdminContext,
  changeModes,
  checkStaging,
  listManagedStores,
  loadStaging,
  readLogState,
  removeStore,
  restoreNamesOf,
  type StoreContext,
  type StoreFolders,
  swapBack,
  swapForward,
  swapIn,
} from '../src/neo4j/index.ts';
import { adminOf, codeOf, dumpOf, never, openFolder, streamOf } from './support/neo4j-lab.ts';

const JOB = '01890a5d-ac96-774b-bcce-b302099a8057';
const root = process.getuid?.() === 0;
const names = restoreNamesOf('neo4j', JOB);
const systemNames = restoreNamesOf('system', JOB);
const BACKED_UP = { sha: 'as backed up' };

let server: Neo4jServer;
let scratch: TemporaryFolder;
let admin: AdminContext;
let store: StoreFolders;
let dump: Buffer;
let lastTransaction: number;

const expected = () => ({ lastTransaction, storeFormat: 'record-aligned-1.1' });

/** A server with a backup of `neo4j`, and changes since. */
beforeAll(async () => {
  server = await startNeo4j();
  scratch = await openFolder();
  admin = adminOf(server, scratch.path);
  store = admin.store;
  await seedGraph(server, 100);
  await server.query('CREATE (:Marker $values)', { values: BACKED_UP });
  await server.stop();
  dump = await dumpOf(admin, 'neo4j');
  await closeToOthers(join(store.data, 'databases', 'neo4j'));
  await closeToOthers(join(store.transactions, 'neo4j'));
  const logs = await readLogState(join(store.transactions, 'neo4j'));
  lastTransaction = logs.state === 'read' ? logs.lastTransaction : -1;
  await server.start();
  await server.query("MATCH (m:Marker) SET m.sha = 'changed since'");
  await server.query('CREATE (:Since)');
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await scratch[Symbol.asyncDispose]();
});

/** Modes that no umask gives by chance. */
async function closeToOthers(path: string): Promise<void> {
  await chmod(path, 0o710);
  for (const entry of await readdir(path, { withFileTypes: true }))
    if (entry.isDirectory()) await closeToOthers(join(path, entry.name));
    else await chmod(join(path, entry.name), 0o620);
}
const marker = async (): Promise<unknown> => (await server.query('MATCH (m:Marker) RETURN m.sha AS sha'))[0]?.['sha'];

describe('a restore', () => {
  test('loads and checks beside the running server, which goes on as before', async () => {
    await loadStaging(admin, names, streamOf(dump));
    // Repeated after an interruption, it begins anew.
    await loadStaging(admin, names, streamOf(dump));
    expect(await checkStaging(admin, names, expected())).toEqual({ state: 'ready' });
    expect(await listManagedStores(store)).toEqual([names.staging]);
    expect(await marker()).toBe('changed since');
  });

  test('recognizes a staging store that is not the one of the backup', async () => {
    expect(await checkStaging(admin, names, { ...expected(), lastTransaction: lastTransaction + 1 })).toEqual({
      state: 'unexpected',
      reason: 'transaction',
    });
    expect(await checkStaging(admin, names, { ...expected(), storeFormat: 'block-block-1.1' })).toEqual({
      state: 'unexpected',
      reason: 'format',
    });
    expect(await checkStaging(admin, systemNames, expected())).toEqual({ state: 'unexpected', reason: 'unreadable' });
  });

  test('gives the files to the user of the server, with the modes of the files that they replace', async () => {
    for (const kind of ['databases', 'transactions'])
      for (const path of ['', ...(await readdir(join(store.data, kind, names.staging)))]) {
        if (path === 'database_lock') continue; // Made by the check.
        const found = await stat(join(store.data, kind, names.staging, path));
        const owner = server.owner ?? { uid: process.getuid?.(), gid: process.getgid?.() };
        expect({ uid: found.uid, gid: found.gid }).toEqual(owner);
        expect(found.mode & 0o777, `${kind}/${path}`).toBe(found.isDirectory() ? 0o710 : 0o620);
      }
  });

  test('swaps nothing while the server runs', async () => {
    expect(await codeOf(swapIn(admin, names))).toBe('DATABASE_REFUSED');
    expect(await codeOf(swapBack(admin, names, true))).toBe('DATABASE_REFUSED');
    expect(await listManagedStores(store)).toEqual([names.staging]);
  });

  test('never removes a store that is not of a restore', async () => {
    await expect(removeStore(admin, 'neo4j')).rejects.toThrow('not a store of ours');
    await expect(removeStore(admin, 'lastgood-new-1')).rejects.toThrow('not a store of ours');
  });

  test('that is interrupted between any two renames starts the old or the new database, never a mixture', async () => {
    await server.stop();
    await loadStaging(admin, names, streamOf(dump));
    // Undone after two of four renames: there is neither a store nor a log of the name.
    for (const kind of ['databases', 'transactions'])
      await rename(join(store.data, kind, 'neo4j'), join(store.data, kind, names.aside));
    await swapBack(admin, names, true);
    await server.start();
    expect(await marker()).toBe('changed since');
    await server.stop();
    await removeStore(admin, names.undone);
    await loadStaging(admin, names, streamOf(dump));
    // Completed after one of four renames: there is no database of the name.
    await rename(join(store.data, 'databases', 'neo4j'), join(store.data, 'databases', names.aside));
    await swapIn(admin, names);
    await server.start();
    expect(await marker()).toBe(BACKED_UP.sha);
    await server.stop();
  });

  test('an undo that a reboot interrupted is taken back, and the empty database that the server made meanwhile is kept', async () => {
    for (const kind of ['databases', 'transactions'])
      await rename(join(store.data, kind, 'neo4j'), join(store.data, kind, names.undone));
    await server.start();
    expect(await server.query('MATCH (n) RETURN count(n) AS count')).toEqual([{ count: 0n }]);
    await server.stop();
    await swapForward(admin, names);
    await server.start();
    expect(await marker()).toBe(BACKED_UP.sha);
    await server.stop();
    const [stray = ''] = names.strays;
    expect(await listManagedStores(store)).toEqual([names.aside, stray].toSorted());
    await removeStore(admin, stray);
    expect(await listManagedStores(store)).toEqual([names.aside]);
  });
});

describe('the renames of a swap', () => {
  const CONTENTS = ['databases', 'transactions'] as const;
  /** A store of folders without contents, and the names that each root has after some of the four renames. */
  async function fake(folder: string, renames: number, replaced: boolean): Promise<StoreFolders> {
    const data = join(folder, `${renames}-${replaced}`);
    for (const root of CONTENTS) {
      await mkdir(join(data, root, names.staging, 'new'), { recursive: true });
      if (replaced) await mkdir(join(data, root, 'neo4j', 'old'), { recursive: true });
    }
    const steps = [...(replaced ? [['neo4j', names.aside]] : []), [names.staging, 'neo4j']].flatMap(
      ([from = '', to = '']) => CONTENTS.map((root) => [join(data, root, from), join(data, root, to)] as const),
    );
    for (const [from, to] of steps.slice(0, renames)) await rename(from, to);
    return { data, transactions: join(data, 'transactions') };
  }
  const undoSteps = [
    ['neo4j', names.undone],
    [names.aside, 'neo4j'],
  ].flatMap(([from = '', to = '']) => CONTENTS.map((each) => [join(each, from), join(each, to)] as const));
  const contextOf = (fakeStore: StoreFolders): StoreContext => ({ store: fakeStore, user: undefined, signal: never });
  const contents = async ({ data }: StoreFolders): Promise<string[]> =>
    (await readdir(data, { recursive: true })).filter((path) => path.split('/').length === 3).toSorted();
  const both = (...paths: string[]): string[] =>
    CONTENTS.flatMap((root) => paths.map((path) => `${root}/${path}`)).toSorted();

  test.each([true, false])(
    'are completed or reverted from wherever they stopped (a database replaced: %s)',
    async (replaced) => {
      await using folder = await openFolder();
      for (let renames = 0; renames <= (replaced ? 4 : 2); renames += 1) {
        const completed = await fake(join(folder.path, 'in'), renames, replaced);
        for (let attempt = 1; attempt <= 2; attempt += 1) {
          await swapIn(contextOf(completed), names);
          expect(await contents(completed)).toEqual(both('neo4j/new', ...(replaced ? [`${names.aside}/old`] : [])));
        }
        const reverted = await fake(join(folder.path, 'back'), renames, replaced);
        for (let attempt = 1; attempt <= 2; attempt += 1) {
          await swapBack(contextOf(reverted), names, replaced);
          const found = await contents(reverted);
          expect(found.filter((path) => path.includes('/neo4j/'))).toEqual(replaced ? both('neo4j/old') : []);
          expect(found.filter((path) => path.endsWith('/new'))).toHaveLength(2);
        }
      }
    },
  );

  test('of an undo are completed or taken back from wherever they stopped', async () => {
    await using folder = await openFolder();
    for (let renames = 0; renames <= undoSteps.length; renames += 1)
      for (const direction of ['back', 'forward'] as const) {
        const fakeStore = await fake(join(folder.path, direction, String(renames)), 4, true);
        for (const [from, to] of undoSteps.slice(0, renames))
          await rename(join(fakeStore.data, from), join(fakeStore.data, to));
        for (let attempt = 1; attempt <= 2; attempt += 1) {
          if (direction === 'back') await swapBack(contextOf(fakeStore), names, true);
          else await swapForward(contextOf(fakeStore), names);
          const expected =
            direction === 'back' ? ['neo4j/old', `${names.undone}/new`] : ['neo4j/new', `${names.aside}/old`];
          expect(await contents(fakeStore), `${direction} after ${renames}`).toEqual(both(...expected));
        }
      }
  });

  test('of an undo are completed or taken back although a server was started between any two and made a store', async () => {
    await using folder = await openFolder();
    for (let renames = 0; renames <= undoSteps.length; renames += 1)
      for (const direction of ['back', 'forward'] as const) {
        const fakeStore = await fake(join(folder.path, direction, String(renames)), 4, true);
        for (const [from, to] of undoSteps.slice(0, renames))
          await rename(join(fakeStore.data, from), join(fakeStore.data, to));
        // A start makes what is missing, each time.
        for (let start = 1; start <= 2; start += 1) {
          for (const root of CONTENTS) {
            const live = join(fakeStore.data, root, 'neo4j');
            if (!existsSync(live)) await mkdir(join(live, 'stray'), { recursive: true });
          }
          if (direction === 'back') await swapBack(contextOf(fakeStore), names, true);
          else await swapForward(contextOf(fakeStore), names);
        }
        const expected =
          direction === 'back' ? ['neo4j/old', `${names.undone}/new`] : ['neo4j/new', `${names.aside}/old`];
        const found = await contents(fakeStore);
        expect(
          found.filter((path) => !path.endsWith('/stray')),
          `${direction} after ${renames}`,
        ).toEqual(both(...expected));
        const strays = found.filter((path) => path.endsWith('/stray'));
        expect(strays.length).toBe([0, 1, 2, 1, 0][renames]);
        expect(strays.every((path) => path.includes(`/${names.strays[0]}/`))).toBe(true);
      }
  });

  test.skipIf(!root)(`change files with the rights of their owner alone${root ? '' : ' (needs root)'}`, async () => {
    await using folder = await openFolder();
    const fakeStore = await fake(folder.path, 0, true);
    const planted = join(fakeStore.data, 'databases', names.staging, 'planted');
    await writeFile(planted, 'of root', { mode: 0o600 });
    const nobody = { store: fakeStore, user: server.owner, signal: never };
    expect(await codeOf(changeModes(nobody, planted, { folders: 0o777, files: 0o666 }))).toBe('TOOL_FAILED');
    expect(await codeOf(removeStore(nobody, names.staging))).toBe('TOOL_FAILED');
    expect(await codeOf(swapIn(nobody, names))).toBe('RESTORE_FAILED');
    expect((await stat(planted)).mode & 0o777).toBe(0o600);
    const stores = both('neo4j/old', `${names.staging}/new`);
    expect(await contents(fakeStore)).toEqual([...stores, `databases/${names.staging}/planted`].toSorted());
  });

  test('do not begin without a staging store, and never replace what was set aside before', async () => {
    await using folder = await openFolder();
    const empty = await fake(folder.path, 0, true);
    await mkdir(join(empty.data, 'databases', names.aside));
    expect(await codeOf(swapIn(contextOf(empty), names))).toBe('RESTORE_FAILED');
    expect(await contents(empty)).toEqual(both('neo4j/old', `${names.staging}/new`));
    for (const root of CONTENTS) await rm(join(empty.data, root), { recursive: true });
    expect(await codeOf(swapIn(contextOf(empty), names))).toBe('RESTORE_FAILED');
  });
});
