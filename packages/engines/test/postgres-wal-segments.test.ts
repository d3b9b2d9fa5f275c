import { copyFile, open, readdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { captureTool } from '@lastgood/host';
import { type PostgresServer, startPrimary, temporaryFolder } from '@lastgood/testkit';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { inspectSegment } from '../src/postgres/wal/inspect-segment.ts';
import { formatInstant, microsOfMs, parseInstant } from '../src/postgres/wal/instant.ts';
import { formatLsn, parseLsn } from '../src/postgres/wal/lsn.ts';
import type { SegmentExpectation } from '../src/postgres/wal/segment-check.ts';
import {
  historyName,
  parseWalName,
  partialName,
  segmentAt,
  segmentBefore,
  segmentName,
  segmentStart,
} from '../src/postgres/wal/segment-name.ts';
import type { OpenRecord } from '../src/postgres/wal/segment-reader.ts';
import { isAncestor, parseTimelineHistory, pathTo } from '../src/postgres/wal/timeline-history.ts';

const MIB = 2 ** 20;
const sizes = [1, 16, 64, 1024].map((mib) => mib * MIB);

describe('names', () => {
  test.for([
    ['00000001000000000000000A', { kind: 'segment', timeline: 1, number: 10 }],
    ['0000000A0000000100000000', { kind: 'segment', timeline: 10, number: 256 }],
    ['FFFFFFFF00000001000000FF', { kind: 'segment', timeline: 0xffffffff, number: 511 }],
    ['0000001B0000000100000002.partial', { kind: 'partial', timeline: 27, number: 258 }],
    ['000000010000000100000002.00000028.backup', { kind: 'backup-history', timeline: 1, number: 258, offset: 40 }],
    ['0000000B.history', { kind: 'history', timeline: 11 }],
  ] as const)('G8: %s', ([name, parsed], { expect }) => {
    expect(parseWalName(name, 16 * MIB)).toEqual(parsed);
  });
  test.for([
    '000000010000000000000100',
    '00000000000000000000000A',
    '00000001000000000000000a',
    '00000001000000000000000A.tmp',
    '.00000001000000000000000A',
    'x00000001000000000000000A',
    '1.history',
    'archtemp.00000001000000000000000A.12',
    '',
  ])('%j is not the name of an archived file', (name, { expect }) => {
    expect(parseWalName(name, 16 * MIB)).toBeNull();
  });
  test('names and positions agree for every segment size', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...sizes),
        fc.bigInt({ min: 1n, max: 2n ** 62n }),
        fc.integer({ min: 1, max: 0xffffffff }),
        (size, lsn, timeline) => {
          const number = segmentAt(lsn, size);
          expect(parseWalName(segmentName(timeline, number, size), size)).toEqual({
            kind: 'segment',
            timeline,
            number,
          });
          expect(parseWalName(partialName(timeline, number, size), size)).toEqual({
            kind: 'partial',
            timeline,
            number,
          });
          expect(parseWalName(historyName(timeline), size)).toEqual({ kind: 'history', timeline });
          expect(segmentStart(number, size) <= lsn && lsn < segmentStart(number + 1, size)).toBe(true);
          expect(parseLsn(formatLsn(lsn))).toBe(lsn);
        },
      ),
    );
  });
  test('at a boundary the last segment is the one before it', () => {
    expect(segmentBefore(parseLsn('0/B000000'), 16 * MIB)).toBe(10);
    expect(segmentBefore(parseLsn('0/B000001'), 16 * MIB)).toBe(11);
  });
});

describe('timelines', () => {
  const text = '1\t0/8C008468\tno recovery target specified\n\n# a comment\n2\t1/0\tbefore 2026-11-30\n';
  const history = [
    { timeline: 1, switchLsn: parseLsn('0/8C008468') },
    { timeline: 2, switchLsn: parseLsn('1/0') },
  ];
  test('a history is read', () => {
    expect(parseTimelineHistory(text, 11)).toEqual(history);
  });
  test.for(['', '1\n', '1\t0/0\n1\t0/1\n', '2\t0/5\n1\t0/6\n', '1\t0/5\n2\t0/4\n', '11\t0/5\n', 'x\t0/5\n'])(
    '%j is not a history of timeline 11',
    (broken, { expect }) => {
      expect(() => parseTimelineHistory(broken, 11)).toThrow('history is damaged');
    },
  );
  test('the segment with a switch is read from the newer timeline', () => {
    expect(
      pathTo(3, history, 16 * MIB).map(({ timeline, firstSegment, lastSegment }) => [
        timeline,
        firstSegment,
        lastSegment,
      ]),
    ).toEqual([
      [1, 0, 0x8b],
      [2, 0x8c, 0xff],
      [3, 0x100, null],
    ]);
  });
  test('a server can be followed only from where its timeline branched off, or before', () => {
    const at = (lsn: string, ancestor: number) => isAncestor(ancestor, parseLsn(lsn), 3, history);
    expect([
      at('0/8C008468', 1),
      at('0/8C008469', 1),
      at('0/90000000', 2),
      at('0/1', 2),
      at('1/1', 3),
      at('0/1', 3),
      at('0/1', 9),
    ]).toEqual([true, false, true, false, true, false, false]);
  });
});

describe('instants', () => {
  test.for([
    ['2026-11-30 14:05:00.25+01', '2026-11-30T13:05:00.250000Z'],
    ['2026-11-30T13:05Z', '2026-11-30T13:05:00.000000Z'],
    ['2026-11-30 13:05:07.123456 -0330', '2026-11-30T16:35:07.123456Z'],
    ['1999-12-31 23:59:59.999999+00:00', '1999-12-31T23:59:59.999999Z'],
    ['1969-12-31 23:59:59.999999Z', '1969-12-31T23:59:59.999999Z'],
  ] as const)('%s', ([text, utc], { expect }) => {
    const parsed = parseInstant(text);
    expect(parsed.kind === 'instant' ? formatInstant(parsed.instant) : parsed.kind).toBe(utc);
  });
  test.for([
    ['2026-11-30 14:05', 'no-offset'],
    ['2026-02-30 14:05Z', 'invalid'],
    ['2026-11-30 25:05Z', 'invalid'],
    ['2026-11-30 14:05+16', 'invalid'],
    ['2026-11-30 14:05 CET', 'invalid'],
    ['yesterday', 'invalid'],
    ['2026-11-30', 'invalid'],
  ] as const)('F11: %s is refused as %s', ([text, kind], { expect }) => {
    expect(parseInstant(text).kind).toBe(kind);
  });
  test('milliseconds become microseconds', () => {
    expect(formatInstant(microsOfMs(1_000.5))).toBe('1970-01-01T00:00:01.000000Z');
  });
});

describe('segments of a server', () => {
  const cleanup = new AsyncDisposableStack();
  let server: PostgresServer;
  let folder: string;
  let systemId: string;
  let majorVersion: number;
  let complete: string[];
  const expectation = (name: string, changes: Partial<SegmentExpectation> = {}): SegmentExpectation => {
    const parsed = parseWalName(name, MIB);
    if (parsed?.kind !== 'segment') throw new Error(name);
    const { timeline, number } = parsed;
    return { startLsn: segmentStart(number, MIB), timeline, segmentBytes: MIB, systemId, majorVersion, ...changes };
  };

  beforeAll(async () => {
    server = cleanup.use(
      await startPrimary({
        initdbArgs: ['--wal-segsize=1'],
        extraConf: 'max_prepared_transactions = 4\nwal_keep_size = 1GB\nsynchronous_commit = on',
      }),
    );
    const [about] = await server.query(
      'postgres',
      "select system_identifier::text as id, current_setting('server_version_num')::int / 10000 as major from pg_control_system()",
    );
    systemId = String(about?.['id']);
    majorVersion = Number(about?.['major']);
    await server.query('postgres', 'create table t (i bigint, x text)');
    // Commits of every size, so that some lie across pages and segments.
    for (let round = 0; round < 60; round += 1)
      await server.query(
        'postgres',
        `insert into t select i, repeat('y', ${round * 37}) from generate_series(1, 150) as i`,
      );
    await server.query(
      'postgres',
      "do $$ begin for i in 1..9000 loop insert into t values (i, repeat('z', i % 300)); commit; end loop; end $$",
    );
    await server.query(
      'postgres',
      "select pg_create_restore_point('before the change'), pg_create_restore_point('second')",
    );
    await server.query('postgres', "begin; insert into t values (1); prepare transaction 'p'");
    await server.query('postgres', "commit prepared 'p'");
    await server.query('postgres', 'begin; insert into t values (1); rollback');
    await server.query('postgres', 'select pg_switch_wal()');
    await server.query('postgres', 'insert into t values (2)');
    folder = join(server.dataDir, 'pg_wal');
    const [position] = await server.query('postgres', 'select pg_walfile_name(pg_current_wal_lsn()) as name');
    complete = (await readdir(folder))
      .filter((name) => parseWalName(name, MIB)?.kind === 'segment' && name < String(position?.['name']))
      .toSorted();
    expect(complete.length).toBeGreaterThan(5);
  }, 120_000);
  afterAll(() => cleanup.disposeAsync());

  test('are read as pg_waldump reads them', async ({ skip }) => {
    const waldump = '/usr/lib/postgresql/15/bin/pg_waldump';
    skip(majorVersion !== 15, 'pg_waldump of this version is not at hand');
    const last = complete.at(-1) ?? '';
    const dump = await captureTool(
      {
        file: waldump,
        args: ['-p', folder, complete[0] ?? '', last],
        signal: new AbortController().signal,
        timeoutMs: 60_000,
        acceptedExitCodes: [1],
      },
      64 * MIB,
    );
    const ends = [
      ...dump.stdout.matchAll(
        /^rmgr: Transaction .*lsn: (\S+), prev .*desc: (COMMIT|ABORT)\S* (?:\d+: )?(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ [A-Z]+)/gm,
      ),
    ];
    const lastRecord = [...dump.stdout.matchAll(/, lsn: (\S+), prev/g)].at(-1)?.[1] ?? '';
    let previous: OpenRecord | null = null;
    let [commits, earliest, latest] = [0, 2n ** 62n, 0n];
    let content = null;
    const points: unknown[] = [];
    for (const name of complete) {
      const inspected = await inspectSegment(join(folder, name), expectation(name), true, previous);
      expect(inspected.problem).toBeNull();
      content = inspected.content;
      previous = content?.openRecord ?? null;
      commits += content?.commits ?? 0;
      points.push(...(content?.restorePoints.map(({ name: point }) => point) ?? []));
      if (content?.earliestXactAt != null && content.earliestXactAt < earliest) earliest = content.earliestXactAt;
      if (content?.latestXactAt != null && content.latestXactAt > latest) latest = content.latestXactAt;
    }
    const times = ends
      .map(([, , , at]) => (at ?? '').replace(' UTC', 'Z'))
      .map((at) => parseInstant(at))
      .flatMap((at) => (at.kind === 'instant' ? [at.instant] : []));
    expect(times.length).toBe(ends.length);
    expect(commits).toBe(ends.filter(([, , kind]) => kind === 'COMMIT').length);
    expect(commits).toBeGreaterThan(9_000);
    expect([earliest, latest]).toEqual([
      times.reduce((a, b) => (a < b ? a : b)),
      times.reduce((a, b) => (a > b ? a : b)),
    ]);
    expect(points).toEqual(['before the change', 'second']);
    expect(content?.lastRecordLsn).toBe(parseLsn(lastRecord));
  });

  test('a segment without its predecessor is read as well', async () => {
    const name = complete[3] ?? '';
    const { problem, content } = await inspectSegment(join(folder, name), expectation(name), true, null);
    expect(problem).toBeNull();
    expect(content?.commits).toBeGreaterThan(0);
  });

  test.for([
    ['another server', { systemId: '7' }, 'wal-system'],
    ['another place', { startLsn: 0n }, 'wal-address'],
    ['an older timeline', { timeline: 0 }, 'wal-timeline'],
    ['another segment size', { segmentBytes: 16 * MIB }, 'wal-segment-size'],
    ['another version', { majorVersion: 13 }, 'wal-magic'],
  ] as const)('G2: a segment of %s is refused', async ([, changes, code], { expect }) => {
    const name = complete[1] ?? '';
    const { problem, content } = await inspectSegment(join(folder, name), expectation(name, changes), true, null);
    expect([problem?.code, content]).toEqual([code, null]);
  });

  test('G2: a segment that is cut, empty, too long or damaged in the middle is refused', async () => {
    await using scratch = await temporaryFolder();
    const name = complete[1] ?? '';
    const path = join(scratch.path, name);
    const codeAfter = async (damage: () => Promise<unknown>): Promise<string | undefined> => {
      await copyFile(join(folder, name), path);
      await damage();
      return (await inspectSegment(path, expectation(name), true, null)).problem?.code;
    };
    expect(await codeAfter(() => truncate(path, MIB / 2))).toBe('wal-size');
    expect(await codeAfter(() => truncate(path, 0))).toBe('wal-size');
    expect(await codeAfter(() => truncate(path, MIB + 8192))).toBe('wal-size');
    const overwrite = (at: number) => async () => {
      const file = await open(path, 'r+');
      await file.write(Buffer.alloc(8192), 0, 8192, at);
      await file.close();
    };
    expect(await codeAfter(overwrite(64 * 8192))).toBe('wal-page');
    expect(await codeAfter(overwrite(0))).toBe('wal-magic');
    expect(await codeAfter(() => writeFile(path, 'x'))).toBe('wal-size');
  });

  test('a partial segment may end anywhere', async () => {
    await using scratch = await temporaryFolder();
    const name = complete[1] ?? '';
    const path = join(scratch.path, name);
    await copyFile(join(folder, name), path);
    await truncate(path, 8192 * 10);
    const { problem, content } = await inspectSegment(path, expectation(name), false, null);
    expect(problem).toBeNull();
    const end = content?.endLsn ?? 0n;
    expect(end - expectation(name).startLsn).toBeGreaterThan(8192n * 8n);
    expect(end - expectation(name).startLsn).toBeLessThanOrEqual(8192n * 10n);
  });
});
