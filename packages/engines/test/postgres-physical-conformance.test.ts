import { chown, mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createFolderRepository } from '@lastgood/repository';
import {
  type FolderServer,
  findOtherPostgres,
  findPostgres,
  startOnFolder,
  startPrimary,
  temporaryFolder,
  testLimits,
} from '@lastgood/testkit';
import { describeEngine, type EngineSubject, type TriedRestore } from '@lastgood/testkit/conformance';
import { postgres } from '../src/postgres/definition.ts';
import { postgresMethods } from '../src/postgres/index.ts';

const PASSWORD = 'a password of the agent';
const SERVED = "select string_agg(distinct generation, ' ') || ' ' || count(*) as served from data";

/** What docs/point-in-time.md grants to the role of the agent. */
const GRANTS = `create role lastgood login replication password '${PASSWORD}';
  grant execute on function pg_switch_wal() to lastgood;
  grant pg_monitor to lastgood`;

async function makeFolderOfServer(path: string, dataDir: string): Promise<void> {
  const { uid, gid } = await stat(dataDir);
  await mkdir(path);
  await chown(path, uid, gid);
}

/** A server whose agent has a role with the documented rights alone. */
async function openSubject(binDir: string): Promise<EngineSubject> {
  await using cleanup = new AsyncDisposableStack();
  const { path: folder } = cleanup.use(await temporaryFolder());
  const primary = cleanup.use(await startPrimary({ binDir, initdbArgs: ['--data-checksums'] }));
  await primary.query('postgres', GRANTS);
  const { dataDir, port } = primary;
  const [restores, scratchFolder] = [join(folder, 'restores'), join(folder, 'scratch')];
  const { uid, gid } = await stat(dataDir);
  await chown(folder, uid, gid);
  for (const path of [restores, scratchFolder]) await makeFolderOfServer(path, dataDir);
  const [passfile, wrongFile] = [join(folder, 'passfile'), join(folder, 'wrong')];
  await writeFile(passfile, `*:*:*:lastgood:${PASSWORD}\n`, { mode: 0o600 });
  await writeFile(wrongFile, '*:*:*:lastgood:wrong\n', { mode: 0o600 });
  const connection = { ...primary.connection, user: 'lastgood', passfile, scratchFolder };
  let restarted: FolderServer | null = null;
  cleanup.defer(async () => await restarted?.stop());
  const query = async (sql: string) => await (restarted ?? primary).query('postgres', sql);
  const copies = async (): Promise<string[]> => (await readdir(restores)).map((name) => join(restores, name));
  /** A restore writes the README last. */
  const isComplete = async (copy: string): Promise<boolean> => (await readdir(copy)).includes('README');

  const intoFolder: TriedRestore = {
    name: 'folder',
    request: (backupId) => ({
      scope: { kind: 'server' },
      point: { kind: 'backup', backupId },
      into: { way: 'folder', folder: 'drill' },
      options: {},
    }),
    restored: async () => {
      const [copy = ''] = await copies();
      const served = await (async () => {
        await using server = await startOnFolder(primary, join(copy, 'data'), ['-c', 'fsync=off']);
        return String((await server.query('postgres', SERVED))[0]?.['served']);
      })();
      await rm(copy, { recursive: true });
      return served;
    },
  };
  const owned = cleanup.move();
  return {
    connection,
    wrongSecret: { ...connection, passfile: wrongFile },
    services: { target: 'shop', service: null, restoreFolders: { drill: restores }, restoreTests: testLimits },
    method: 'physical',
    options: {},
    // Level 6 needs digests of the source.
    highest: 5,
    contents: ['postgres'],
    restores: [intoFolder],
    fill: async (generation) => {
      await query('drop table if exists data; create table data (generation text, n int)');
      await query(`insert into data select '${generation}', generate_series(1, 500)`);
    },
    served: async () => String((await query(SERVED))[0]?.['served']),
    stop: async () => await (restarted ?? primary).stop(),
    start: async () => {
      restarted = await startOnFolder(primary, dataDir, [], port);
    },
    leftovers: async () => {
      const slots = await query('select slot_name as name from pg_replication_slots');
      const unfinished: string[] = [];
      for (const copy of await copies()) if (!(await isComplete(copy))) unfinished.push(copy);
      return [...slots.map(({ name }) => `slot ${String(name)}`), ...unfinished, ...(await readdir(scratchFolder))];
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function describePhysical(title: string, binDir: string | null): void {
  describeEngine(`physical backups of ${title}`, {
    definition: postgres,
    absent: binDir === null ? 'its programs are not on this machine' : null,
    open: async () => await openSubject(binDir ?? ''),
    openRepository: async (path) => await createFolderRepository({ understood: postgresMethods, path }),
  });
}

describePhysical('PostgreSQL of this machine', findPostgres());
describePhysical('PostgreSQL 18', findOtherPostgres(18));
