import { expect, test } from 'vitest';
import { asideName } from '../src/postgres/swap.ts';
import { codeOf } from './support/engine-harness.ts';
import { usePostgres } from './support/use-postgres.ts';

const { server, harness } = await usePostgres();

/** Restores a new database by swap; resolves with the name under which the old one was set aside. */
async function setAside(database: string): Promise<{ name: string; jobId: string }> {
  await server.query('postgres', `create database ${database}`);
  await server.query(database, 'create table t (a int)');
  const { backupId } = await harness.backup({ databases: [database] });
  const { jobId, setAsideAs } = await harness.restore(backupId, { way: 'swap', database });
  return { name: String(setAsideAs), jobId };
}
const drop = async (name: string): Promise<{ freedBytes: number | null } | undefined> =>
  await harness.engine.dropSetAside?.(name, await harness.context());
const exists = async (name: string): Promise<boolean> =>
  (await server.query('postgres', 'select from pg_database where datname = $1', [name])).length > 0;

test('op-2.4: what a swap and an undo set aside is reported with its origin and size, and dropped by its name', async () => {
  const { name, jobId } = await setAside('one');
  const probed = await harness.engine.probe(await harness.context());
  expect(probed.setAside).toEqual([{ name, of: 'one', restoreJobId: jobId, sizeBytes: expect.any(Number) }]);
  expect(probed.findings).toContainEqual(
    expect.objectContaining({ code: 'SET_ASIDE_DATABASE', subject: { kind: 'database', name } }),
  );
  expect(probed.databases.map((database) => database.name)).not.toContain(name);
  await harness.engine.undo(jobId, await harness.context());
  const undone = asideName('one', 'undone', jobId);
  expect(await drop(undone)).toEqual({ freedBytes: expect.any(Number) });
  expect([await exists(undone), await exists('one')]).toEqual([false, true]);
});

test('op-2.4: a database that somebody still looks at is dropped, its sessions end', async () => {
  const { name } = await setAside('two');
  const session = server.query(name, 'select pg_sleep(600)').catch(() => 'ended');
  await expect
    .poll(
      async () => (await server.query('postgres', 'select from pg_stat_activity where datname = $1', [name])).length,
    )
    .toBe(1);
  await drop(name);
  expect([await session, await exists(name)]).toEqual(['ended', false]);
});

test.for(['postgres', 'victim', 'victim__lastgood_new_0123456789ab', "x'; drop database victim; --", 'absent'])(
  'op-2.4: %j is not dropped, because it is not set aside',
  async (name) => {
    if (!(await exists('victim'))) await server.query('postgres', 'create database victim');
    expect(await codeOf(drop(name))).toBe('NOT_FOUND');
    expect([await exists('victim'), await exists('postgres')]).toEqual([true, true]);
  },
);
