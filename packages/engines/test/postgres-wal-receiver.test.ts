import { type ChildProcess, spawn } from 'node:child_process';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { findGaps } from '../src/postgres/wal/continuity.ts';
import type { Lsn } from '../src/postgres/wal/lsn.ts';
import { createReceiverSlot, dropReceiverSlot } from '../src/postgres/wal/receiver.ts';
import { storedIn } from './support/folder-sink.ts';
import { MIB, switchWal, WalPrimary, WalStream, writeWal } from './support/wal-stream.ts';

const never = new AbortController().signal;
const cleanup = new AsyncDisposableStack();
let primary: WalPrimary;

beforeAll(async () => {
  primary = cleanup.use(await WalPrimary.start());
}, 120_000);
afterAll(() => cleanup.disposeAsync());

describe('receiving', () => {
  test('stores each segment with the bytes that the server archives', async () => {
    await using stream = await WalStream.open(primary, 'plain');
    stream.start();
    await writeWal(primary.server, 5);
    await switchWal(primary.server);
    await stream.caughtUp();
    await stream.expectTruth();
    expect((await readdir(stream.spoolFolder)).filter((name) => !name.endsWith('.open'))).toEqual([]);
    const file = stream.sink.appended.at(-1);
    expect(file).toMatchObject({
      kind: 'segment',
      timeline: 1,
      sizeBytes: MIB,
      content: { commits: expect.any(Number) },
    });
  });

  test('I5: the slot moves only after the repository has the segment', async () => {
    await using stream = await WalStream.open(primary, 'slow');
    stream.sink.hold();
    stream.start();
    const before = await primary.slotLsn('slow');
    await writeWal(primary.server, 4);
    await switchWal(primary.server);
    await vi.waitFor(() => expect(stream.state?.waitingSegments).toBeGreaterThan(2), { timeout: 20_000, interval: 50 });
    expect(await primary.slotLsn('slow')).toBe(before);
    stream.sink.release();
    await stream.caughtUp();
    await vi.waitFor(async () => expect(await primary.slotLsn('slow')).toBe(stream.state?.storedLsn), {
      timeout: 10_000,
      interval: 50,
    });
  });

  test('with the spool as the safe place the slot follows inside a segment', async () => {
    await using stream = await WalStream.open(primary, 'quick');
    stream.sink.hold();
    stream.start({ acknowledge: 'spool' });
    await writeWal(primary.server, 1);
    const end = await primary.flushedLsn();
    await vi.waitFor(async () => expect(await primary.slotLsn('quick')).toBeGreaterThanOrEqual(end), {
      timeout: 20_000,
      interval: 50,
    });
    expect(end % BigInt(MIB)).not.toBe(0n);
    stream.sink.release();
  });

  test('a slow repository fills the spool up to its limit, then the server waits', async () => {
    await using stream = await WalStream.open(primary, 'limited');
    stream.sink.hold();
    stream.start({ spoolSegments: 2 });
    await writeWal(primary.server, 8);
    await switchWal(primary.server);
    await vi.waitFor(() => expect(stream.state?.waitingSegments).toBe(2), { timeout: 20_000, interval: 50 });
    await vi.waitFor(async () => {
      const [row] = await primary.server.query(
        'postgres',
        "select write_lsn < pg_current_wal_flush_lsn() - 2000000 as behind from pg_stat_replication where application_name = 'lastgood_wal'",
      );
      expect(row?.['behind']).toBe(true);
    }, 10_000);
    expect((await readdir(stream.spoolFolder)).length).toBeLessThanOrEqual(3);
    stream.sink.release();
    await stream.caughtUp();
    await stream.expectTruth();
  });

  test('a failing repository ends the run, and the next one stores what waits', async () => {
    await using stream = await WalStream.open(primary, 'failing');
    stream.sink.failWith = new Failure('NO_SPACE', 'full');
    const first = stream.start();
    await writeWal(primary.server, 3);
    await switchWal(primary.server);
    await expect(first).rejects.toMatchObject({ code: 'NO_SPACE' });
    const before = await primary.slotLsn('failing');
    stream.sink.failWith = undefined;
    await vi.waitFor(
      async () =>
        expect(
          await primary.server.query(
            'postgres',
            "select from pg_replication_slots where slot_name = 'failing' and active",
          ),
        ).toEqual([]),
      10_000,
    );
    stream.start();
    await stream.caughtUp();
    await stream.expectTruth();
    await vi.waitFor(async () => expect(await primary.slotLsn('failing')).toBeGreaterThan(before), {
      timeout: 10_000,
      interval: 50,
    });
  });

  test('G3: other bytes under a stored name end the run, and nothing is overwritten', async () => {
    await using stream = await WalStream.open(primary, 'conflict');
    stream.sink.hold();
    const first = stream.start();
    await writeWal(primary.server, 2);
    await switchWal(primary.server);
    await vi.waitFor(() => expect(stream.state?.waitingSegments).toBeGreaterThan(0), { timeout: 20_000, interval: 50 });
    const name = (await readdir(stream.spoolFolder)).toSorted()[0] ?? '';
    await writeFile(join(stream.sink.folder, name), 'other');
    stream.sink.release();
    expect(await first).toEqual({ kind: 'conflict', name });
    expect(await readFile(join(stream.sink.folder, name), 'utf8')).toBe('other');
  });

  test('G2: a spooled segment that was damaged is not stored', async () => {
    await using stream = await WalStream.open(primary, 'rotten');
    stream.sink.failWith = new Failure('NO_SPACE', 'full');
    const first = stream.start();
    await writeWal(primary.server, 2);
    await switchWal(primary.server);
    await expect(first).rejects.toMatchObject({ code: 'NO_SPACE' });
    const name = (await readdir(stream.spoolFolder)).filter((each) => each.length === 24).toSorted()[0] ?? '';
    await writeFile(join(stream.spoolFolder, name), Buffer.alloc(MIB));
    stream.sink.failWith = undefined;
    await vi.waitFor(
      async () => expect(await stream.run()).toMatchObject({ kind: 'invalid', name, problem: { code: 'wal-magic' } }),
      { timeout: 10_000, interval: 200 },
    );
    expect(await stream.sink.names()).toEqual([]);
  });
});

describe('kills', () => {
  /** Runs a receiver as a process of its own. */
  const child = (stream: WalStream, acknowledge: 'repository' | 'spool'): ChildProcess => {
    const options = {
      connection: primary.connection,
      slot: stream.slot,
      spoolFolder: stream.spoolFolder,
      sinkFolder: stream.sink.folder,
      acknowledge,
      systemId: primary.systemId,
      segmentBytes: MIB,
    };
    return spawn(process.execPath, [join(import.meta.dirname, 'support/receiver-child.ts'), JSON.stringify(options)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
  };
  /** What is safe outside the server: the repository, then complete segments and the open one of the spool. */
  const safeEnd = async (stream: WalStream, withSpool: boolean): Promise<Lsn> => {
    const stored = (await storedIn(stream.sink.folder, MIB, primary.systemId)).holdings.ranges.at(-1)?.last ?? -1;
    let end = BigInt(stored + 1) * BigInt(MIB);
    if (!withSpool) return end;
    for (const name of (await readdir(stream.spoolFolder)).toSorted()) {
      const number = Number.parseInt(name.slice(8, 16), 16) * 4096 + Number.parseInt(name.slice(16, 24), 16);
      const { size } = await stat(join(stream.spoolFolder, name));
      const fileEnd = BigInt(number) * BigInt(MIB) + BigInt(size);
      if (fileEnd > end) end = fileEnd;
    }
    return end;
  };

  test.for(['repository', 'spool'] as const)(
    'G6: killed at any point, a receiver that acknowledges from the %s has lost nothing',
    async (acknowledge, { expect }) => {
      await using stream = await WalStream.open(primary, `killed_${acknowledge}`);
      const began = await primary.slotLsn(stream.slot);
      for (const [round, delayMs] of [30, 400, 120, 700, 0].entries()) {
        const process = child(stream, acknowledge);
        const ended = new Promise((resolve) => process.once('exit', resolve));
        let text = '';
        process.stdout?.on('data', (chunk) => {
          text += String(chunk);
        });
        await vi.waitFor(async () => {
          const [row] = await primary.server.query(
            'postgres',
            'select active from pg_replication_slots where slot_name = $1',
            [stream.slot],
          );
          expect(row?.['active'] === true || text !== '').toBe(true);
        }, 20_000);
        const writing = writeWal(primary.server, 2);
        await new Promise((resolve) => setTimeout(resolve, delayMs));
        process.kill('SIGKILL');
        await Promise.all([ended, writing]);
        const acknowledged = await primary.slotLsn(stream.slot);
        const safe = await safeEnd(stream, acknowledge === 'spool');
        if (acknowledged > began) expect([round, safe >= acknowledged]).toEqual([round, true]);
        await vi.waitFor(
          async () =>
            expect(
              await primary.server.query(
                'postgres',
                'select from pg_replication_slots where slot_name = $1 and active',
                [stream.slot],
              ),
            ).toEqual([]),
          10_000,
        );
      }
      await switchWal(primary.server);
      stream.start({ acknowledge });
      await stream.caughtUp();
      await stream.expectTruth();
      expect((await storedIn(stream.sink.folder, MIB, primary.systemId)).holdings.ranges).toHaveLength(1);
    },
  );
});

describe('slots', () => {
  const refusal = async (stream: WalStream): Promise<unknown> => await stream.run();

  test('a slot without a limit is refused', async () => {
    await using stream = await WalStream.open(primary, 'uncapped');
    await primary.server.query('postgres', 'alter system set max_slot_wal_keep_size = -1');
    await primary.server.query('postgres', 'select pg_reload_conf()');
    try {
      await vi.waitFor(async () => expect(await refusal(stream)).toEqual({ kind: 'refused', code: 'slot-uncapped' }), {
        timeout: 10_000,
        interval: 100,
      });
    } finally {
      await primary.server.query('postgres', 'alter system reset max_slot_wal_keep_size');
      await primary.server.query('postgres', 'select pg_reload_conf()');
    }
  });
  test('a missing slot is refused', async () => {
    await using stream = await WalStream.open(primary, 'missing', { withoutSlot: true });
    expect(await refusal(stream)).toEqual({ kind: 'refused', code: 'slot-missing' });
  });
  test('a slot that keeps nothing is refused', async () => {
    await using stream = await WalStream.open(primary, 'empty', { withoutSlot: true });
    await primary.server.query('postgres', "select pg_create_physical_replication_slot('empty')");
    expect(await refusal(stream)).toEqual({ kind: 'refused', code: 'slot-empty' });
  });
  test('a slot in use is refused', async () => {
    await using stream = await WalStream.open(primary, 'busy');
    stream.start();
    await vi.waitFor(() => expect(stream.state).toBeDefined(), 10_000);
    await using second = await WalStream.open(primary, 'busy', { withoutSlot: true });
    expect(await refusal(second)).toEqual({ kind: 'refused', code: 'slot-active' });
  });

  test('G7: a lost slot is refused; with a new slot the gap is found, and streaming goes on after it', async () => {
    await using stream = await WalStream.open(primary, 'lost');
    stream.start();
    await writeWal(primary.server, 2);
    await switchWal(primary.server);
    await stream.caughtUp();
    await stream.stop();
    const end = stream.state?.storedLsn ?? 0n;
    await primary.server.query('postgres', "alter system set max_slot_wal_keep_size = '2MB'");
    await primary.server.query('postgres', 'select pg_reload_conf()');
    await writeWal(primary.server, 8);
    await switchWal(primary.server);
    await primary.server.query('postgres', 'checkpoint');
    await vi.waitFor(async () => expect(await refusal(stream)).toEqual({ kind: 'refused', code: 'slot-lost' }), {
      timeout: 10_000,
      interval: 100,
    });
    await primary.server.query('postgres', 'alter system reset max_slot_wal_keep_size');
    await primary.server.query('postgres', 'select pg_reload_conf()');
    await dropReceiverSlot(primary.connection, 'lost', never);
    await createReceiverSlot(primary.connection, 'lost', never);
    const outcome = await stream.run();
    expect(outcome).toMatchObject({ kind: 'gap', timeline: 1, from: end });
    expect(outcome.kind === 'gap' && outcome.to !== null && outcome.to > end).toBe(true);
    stream.start({ afterGap: true });
    await writeWal(primary.server, 2);
    await switchWal(primary.server);
    await stream.caughtUp();
    const { holdings } = await storedIn(stream.sink.folder, MIB, primary.systemId);
    expect(findGaps(holdings)).toMatchObject([{ timeline: 1, from: end }]);
  });

  test('the WAL of another cluster is not continued', async () => {
    await using stream = await WalStream.open(primary, 'foreign');
    const stored = {
      systemId: '1',
      holdings: { segmentBytes: MIB, ranges: [{ timeline: 1, first: 1, last: 2 }], partials: [], histories: new Map() },
    };
    expect(await stream.run({ stored })).toEqual({ kind: 'refused', code: 'other-system' });
  });
});
