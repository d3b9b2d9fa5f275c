import { chown, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startOnFolder, startPrimary } from '@lastgood/testkit';
import { expect, test, vi } from 'vitest';
import { ask, PhysicalHarness } from './support/physical-harness.ts';

test('a checkpoint far ahead of the beginning of replay does not block the prefetch', async () => {
  await using primary = await startPrimary({
    initdbArgs: ['--wal-segsize=1'],
    extraConf:
      'synchronous_commit = on\ncheckpoint_timeout = 30s\ncheckpoint_completion_target = 0.2\nshared_buffers = 64MB',
  });
  await primary.query(
    'postgres',
    "create table t as select i, repeat('x', 500) as x from generate_series(1, 40000) as i",
  );
  await using own = await PhysicalHarness.open(primary);
  await own.receive();
  let isTaken = false;
  const taking = own.base('spread').then((taken) => {
    isTaken = true;
    return taken;
  });
  taking.catch(() => undefined);
  while (!isTaken)
    await primary.query('postgres', "insert into t select i, repeat('y', 500) from generate_series(1, 1000) as i");
  const { startLsn, checkpointLsn } = await taking;
  expect(checkpointLsn - startLsn).toBeGreaterThan(6n * 2n ** 20n);
  await primary.query('postgres', 'create table last ()');
  await own.archived();
  await using recovered = await own.recover(await own.plan({ kind: 'latest' }));
  expect(await ask(recovered, 'postgres', 'select from public.last')).toEqual([]);
});

test('after a promotion: the new timeline is followed, the old one can be chosen, and a stray history does not disturb', async () => {
  await using primary = await startPrimary({
    initdbArgs: ['--wal-segsize=1'],
    extraConf: "synchronous_commit = on\nrestore_command = 'false'\nwal_keep_size = 100MB",
  });
  await primary.query('postgres', 'create table t (i int); insert into t values (1)');
  await using old = await PhysicalHarness.open(primary);
  await old.receive();
  await old.base();
  await primary.query('postgres', 'insert into t values (2)');
  const end = await old.lsn();
  await vi.waitFor(() => expect(old.state?.receivedLsn ?? 0n).toBeGreaterThanOrEqual(end), 20_000);
  await old.stopReceiving();
  await primary.stop();
  const signalFile = join(primary.dataDir, 'recovery.signal');
  await writeFile(signalFile, '');
  const { uid, gid } = await stat(primary.dataDir);
  await chown(signalFile, uid, gid);
  await using promoted = await startOnFolder(primary, primary.dataDir);
  await vi.waitFor(
    async () => expect((await promoted.query('postgres', 'select pg_is_in_recovery() as r'))[0]?.['r']).toBe(false),
    20_000,
  );
  await using harnessOfBoth = await PhysicalHarness.open({ ...promoted, binDir: primary.binDir });
  harnessOfBoth.bases.push(...old.bases);
  await promoted.query('postgres', 'insert into t values (3)');
  await promoted.query('postgres', "select pg_drop_replication_slot('lastgood')");
  await harnessOfBoth.receiveFrom(old);
  await harnessOfBoth.archived();
  const rows = async (timeline: number | null): Promise<unknown> => {
    await using recovered = await harnessOfBoth.recover(await harnessOfBoth.plan({ kind: 'latest' }, timeline));
    return (await ask(recovered, 'postgres', 'select i from public.t order by i')).map(({ i }) => i);
  };
  expect(await rows(null)).toEqual([1, 2, 3]);
  expect(await rows(1)).toEqual([1, 2]);
  await writeFile(join(harnessOfBoth.sink.folder, '00000003.history'), '1\t0/100000\tstray\n');
  expect(await rows(2)).toEqual([1, 2, 3]);
});
