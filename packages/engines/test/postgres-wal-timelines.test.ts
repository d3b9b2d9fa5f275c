import { chown, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type FolderServer, startOnFolder, startPrimary, startStandby } from '@lastgood/testkit';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { postgresConnectionSchema } from '../src/postgres/connection-schema.ts';
import { findGaps } from '../src/postgres/wal/continuity.ts';
import { parseLsn } from '../src/postgres/wal/lsn.ts';
import { createReceiverSlot } from '../src/postgres/wal/receiver.ts';
import { storedIn } from './support/folder-sink.ts';
import { MIB, switchWal, systemIdOf, WalPrimary, WalStream, writeWal } from './support/wal-stream.ts';

const never = new AbortController().signal;
const cleanup = new AsyncDisposableStack();
let primary: WalPrimary;

beforeAll(async () => {
  primary = cleanup.use(await WalPrimary.start());
}, 120_000);
afterAll(() => cleanup.disposeAsync());

describe('timelines', () => {
  test('a promotion while streaming: the end of the old timeline, its history, and the new one without a gap', async () => {
    const standby = cleanup.use(await startStandby(primary.server));
    const through = { ...primary.connection, port: standby.port };
    await using stream = await WalStream.open(primary, 'promoted', { through });
    stream.start();
    await writeWal(primary.server, 2);
    await vi.waitFor(() => expect(stream.state?.receivedLsn ?? 0n).toBeGreaterThan(0n), {
      timeout: 20_000,
      interval: 50,
    });
    await standby.query('postgres', 'select pg_promote()');
    await writeWal(standby, 2);
    await switchWal(standby);
    await vi.waitFor(
      async () =>
        expect(
          (await stream.sink.names()).filter((name) => name.startsWith('00000002') && name.length === 24).length,
        ).toBeGreaterThan(1),
      { timeout: 20_000, interval: 100 },
    );
    const names = await stream.sink.names();
    expect(names).toContain('00000002.history');
    expect(names.filter((name) => name.endsWith('.partial'))).toHaveLength(1);
    const { holdings } = await storedIn(stream.sink.folder, MIB, primary.systemId);
    expect(findGaps(holdings)).toEqual([]);
    const partial = stream.sink.appended.find(({ kind }) => kind === 'partial');
    expect(partial?.content?.endLsn).toBe(holdings.histories.get(2)?.[0]?.switchLsn);
  });

  test('an old primary that died: what only it had is kept as a partial segment, and the promoted server is followed', async () => {
    await using own = await startPrimary({ initdbArgs: ['--wal-segsize=1'], extraConf: 'synchronous_commit = on' });
    const systemId = await systemIdOf(own);
    const old = postgresConnectionSchema.parse(own.connection);
    await own.query('postgres', 'create table t (i bigint, x text)');
    await using standby = await startStandby(own);
    const through = { ...old, port: standby.port };
    for (const each of [old, through]) await createReceiverSlot(each, 'moving', never);
    await using stream = await WalStream.open(primary, 'moving', { through: old, withoutSlot: true });
    stream.start({ connection: old, stored: await storedIn(stream.sink.folder, MIB, systemId) });
    await writeWal(own, 2);
    const [written] = await own.query('postgres', 'select pg_current_wal_flush_lsn()::text as lsn');
    await vi.waitFor(
      async () => {
        expect(stream.state?.receivedLsn ?? 0n).toBeGreaterThanOrEqual(parseLsn(String(written?.['lsn'])));
        const behind = "select from pg_stat_replication where application_name = 'walreceiver' and flush_lsn < $1";
        expect(await own.query('postgres', behind, [written?.['lsn']])).toEqual([]);
      },
      { timeout: 20_000, interval: 50 },
    );
    await stream.stop();
    await own.stop();
    await standby.query('postgres', 'select pg_promote()');
    await writeWal(standby, 2);
    await switchWal(standby);
    const stored = await storedIn(stream.sink.folder, MIB, systemId);
    stream.start({ connection: through, stored });
    await vi.waitFor(
      async () =>
        expect(
          (await stream.sink.names()).filter((name) => name.startsWith('00000002') && name.length === 24).length,
        ).toBeGreaterThan(1),
      { timeout: 20_000, interval: 100 },
    );
    const { holdings } = await storedIn(stream.sink.folder, MIB, systemId);
    expect(findGaps(holdings)).toEqual([]);
    expect((await stream.sink.names()).filter((name) => name.endsWith('.partial'))).toHaveLength(1);
  });

  test('G8: eleven promotions, up to timeline C', async () => {
    await using own = await startPrimary({
      initdbArgs: ['--wal-segsize=1'],
      extraConf: "restore_command = 'false'\nwal_keep_size = 1GB",
    });
    const id = await systemIdOf(own);
    const login = postgresConnectionSchema.parse(own.connection);
    await createReceiverSlot(login, 'eleven', never);
    await own.query('postgres', 'create table t (i bigint, x text)');
    await own.stop();
    const { uid, gid } = await stat(own.dataDir);
    let current: FolderServer | undefined;
    for (let promotion = 0; promotion < 11; promotion += 1) {
      await current?.stop();
      await writeFile(join(own.dataDir, 'recovery.signal'), '');
      await chown(join(own.dataDir, 'recovery.signal'), uid, gid);
      current = await startOnFolder(own, own.dataDir);
      await vi.waitFor(
        async () =>
          expect((await current?.query('postgres', 'select pg_is_in_recovery() as r'))?.[0]?.['r']).toBe(false),
        { timeout: 20_000, interval: 50 },
      );
      await writeWal(current, 1);
    }
    await using last = current as FolderServer;
    await switchWal(last);
    await using stream = await WalStream.open(primary, 'eleven', {
      withoutSlot: true,
      through: { ...login, port: last.port },
    });
    stream.start({ stored: await storedIn(stream.sink.folder, MIB, id) });
    await vi.waitFor(() => expect(stream.state?.timeline).toBe(12), { timeout: 30_000, interval: 100 });
    await vi.waitFor(
      async () =>
        expect((await stream.sink.names()).some((name) => name.startsWith('0000000C') && name.length === 24)).toBe(
          true,
        ),
      { timeout: 20_000, interval: 100 },
    );
    const names = await stream.sink.names();
    expect(names.filter((name) => name.endsWith('.history'))).toHaveLength(11);
    const { holdings } = await storedIn(stream.sink.folder, MIB, id);
    expect([...new Set(holdings.ranges.map(({ timeline }) => timeline))]).toContain(12);
    expect(findGaps(holdings)).toEqual([]);
  });
});
