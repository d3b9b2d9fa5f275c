import { type PostgresServer, startPrimary } from '@lastgood/testkit';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { type PostgresConnection, postgresConnectionSchema } from '../src/postgres/connection-schema.ts';
import { checkStreamSettings, readStreamSettings } from '../src/postgres/physical/settings-check.ts';
import { Session } from '../src/postgres/session.ts';
import { rangesOf, type WalHoldings } from '../src/postgres/wal/continuity.ts';
import { readServerWal, type ServerWalView, switchWal } from '../src/postgres/wal/server-view.ts';
import {
  judgeStream,
  type StreamJudgment,
  type StreamMemory,
  type StreamMethod,
} from '../src/postgres/wal/stream-judgment.ts';

const SIZE = 2 ** 20;
const never = new AbortController().signal;
const at = (segments: number): bigint => BigInt(Math.round(segments * SIZE));
const second = (seconds: number): bigint => 1_800_000_000_000_000n + BigInt(seconds) * 1_000_000n;
const archive: StreamMethod = { kind: 'archive' };
const receiver: StreamMethod = { kind: 'receiver', slot: 's', applicationName: 'lastgood_wal' };
const slot = { name: 's', isActive: true, restartLsn: at(7), walStatus: 'reserved', safeWalBytes: 100 * SIZE } as const;
const sender = { applicationName: 'lastgood_wal', flushLsn: at(7), replyAt: second(0) };
const archiver = {
  isOn: true,
  failedCount: 0,
  lastFailedName: null,
  lastArchivedName: null,
  ready: { count: 0, oldestAt: null },
  statsReset: 'x',
};
const healthy: ServerWalView = {
  at: second(0),
  isStandby: false,
  systemId: 'a',
  timeline: 1,
  segmentBytes: SIZE,
  flushLsn: at(9.5),
  archiver,
  slotLimitBytes: SIZE,
  slots: [slot],
  senders: [sender],
};
const holdings = (...numbers: number[]): WalHoldings => ({
  segmentBytes: SIZE,
  ranges: rangesOf(numbers.map((number) => ({ timeline: 1, number }))),
  partials: [],
  histories: new Map(),
});

/** One look after the other; each is the healthy server with changes. */
function judge(
  method: StreamMethod,
  ...looks: { seconds: number; stored: number[]; streamed?: number; view?: Partial<ServerWalView> }[]
): StreamJudgment {
  let memory: StreamMemory | null = null;
  let judgment: StreamJudgment | undefined;
  for (const { seconds, stored, streamed, view } of looks) {
    const wal = {
      systemId: 'a',
      holdings: holdings(...stored),
      streamedLsn: streamed === undefined ? null : at(streamed),
    };
    judgment = judgeStream(method, { ...healthy, at: second(seconds), ...view }, wal, memory);
    memory = judgment.memory;
  }
  if (judgment === undefined) throw new Error('no look');
  return judgment;
}
const codes = ({ status, findings }: StreamJudgment): string[] => [status.state, ...findings.map(({ code }) => code)];
const TO_8 = [5, 6, 7, 8];
const TO_7 = [5, 6, 7];

describe('an archive', () => {
  test('with every complete segment stored is current, and idle when nothing was written since', () => {
    expect(codes(judge(archive, { seconds: 0, stored: TO_8 }))).toEqual(['current']);
    expect(codes(judge(archive, { seconds: 0, stored: TO_8 }, { seconds: 600, stored: TO_8 }))).toEqual(['idle']);
    expect(
      codes(judge(archive, { seconds: 0, stored: TO_8, view: { flushLsn: at(9.4) } }, { seconds: 15, stored: TO_8 })),
    ).toEqual(['current']);
  });
  test('at a boundary, the segment after it does not exist yet', () => {
    const view = { flushLsn: at(9) };
    expect(codes(judge(archive, { seconds: 0, stored: TO_8, view }, { seconds: 600, stored: TO_8, view }))).toEqual([
      'idle',
    ]);
  });
  test('that is off is reported', () => {
    expect(
      codes(judge(archive, { seconds: 0, stored: TO_8, view: { archiver: { ...archiver, isOn: false } } })),
    ).toEqual(['current', 'wal-archiving-off']);
  });
  test('whose command fails is reported at the next look, and not for failures of the past or a reset', () => {
    const failing = (failedCount: number, statsReset = 'x') => ({
      archiver: { ...archiver, failedCount, statsReset, lastFailedName: 'f' },
    });
    expect(
      judge(archive, { seconds: 0, stored: TO_8, view: failing(2) }, { seconds: 15, stored: TO_8, view: failing(5) })
        .findings,
    ).toEqual([{ code: 'wal-archive-failing', failures: 3, name: 'f' }]);
    expect(codes(judge(archive, { seconds: 0, stored: TO_8, view: failing(5) }))).toEqual(['current']);
    expect(
      codes(
        judge(
          archive,
          { seconds: 0, stored: TO_8, view: failing(5) },
          { seconds: 15, stored: TO_8, view: failing(1, 'y') },
        ),
      ),
    ).toEqual(['idle']);
  });
  test('with files that wait for a minute is stalled', () => {
    const waiting = { archiver: { ...archiver, ready: { count: 3, oldestAt: second(0) } } };
    expect(codes(judge(archive, { seconds: 59, stored: TO_7, view: waiting }))).toEqual(['current']);
    expect(codes(judge(archive, { seconds: 60, stored: TO_7, view: waiting }))).toEqual([
      'stalled',
      'wal-archive-stalled',
    ]);
  });
  test('whose segments went elsewhere is stalled after a minute', () => {
    expect(codes(judge(archive, { seconds: 0, stored: TO_7 }, { seconds: 59, stored: TO_7 }))).toEqual(['current']);
    expect(judge(archive, { seconds: 0, stored: TO_7 }, { seconds: 60, stored: TO_7 }).findings).toEqual([
      { code: 'wal-archived-elsewhere', missingFrom: at(8), since: second(0) },
    ]);
    expect(
      codes(judge(archive, { seconds: 0, stored: TO_7 }, { seconds: 30, stored: TO_8 }, { seconds: 70, stored: TO_8 })),
    ).toEqual(['idle']);
  });
  test('G1: with a hole is reported with its span', () => {
    expect(judge(archive, { seconds: 0, stored: [5, 7, 8] }).findings).toEqual([
      { code: 'wal-gap', timeline: 1, from: at(6), to: at(7) },
    ]);
  });
  test('of another cluster is reported', () => {
    expect(codes(judge(archive, { seconds: 0, stored: TO_8, view: { systemId: 'b' } }))).toEqual([
      'current',
      'wal-other-system',
    ]);
  });
  test('G12: the exposure begins when WAL was first seen that is not stored, also on an idle server', () => {
    const idle = judge(
      archive,
      { seconds: 0, stored: TO_8, view: { flushLsn: at(9) } },
      { seconds: 15, stored: TO_8 },
      { seconds: 900, stored: TO_8 },
    );
    expect([idle.status.state, idle.status.unstoredSince]).toEqual(['idle', second(15)]);
    const stored = judge(
      archive,
      { seconds: 0, stored: TO_8 },
      { seconds: 15, stored: [...TO_8, 9], view: { flushLsn: at(10) } },
    );
    expect(stored.status).toEqual({ state: 'current', serverLsn: at(10), storedLsn: at(10), unstoredSince: null });
  });
});

describe('a receiver', () => {
  test('that follows is current, and idle when nothing was written', () => {
    expect(codes(judge(receiver, { seconds: 0, stored: TO_8 }))).toEqual(['current']);
    expect(codes(judge(receiver, { seconds: 0, stored: TO_8 }, { seconds: 600, stored: TO_8 }))).toEqual(['idle']);
  });
  test('with a segment that fills slowly is not stalled', () => {
    expect(
      codes(judge(receiver, { seconds: 0, stored: TO_8 }, { seconds: 600, stored: TO_8, view: { flushLsn: at(9.9) } })),
    ).toEqual(['current']);
  });
  test('that does not follow for half a minute is stalled', () => {
    const view = { flushLsn: at(12) };
    expect(codes(judge(receiver, { seconds: 0, stored: TO_8, view }, { seconds: 29, stored: TO_8, view }))).toEqual([
      'current',
    ]);
    expect(judge(receiver, { seconds: 0, stored: TO_8, view }, { seconds: 30, stored: TO_8, view }).findings).toEqual([
      { code: 'wal-receiver-stalled', behindBytes: at(3), since: second(0) },
    ]);
    expect(
      codes(judge(receiver, { seconds: 0, stored: TO_8, view }, { seconds: 30, stored: TO_8, streamed: 11.9, view })),
    ).toEqual(['current']);
  });
  test('that is absent for half a minute is reported', () => {
    const gone = { senders: [] };
    expect(
      codes(judge(receiver, { seconds: 0, stored: TO_8, view: gone }, { seconds: 15, stored: TO_8, view: gone })),
    ).toEqual(['idle']);
    expect(
      codes(judge(receiver, { seconds: 0, stored: TO_8, view: gone }, { seconds: 30, stored: TO_8, view: gone })),
    ).toEqual(['stalled', 'wal-receiver-absent']);
    expect(
      codes(
        judge(
          receiver,
          { seconds: 0, stored: TO_8, view: gone },
          { seconds: 15, stored: TO_8 },
          { seconds: 40, stored: TO_8, view: gone },
        ),
      ),
    ).toEqual(['idle']);
  });
  test.for([
    ['no slot', { slots: [] }, ['stalled', 'wal-slot-missing']],
    ['G7: a lost slot', { slots: [{ ...slot, walStatus: 'lost', restartLsn: null }] }, ['stalled', 'wal-slot-lost']],
    [
      'a slot that will soon be lost',
      { slots: [{ ...slot, walStatus: 'unreserved', safeWalBytes: -33_554_528 }] },
      ['current', 'wal-slot-at-risk'],
    ],
    [
      'less than two segments left',
      { slots: [{ ...slot, safeWalBytes: 2 * SIZE - 1 }] },
      ['current', 'wal-slot-at-risk'],
    ],
    ['M16: a slot without a limit', { slotLimitBytes: null }, ['current', 'wal-slot-uncapped']],
  ] as const)('with %s', ([, view, expected], { expect }) => {
    expect(codes(judge(receiver, { seconds: 0, stored: TO_8, view }))).toEqual(expected);
  });
});

describe('with a server', () => {
  const cleanup = new AsyncDisposableStack();
  let server: PostgresServer;
  let connection: PostgresConnection;
  let session: Session;
  beforeAll(async () => {
    server = cleanup.use(
      await startPrimary({
        initdbArgs: ['--wal-segsize=1'],
        extraConf: "archive_mode = on\narchive_command = 'true'\nsynchronous_commit = on",
      }),
    );
    connection = postgresConnectionSchema.parse(server.connection);
    await server.query('postgres', "create role watcher login password 'w'; grant pg_monitor to watcher");
    const { writeFile } = await import('node:fs/promises');
    await writeFile(`${server.passfile}-w`, '*:*:*:watcher:w\n', { mode: 0o600 });
    session = cleanup.use(
      await Session.open({ ...connection, user: 'watcher', passfile: `${server.passfile}-w` }, 'postgres', never),
    );
    await server.query('postgres', 'create table t (i int)');
  }, 120_000);
  afterAll(() => cleanup.disposeAsync());
  const change = async (setting: string): Promise<void> => {
    await server.query('postgres', `alter system set ${setting}`);
    await server.query('postgres', 'select pg_reload_conf()');
  };
  const segment = async (): Promise<void> => {
    await server.query('postgres', 'insert into t values (1)');
    await server.query('postgres', 'select pg_switch_wal()');
  };
  /** Checks repeatedly, with a clock that runs a hundred times faster, until a code is there. */
  const untilFound = async (code: string, stored: WalHoldings): Promise<void> => {
    let memory: StreamMemory | null = null;
    const thresholds = { waitingMicros: 600_000n, stallMicros: 300_000n };
    await vi.waitFor(
      async () => {
        const view = await readServerWal(session);
        const judgment = judgeStream(
          archive,
          view,
          { systemId: view.systemId, holdings: stored, streamedLsn: null },
          memory,
          thresholds,
        );
        memory = judgment.memory;
        expect(judgment.findings.map((finding) => finding.code)).toContain(code);
      },
      { timeout: 20_000, interval: 150 },
    );
  };
  const upTo = (number: number): WalHoldings => holdings(...Array.from({ length: number + 1 }, (_, index) => index));

  test('a role of pg_monitor reads everything that is compared', async () => {
    await segment();
    const view = await readServerWal(session);
    const [row] = await server.query(
      'postgres',
      'select system_identifier::text as id, extract(epoch from now())::bigint::text as at from pg_control_system()',
    );
    expect(view).toMatchObject({
      isStandby: false,
      systemId: row?.['id'],
      timeline: 1,
      segmentBytes: SIZE,
      archiver: { isOn: true, ready: { count: expect.any(Number) } },
    });
    expect(Number(view.at / 1_000_000n) - Number(row?.['at'])).toBeLessThan(5);
    expect(view.flushLsn).toBeGreaterThan(0n);
  });
  test('an archive_command that stores nothing is detected', async () => {
    const view = await readServerWal(session);
    await segment();
    await segment();
    await untilFound('wal-archived-elsewhere', upTo(Number(view.flushLsn / BigInt(SIZE)) - 1));
  });
  test('a failing archive_command is found by its counter, then by what waits', async () => {
    await change("archive_command = 'false'");
    await segment();
    await untilFound('wal-archive-failing', upTo(1_000));
    await untilFound('wal-archive-stalled', upTo(1_000));
    await change("archive_command = 'true'");
  });
  test('a switch needs its privilege, and does nothing on an idle server', async () => {
    await expect(switchWal(session)).rejects.toMatchObject({ code: 'DATABASE_REFUSED' });
    await server.query('postgres', 'grant execute on function pg_switch_wal() to watcher');
    await server.query('postgres', 'insert into t values (1)');
    const first = await switchWal(session);
    await vi.waitFor(async () => expect(await switchWal(session)).toBe(await switchWal(session)), 10_000);
    expect(await switchWal(session)).toBeGreaterThanOrEqual(first);
  });
  test('the lines that the settings lack are accepted by the server', async () => {
    await using plain = await startPrimary({
      extraConf: 'wal_level = minimal\nmax_wal_senders = 0\nmax_slot_wal_keep_size = -1\ntrack_commit_timestamp = off',
    });
    await using own = await Session.open(postgresConnectionSchema.parse(plain.connection), 'postgres', never);
    const wanted = {
      method: 'archive',
      archiveCommand: '\'/opt/it\'\'s\' "%p" "%f"',
      rpoSeconds: 60,
    } as const;
    const check = checkStreamSettings(await readStreamSettings(own), wanted);
    expect(check.changes.map(({ name, needsRestart }) => [name, needsRestart])).toEqual([
      ['wal_level', true],
      ['max_wal_senders', true],
      ['archive_mode', true],
      ['archive_command', false],
      ['archive_timeout', false],
    ]);
    for (const { sql } of check.changes) await plain.query('postgres', sql);
    await plain.query('postgres', 'select pg_reload_conf()');
    await vi.waitFor(
      async () =>
        expect(checkStreamSettings(await readStreamSettings(own), wanted)).toMatchObject({
          changes: [],
          pendingRestart: ['wal_level', 'max_wal_senders', 'archive_mode'],
          resultingRpoSeconds: null,
        }),
      10_000,
    );
  });
});
