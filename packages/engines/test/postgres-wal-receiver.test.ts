import { type ChildProcess, spawn } from 'node:child_process';
import { chmod, chown, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import { systemClock } from '@lastgood/host';
import {
  type FolderServer,
  type PostgresServer,
  startOnFolder,
  startPrimary,
  startStandby,
  temporaryFolder,
} from '@lastgood/testkit';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { type PostgresConnection, postgresConnectionSchema } from '../src/postgres/connection-schema.ts';
import { sqlStateOf } from '../src/postgres/replication/replication-session.ts';
import { findGaps, rangesOf } from '../src/postgres/wal/continuity.ts';
import { type Lsn, parseLsn } from '../src/postgres/wal/lsn.ts';
import { createReceiverSlot, dropReceiverSlot, receiveWal } from '../src/postgres/wal/receiver.ts';
import type { ReceiverOptions, ReceiverOutcome, ReceiverState } from '../src/postgres/wal/receiver-options.ts';
import { planReceiverStart, type ServerPosition, type StoredWal } from '../src/postgres/wal/receiver-start.ts';
import type { SlotView } from '../src/postgres/wal/slot.ts';
import { FolderSink, storedIn } from './support/folder-sink.ts';

const MIB = 2 ** 20;
const never = new AbortController().signal;
const cleanup = new AsyncDisposableStack();
let server: PostgresServer;
let connection: PostgresConnection;
let systemId: string;
/** Where PostgreSQL itself archives: the truth to compare with. */
let truth: string;

beforeAll(async () => {
  truth = cleanup.use(await temporaryFolder()).path;
  await chmod(truth, 0o777);
  server = cleanup.use(
    await startPrimary({
      initdbArgs: ['--wal-segsize=1'],
      extraConf: `archive_mode = on\narchive_command = 'cp %p ${truth}/%f'\nsynchronous_commit = on\nwal_keep_size = 0\nmin_wal_size = 2MB\nmax_wal_size = 8MB`,
    }),
  );
  connection = postgresConnectionSchema.parse(server.connection);
  const [row] = await server.query('postgres', 'select system_identifier::text as id from pg_control_system()');
  systemId = String(row?.['id']);
  await server.query('postgres', 'create table t (i bigint, x text)');
}, 120_000);
afterAll(() => cleanup.disposeAsync());

const write = async (mib: number, to: { query: PostgresServer['query'] } = server): Promise<void> => {
  for (let each = 0; each < mib; each += 1)
    await to.query('postgres', "insert into t select i, repeat('x', 900) from generate_series(1, 1000) as i");
};
const switchWal = async (to: { query: PostgresServer['query'] } = server): Promise<void> => {
  await to.query('postgres', 'select pg_switch_wal()');
};
const slotLsn = async (slot: string): Promise<Lsn> => {
  const [row] = await server.query(
    'postgres',
    'select restart_lsn::text as lsn from pg_replication_slots where slot_name = $1',
    [slot],
  );
  return parseLsn(String(row?.['lsn']));
};
const flushedLsn = async (): Promise<Lsn> =>
  parseLsn(String((await server.query('postgres', 'select pg_current_wal_flush_lsn()::text as lsn'))[0]?.['lsn']));

/** One stream: its slot, its folders, and runs of its receiver. */
class Stream implements AsyncDisposable {
  readonly slot: string;
  readonly sink: FolderSink;
  readonly spoolFolder: string;
  state: ReceiverState | undefined;
  readonly #cleanup: AsyncDisposableStack;
  readonly #ownsSlot: boolean;
  readonly #connection: PostgresConnection;
  #stop = new AbortController();
  #running: Promise<ReceiverOutcome> | undefined;

  private constructor(
    slot: string,
    path: string,
    folders: AsyncDisposableStack,
    through: PostgresConnection,
    ownsSlot: boolean,
  ) {
    this.#ownsSlot = ownsSlot;
    this.slot = slot;
    this.spoolFolder = join(path, 'spool');
    this.sink = new FolderSink(join(path, 'sink'));
    this.#cleanup = folders;
    this.#connection = through;
  }
  static async open(
    slot: string,
    options: { withoutSlot?: boolean; through?: PostgresConnection } = {},
  ): Promise<Stream> {
    const folders = new AsyncDisposableStack();
    const { path } = folders.use(await temporaryFolder());
    for (const name of ['spool', 'sink']) await mkdir(join(path, name));
    const through = options.through ?? connection;
    if (options.withoutSlot !== true) await createReceiverSlot(through, slot, never);
    return new Stream(slot, path, folders, through, options.withoutSlot !== true);
  }
  async run(options: Partial<ReceiverOptions> = {}): Promise<ReceiverOutcome> {
    this.#stop = new AbortController();
    this.#running = receiveWal(
      {
        connection: this.#connection,
        slot: this.slot,
        spoolFolder: this.spoolFolder,
        spoolSegments: 100,
        sink: this.sink,
        stored: await storedIn(this.sink.folder, MIB, systemId),
        acknowledge: 'repository',
        afterGap: false,
        clock: systemClock,
        onState: (state) => {
          this.state = state;
        },
        ...options,
      },
      this.#stop.signal,
    );
    return await this.#running;
  }
  start(options: Partial<ReceiverOptions> = {}): Promise<ReceiverOutcome> {
    const running = this.run(options);
    running.catch(() => undefined);
    return running;
  }
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running?.catch(() => undefined);
  }
  /** Waits until everything that the server has flushed in complete segments is stored. */
  async caughtUp(): Promise<void> {
    const end = await flushedLsn();
    await vi.waitFor(() => expect(this.state?.storedLsn ?? 0n).toBeGreaterThanOrEqual(end - (end % BigInt(MIB))), {
      timeout: 30_000,
      interval: 50,
    });
  }
  /** Compares every stored segment with what the server archived by itself. */
  async expectTruth(): Promise<void> {
    const names = (await this.sink.names()).filter((name) => name.length === 24);
    for (const name of names) {
      await vi.waitFor(async () => expect(await readdir(truth)).toContain(name), 20_000);
      const [stored, archived] = await Promise.all([
        readFile(join(this.sink.folder, name)),
        readFile(join(truth, name)),
      ]);
      expect([name, stored.equals(archived)]).toEqual([name, true]);
    }
    const { holdings } = await storedIn(this.sink.folder, MIB, systemId);
    expect(findGaps(holdings)).toEqual([]);
    expect(names.length).toBeGreaterThan(0);
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    const isInUse = async (): Promise<boolean> =>
      await dropReceiverSlot(this.#connection, this.slot, never).then(
        () => false,
        (error: unknown) => sqlStateOf(error) === '55006',
      );
    if (this.#ownsSlot)
      await vi.waitFor(async () => expect(await isInUse()).toBe(false), { timeout: 10_000, interval: 100 });
    await this.#cleanup.disposeAsync();
  }
}

describe('receiving', () => {
  test('stores each segment with the bytes that the server archives', async () => {
    await using stream = await Stream.open('plain');
    stream.start();
    await write(5);
    await switchWal();
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
    await using stream = await Stream.open('slow');
    stream.sink.hold();
    stream.start();
    const before = await slotLsn('slow');
    await write(4);
    await switchWal();
    await vi.waitFor(() => expect(stream.state?.waitingSegments).toBeGreaterThan(2), { timeout: 20_000, interval: 50 });
    expect(await slotLsn('slow')).toBe(before);
    stream.sink.release();
    await stream.caughtUp();
    await vi.waitFor(async () => expect(await slotLsn('slow')).toBe(stream.state?.storedLsn), {
      timeout: 10_000,
      interval: 50,
    });
  });

  test('with the spool as the safe place the slot follows inside a segment', async () => {
    await using stream = await Stream.open('quick');
    stream.sink.hold();
    stream.start({ acknowledge: 'spool' });
    await write(1);
    const end = await flushedLsn();
    await vi.waitFor(async () => expect(await slotLsn('quick')).toBeGreaterThanOrEqual(end), {
      timeout: 20_000,
      interval: 50,
    });
    expect(end % BigInt(MIB)).not.toBe(0n);
    stream.sink.release();
  });

  test('a slow repository fills the spool up to its limit, then the server waits', async () => {
    await using stream = await Stream.open('limited');
    stream.sink.hold();
    stream.start({ spoolSegments: 2 });
    await write(8);
    await switchWal();
    await vi.waitFor(() => expect(stream.state?.waitingSegments).toBe(2), { timeout: 20_000, interval: 50 });
    await vi.waitFor(async () => {
      const [row] = await server.query(
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
    await using stream = await Stream.open('failing');
    stream.sink.failWith = new Failure('NO_SPACE', 'full');
    const first = stream.start();
    await write(3);
    await switchWal();
    await expect(first).rejects.toMatchObject({ code: 'NO_SPACE' });
    const before = await slotLsn('failing');
    stream.sink.failWith = undefined;
    await vi.waitFor(
      async () =>
        expect(
          await server.query('postgres', "select from pg_replication_slots where slot_name = 'failing' and active"),
        ).toEqual([]),
      10_000,
    );
    stream.start();
    await stream.caughtUp();
    await stream.expectTruth();
    await vi.waitFor(async () => expect(await slotLsn('failing')).toBeGreaterThan(before), {
      timeout: 10_000,
      interval: 50,
    });
  });

  test('G3: other bytes under a stored name end the run, and nothing is overwritten', async () => {
    await using stream = await Stream.open('conflict');
    stream.sink.hold();
    const first = stream.start();
    await write(2);
    await switchWal();
    await vi.waitFor(() => expect(stream.state?.waitingSegments).toBeGreaterThan(0), { timeout: 20_000, interval: 50 });
    const name = (await readdir(stream.spoolFolder)).toSorted()[0] ?? '';
    await writeFile(join(stream.sink.folder, name), 'other');
    stream.sink.release();
    expect(await first).toEqual({ kind: 'conflict', name });
    expect(await readFile(join(stream.sink.folder, name), 'utf8')).toBe('other');
  });

  test('G2: a spooled segment that was damaged is not stored', async () => {
    await using stream = await Stream.open('rotten');
    stream.sink.failWith = new Failure('NO_SPACE', 'full');
    const first = stream.start();
    await write(2);
    await switchWal();
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
  const child = (stream: Stream, acknowledge: 'repository' | 'spool'): ChildProcess => {
    const options = {
      connection,
      slot: stream.slot,
      spoolFolder: stream.spoolFolder,
      sinkFolder: stream.sink.folder,
      acknowledge,
      systemId,
      segmentBytes: MIB,
    };
    return spawn(process.execPath, [join(import.meta.dirname, 'support/receiver-child.ts'), JSON.stringify(options)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
  };
  /** What is safe outside the server: the repository, then complete segments and the open one of the spool. */
  const safeEnd = async (stream: Stream, withSpool: boolean): Promise<Lsn> => {
    const stored = (await storedIn(stream.sink.folder, MIB, systemId)).holdings.ranges.at(-1)?.last ?? -1;
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
      await using stream = await Stream.open(`killed_${acknowledge}`);
      const began = await slotLsn(stream.slot);
      for (const [round, delayMs] of [30, 400, 120, 700, 0].entries()) {
        const process = child(stream, acknowledge);
        const ended = new Promise((resolve) => process.once('exit', resolve));
        let text = '';
        process.stdout?.on('data', (chunk) => {
          text += String(chunk);
        });
        await vi.waitFor(async () => {
          const [row] = await server.query('postgres', 'select active from pg_replication_slots where slot_name = $1', [
            stream.slot,
          ]);
          expect(row?.['active'] === true || text !== '').toBe(true);
        }, 20_000);
        const writing = write(2);
        await new Promise((resolve) => setTimeout(resolve, delayMs));
        process.kill('SIGKILL');
        await Promise.all([ended, writing]);
        const acknowledged = await slotLsn(stream.slot);
        const safe = await safeEnd(stream, acknowledge === 'spool');
        if (acknowledged > began) expect([round, safe >= acknowledged]).toEqual([round, true]);
        await vi.waitFor(
          async () =>
            expect(
              await server.query('postgres', 'select from pg_replication_slots where slot_name = $1 and active', [
                stream.slot,
              ]),
            ).toEqual([]),
          10_000,
        );
      }
      await switchWal();
      stream.start({ acknowledge });
      await stream.caughtUp();
      await stream.expectTruth();
      expect((await storedIn(stream.sink.folder, MIB, systemId)).holdings.ranges).toHaveLength(1);
    },
  );
});

describe('slots', () => {
  const refusal = async (stream: Stream): Promise<unknown> => await stream.run();

  test('a slot without a limit is refused', async () => {
    await using stream = await Stream.open('uncapped');
    await server.query('postgres', 'alter system set max_slot_wal_keep_size = -1');
    await server.query('postgres', 'select pg_reload_conf()');
    try {
      await vi.waitFor(async () => expect(await refusal(stream)).toEqual({ kind: 'refused', code: 'slot-uncapped' }), {
        timeout: 10_000,
        interval: 100,
      });
    } finally {
      await server.query('postgres', 'alter system reset max_slot_wal_keep_size');
      await server.query('postgres', 'select pg_reload_conf()');
    }
  });
  test('a missing slot is refused', async () => {
    await using stream = await Stream.open('missing', { withoutSlot: true });
    expect(await refusal(stream)).toEqual({ kind: 'refused', code: 'slot-missing' });
  });
  test('a slot that keeps nothing is refused', async () => {
    await using stream = await Stream.open('empty', { withoutSlot: true });
    await server.query('postgres', "select pg_create_physical_replication_slot('empty')");
    expect(await refusal(stream)).toEqual({ kind: 'refused', code: 'slot-empty' });
  });
  test('a slot in use is refused', async () => {
    await using stream = await Stream.open('busy');
    stream.start();
    await vi.waitFor(() => expect(stream.state).toBeDefined(), 10_000);
    await using second = await Stream.open('busy', { withoutSlot: true });
    expect(await refusal(second)).toEqual({ kind: 'refused', code: 'slot-active' });
  });

  test('G7: a lost slot is refused; with a new slot the gap is found, and streaming goes on after it', async () => {
    await using stream = await Stream.open('lost');
    stream.start();
    await write(2);
    await switchWal();
    await stream.caughtUp();
    await stream.stop();
    const end = stream.state?.storedLsn ?? 0n;
    await server.query('postgres', "alter system set max_slot_wal_keep_size = '2MB'");
    await server.query('postgres', 'select pg_reload_conf()');
    await write(8);
    await switchWal();
    await server.query('postgres', 'checkpoint');
    await vi.waitFor(async () => expect(await refusal(stream)).toEqual({ kind: 'refused', code: 'slot-lost' }), {
      timeout: 10_000,
      interval: 100,
    });
    await server.query('postgres', 'alter system reset max_slot_wal_keep_size');
    await server.query('postgres', 'select pg_reload_conf()');
    await dropReceiverSlot(connection, 'lost', never);
    await createReceiverSlot(connection, 'lost', never);
    const outcome = await stream.run();
    expect(outcome).toMatchObject({ kind: 'gap', timeline: 1, from: end });
    expect(outcome.kind === 'gap' && outcome.to !== null && outcome.to > end).toBe(true);
    stream.start({ afterGap: true });
    await write(2);
    await switchWal();
    await stream.caughtUp();
    const { holdings } = await storedIn(stream.sink.folder, MIB, systemId);
    expect(findGaps(holdings)).toMatchObject([{ timeline: 1, from: end }]);
  });

  test('the WAL of another cluster is not continued', async () => {
    await using stream = await Stream.open('foreign');
    const stored = {
      systemId: '1',
      holdings: { segmentBytes: MIB, ranges: [{ timeline: 1, first: 1, last: 2 }], partials: [], histories: new Map() },
    };
    expect(await stream.run({ stored })).toEqual({ kind: 'refused', code: 'other-system' });
  });
});

describe('timelines', () => {
  test('a promotion while streaming: the end of the old timeline, its history, and the new one without a gap', async () => {
    const standby = cleanup.use(await startStandby(server));
    const through = { ...connection, port: standby.port };
    await using stream = await Stream.open('promoted', { through });
    stream.start();
    await write(2);
    await vi.waitFor(() => expect(stream.state?.receivedLsn ?? 0n).toBeGreaterThan(0n), {
      timeout: 20_000,
      interval: 50,
    });
    await standby.query('postgres', 'select pg_promote()');
    await write(2, standby);
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
    const { holdings } = await storedIn(stream.sink.folder, MIB, systemId);
    expect(findGaps(holdings)).toEqual([]);
    const partial = stream.sink.appended.find(({ kind }) => kind === 'partial');
    expect(partial?.content?.endLsn).toBe(holdings.histories.get(2)?.[0]?.switchLsn);
  });

  test('an old primary that died: what only it had is kept as a partial segment, and the promoted server is followed', async () => {
    await using primary = await startPrimary({ initdbArgs: ['--wal-segsize=1'], extraConf: 'synchronous_commit = on' });
    const [row] = await primary.query('postgres', 'select system_identifier::text as id from pg_control_system()');
    const old = postgresConnectionSchema.parse(primary.connection);
    await primary.query('postgres', 'create table t (i bigint, x text)');
    await using standby = await startStandby(primary);
    const through = { ...old, port: standby.port };
    await createReceiverSlot(through, 'moving', never);
    await createReceiverSlot(old, 'moving', never);
    await using stream = await Stream.open('moving', { through: old, withoutSlot: true });
    const own = { connection: old, stored: await storedIn(stream.sink.folder, MIB, String(row?.['id'])) };
    stream.start(own);
    await write(2, primary);
    await vi.waitFor(
      async () => {
        const [behind] = await primary.query(
          'postgres',
          'select count(*)::int as n from pg_stat_replication where flush_lsn < pg_current_wal_flush_lsn()',
        );
        expect([behind?.['n'], stream.state?.receivedLsn]).toEqual([expect.any(Number), stream.state?.serverLsn]);
      },
      { timeout: 20_000, interval: 50 },
    );
    await stream.stop();
    await primary.stop();
    await standby.query('postgres', 'select pg_promote()');
    await write(2, standby);
    await switchWal(standby);
    const stored = await storedIn(stream.sink.folder, MIB, String(row?.['id']));
    stream.start({ connection: through, stored });
    await vi.waitFor(
      async () =>
        expect(
          (await stream.sink.names()).filter((name) => name.startsWith('00000002') && name.length === 24).length,
        ).toBeGreaterThan(1),
      { timeout: 20_000, interval: 100 },
    );
    const { holdings } = await storedIn(stream.sink.folder, MIB, String(row?.['id']));
    expect(findGaps(holdings)).toEqual([]);
    expect((await stream.sink.names()).filter((name) => name.endsWith('.partial'))).toHaveLength(1);
  });

  test('G8: eleven promotions, up to timeline C', async () => {
    await using primary = await startPrimary({
      initdbArgs: ['--wal-segsize=1'],
      extraConf: "restore_command = 'false'\nwal_keep_size = 1GB",
    });
    const id = String(
      (await primary.query('postgres', 'select system_identifier::text as id from pg_control_system()'))[0]?.['id'],
    );
    const login = postgresConnectionSchema.parse(primary.connection);
    await createReceiverSlot(login, 'eleven', never);
    await primary.query('postgres', 'create table t (i bigint, x text)');
    await primary.stop();
    const { uid, gid } = await stat(primary.dataDir);
    let current: FolderServer | undefined;
    for (let promotion = 0; promotion < 11; promotion += 1) {
      await current?.stop();
      await writeFile(join(primary.dataDir, 'recovery.signal'), '');
      await chown(join(primary.dataDir, 'recovery.signal'), uid, gid);
      current = await startOnFolder(primary, primary.dataDir);
      await vi.waitFor(
        async () =>
          expect((await current?.query('postgres', 'select pg_is_in_recovery() as r'))?.[0]?.['r']).toBe(false),
        { timeout: 20_000, interval: 50 },
      );
      await write(1, current);
    }
    await using last = current as FolderServer;
    await switchWal(last);
    await using stream = await Stream.open('eleven', { withoutSlot: true, through: { ...login, port: last.port } });
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

describe('where a receiver starts', () => {
  const at = (segments: number): Lsn => BigInt(Math.round(segments * MIB));
  const slot = { name: 's', isActive: false, restartLsn: at(7.5), walStatus: 'reserved', safeWalBytes: 1 } as const;
  const view: SlotView = { systemId: 'a', segmentBytes: MIB, majorVersion: 15, slotLimitBytes: 1, slot };
  const one: ServerPosition = { timeline: 1, flushLsn: at(9.5), history: [] };
  const two: ServerPosition = { timeline: 2, flushLsn: at(9.5), history: [{ timeline: 1, switchLsn: at(8.5) }] };
  const stored = (...segments: [number, number][]): StoredWal => ({
    systemId: segments.length === 0 ? null : 'a',
    holdings: {
      segmentBytes: MIB,
      ranges: rangesOf(segments.map(([timeline, number]) => ({ timeline, number }))),
      partials: [],
      histories: new Map(),
    },
  });
  const start = (timeline: number, segment: number) => ({ kind: 'start', timeline, lsn: at(segment) });
  test.for([
    ['an empty repository: at the segment of the slot', view, one, stored(), false, start(1, 7)],
    [
      'an empty repository after a promotion',
      { ...view, slot: { ...slot, restartLsn: at(8.7) } },
      two,
      stored(),
      false,
      start(2, 8),
    ],
    ['where the stored WAL ends', view, one, stored([1, 4], [1, 5]), false, start(1, 6)],
    ['where it ends, although the slot is behind', view, one, stored([1, 8]), false, start(1, 9)],
    ['after a hole in what is stored: at its end', view, one, stored([1, 4], [1, 8]), false, start(1, 9)],
    ['after a gap: at the slot', view, one, stored([1, 4]), true, start(1, 7)],
    ['on the old timeline, up to the promotion', view, two, stored([1, 6]), false, start(1, 7)],
    ['with the old timeline complete: on the new one', view, two, stored([1, 7]), false, start(2, 8)],
    [
      'with more of the old timeline than the promotion took: on the new one',
      view,
      two,
      stored([1, 7], [1, 8], [1, 9]),
      false,
      start(2, 8),
    ],
    ['on the new timeline', view, two, stored([1, 7], [2, 8]), false, start(2, 9)],
    ['from an old primary', view, one, stored([1, 7], [2, 8]), false, { kind: 'refused', code: 'other-timeline' }],
    [
      'from an unrelated timeline',
      view,
      { ...two, timeline: 3, history: [{ timeline: 2, switchLsn: at(1) }] },
      stored([1, 7]),
      false,
      { kind: 'refused', code: 'other-timeline' },
    ],
    [
      'from a server that was set back',
      view,
      { ...one, flushLsn: at(5) },
      stored([1, 8]),
      false,
      { kind: 'refused', code: 'server-behind' },
    ],
    ['at the very end of an idle server', view, { ...one, flushLsn: at(9) }, stored([1, 8]), false, start(1, 9)],
  ] as const)('%s', ([, slotView, position, wal, afterGap, expected], { expect }) => {
    expect(planReceiverStart(slotView, position, wal, afterGap)).toEqual(expected);
  });
});
