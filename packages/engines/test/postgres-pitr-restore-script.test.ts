import { chmod, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import { runTool } from '@lastgood/host';
import { temporaryFolder } from '@lastgood/testkit';
import { beforeEach, describe, expect, test } from 'vitest';
import { holdCopy, releaseCopy } from '../src/postgres/point-in-time/hold-copy.ts';
import { restoreCommand } from '../src/postgres/point-in-time/restore-script.ts';
import { type SegmentSource, WalPrefetch } from '../src/postgres/point-in-time/wal-prefetch.ts';

const MIB = 2 ** 20;
const name = (number: number): string => `00000001000000000000000${number.toString(16).toUpperCase()}`;
const history = '00000002.history';
let folder: string;
let data: string;
let prefetch: WalPrefetch;
let fetched: number[];
/** Delivers segment 5 and 6, then fails. */
const source: SegmentSource = {
  fetch: async ({ number }, to) => {
    if (number > 6) throw new Failure('BACKUP_CORRUPT', `segment ${number} is damaged`);
    fetched.push(number);
    await writeFile(to, `segment ${number}`);
  },
};
const files = [5, 6, 7].map((number) => ({ timeline: 1, number, isPartial: false }));

beforeEach(async () => {
  const own = await temporaryFolder();
  const { path } = own;
  folder = join(path, "it's private");
  data = join(path, 'data');
  fetched = [];
  await mkdir(join(data, 'pg_wal'), { recursive: true });
  // The server runs as long as this process does.
  await writeFile(join(data, 'postmaster.pid'), `${process.pid}\n${data}\n`);
  prefetch = new WalPrefetch({
    folder,
    files,
    histories: new Map([[2, '1\t0/5\tx\n']]),
    segmentBytes: MIB,
    ahead: 2,
    owner: null,
    source,
  });
  await prefetch.prepare();
  return () => own[Symbol.asyncDispose]();
});

const restore = async (wal: string, to = 'pg_wal/RECOVERYXLOG'): Promise<number> => {
  const call = {
    file: prefetch.scriptPath,
    args: [wal, to],
    cwd: data,
    signal: new AbortController().signal,
    timeoutMs: 20_000,
  };
  return (await runTool({ ...call, acceptedExitCodes: [1, 2, 126] })).exitCode;
};
const fetchAll = async (): Promise<unknown> =>
  await prefetch.run(new AbortController().signal).catch((error: unknown) => error);

describe('restore_command', () => {
  test('moves a fetched segment, which makes room for the next', async () => {
    const fetching = fetchAll();
    expect(await restore(name(5))).toBe(0);
    expect(await readFile(join(data, 'pg_wal/RECOVERYXLOG'), 'utf8')).toBe('segment 5');
    expect(await restore(name(6))).toBe(0);
    expect(fetched).toEqual([5, 6]);
    expect(await fetching).toMatchObject({ code: 'BACKUP_CORRUPT' });
    expect((await readdir(folder)).toSorted()).toContain('failed');
  });
  test('waits for a segment that is on its way', async () => {
    const waiting = restore(name(5));
    const fetching = fetchAll();
    expect(await waiting).toBe(0);
    await fetching;
  });
  test('a segment that is wanted early is fetched although others wait', async () => {
    const stop = new AbortController();
    const narrow = new WalPrefetch({
      folder,
      files: files.slice(0, 2),
      histories: new Map(),
      segmentBytes: MIB,
      ahead: 1,
      owner: null,
      source,
    });
    const fetching = narrow.run(stop.signal);
    expect(await restore(name(6))).toBe(0);
    expect(await restore(name(5))).toBe(0);
    await fetching;
    expect(narrow.fetched).toBe(2);
  });
  test('G13: a planned segment that cannot be had ends the recovery with 126', async () => {
    const waiting = restore(name(7));
    await fetchAll();
    expect(await waiting).toBe(126);
  });
  test('I10: a script whose server was killed ends', async () => {
    const waiting = restore(name(5));
    await writeFile(join(data, 'postmaster.pid'), '4194300\n');
    expect(await waiting).toBe(126);
    await rm(join(data, 'postmaster.pid'));
    expect(await restore(name(5))).toBe(126);
  });
  test('what the plan does not read is absent: 1', async () => {
    expect(await restore(name(8))).toBe(1);
    expect(await restore('00000003.history')).toBe(1);
    expect(await readFile(join(folder, 'absent'), 'utf8')).toBe(`${name(8)}\n00000003.history\n`);
  });
  test('a segment that was handed over is taken from pg_wal, and must be there', async () => {
    const fetching = fetchAll();
    expect(await restore(name(5), `pg_wal/${name(5)}`)).toBe(0);
    expect(await restore(name(5))).toBe(1);
    await rm(join(data, 'pg_wal', name(5)));
    expect(await restore(name(5))).toBe(126);
    await fetching;
  });
  test('a history is copied as often as it is asked for', async () => {
    for (let each = 0; each < 2; each += 1) expect(await restore(history, 'pg_wal/RECOVERYHISTORY')).toBe(0);
    expect(await readFile(join(data, 'pg_wal/RECOVERYHISTORY'), 'utf8')).toBe('1\t0/5\tx\n');
  });
  test.for(['planned', 'given'])(
    'without its list %s it does not say that something is absent',
    async (list, { expect }) => {
      await rm(join(folder, list));
      expect(await restore(name(list === 'planned' ? 8 : 5))).toBe(126);
    },
  );
  test('a target that cannot be written to is 126', async () => {
    const stop = new AbortController();
    const fetching = prefetch.run(stop.signal).catch((error: unknown) => error);
    expect(await restore(name(5), 'absent/RECOVERYXLOG')).toBe(126);
    expect(await restore(history, 'absent/RECOVERYHISTORY')).toBe(126);
    stop.abort();
    await fetching;
  });
  test('is quoted for PostgreSQL and for the shell', () => {
    expect(restoreCommand("/it's 100%/x")).toBe(`'/it'\\''s 100%%/x' "%f" "%p"`);
  });
});

test('a held copy archives nothing until it is released, and keeps its own settings', async () => {
  const path = join(data, 'postgresql.auto.conf');
  await writeFile(path, "# Do not edit this file manually!\narchive_mode = 'on'");
  await chmod(path, 0o640);
  await holdCopy(data);
  await holdCopy(data);
  const held = await readFile(path, 'utf8');
  expect(held.match(/archive_mode/g)).toHaveLength(2);
  expect(held.trimEnd().split('\n').slice(-3, -1)).toEqual([
    "archive_mode = 'off'",
    'max_logical_replication_workers = 0',
  ]);
  await releaseCopy(data);
  expect(await readFile(path, 'utf8')).toBe("# Do not edit this file manually!\narchive_mode = 'on'\n");
});
