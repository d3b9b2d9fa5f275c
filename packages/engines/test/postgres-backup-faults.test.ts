import { readdirSync, readFileSync } from 'node:fs';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import {
  type Lie,
  lyingTool,
  type PostgresServer,
  seedShop,
  smallFileSystem,
  startPostgres,
  temporaryFolder,
} from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { EngineHarness } from './support/engine-harness.ts';

const MIB = 1024 * 1024;
const cleanup = new AsyncDisposableStack();
const small = cleanup.use(await smallFileSystem(24 * MIB));
let server: PostgresServer;
let bench: EngineHarness;
let tools: string;
let wholeBytes: number;
let before: string[];

beforeAll(async () => {
  server = cleanup.use(await startPostgres());
  await seedShop(server, 'shop', { rows: 3_000 });
  await server.query('postgres', 'create database big');
  await server.query(
    'big',
    'create table big as select i, md5(random()::text) || md5(random()::text) as t from generate_series(1, 300000) i',
  );
  tools = cleanup.use(await temporaryFolder()).path;
  bench = cleanup.use(await EngineHarness.open(server, { binDir: tools, stallMs: 1_500 }));
  await lie({ lie: 'chatters', line: '', lines: 0 });
  const { objects } = await bench.backup();
  wholeBytes = objects[0]?.produced.size ?? 0;
  before = await bench.listed();
}, 120_000);
afterAll(() => cleanup.disposeAsync());

const lie = (how: Lie, tool: 'pg_dump' | 'pg_dumpall' | 'pg_restore' = 'pg_dump', when?: string): Promise<string> =>
  lyingTool(tools, tool, how, when === undefined ? {} : { when });
const honest: Lie = { lie: 'chatters', line: '', lines: 0 };
const failureOf = async (work: Promise<unknown>): Promise<Failure> =>
  await work.then(
    () => {
      throw new Error('nothing was refused');
    },
    (error: unknown) => {
      if (error instanceof Failure) return error;
      throw error;
    },
  );
/** Nothing new is listed, nothing is left on the disk, no session of ours is left in the server, no process here. */
async function expectNoTrace(): Promise<void> {
  expect(await bench.listed()).toEqual(before);
  await vi.waitFor(async () => {
    const sessions = "select count(*)::int as n from pg_stat_activity where application_name = 'lastgood'";
    expect(await server.query('postgres', sessions)).toEqual([{ n: 0 }]);
    expect(processesWith(tools)).toEqual([]);
  }, 15_000);
}
function processesWith(text: string, parent?: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        if (parent !== undefined && !readFileSync(`/proc/${pid}/status`, 'utf8').includes(`\nPPid:\t${parent}\n`))
          return false;
        return pid !== process.pid && readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(text);
      } catch {
        return false;
      }
    });
}

for (const [signal, afterBytes] of [
  ['KILL', 0],
  ['KILL', 20_000],
  ['SEGV', 300_000],
  ['TERM', Infinity],
] as const)
  test(`A1, A17: pg_dump that SIG${signal} ends after ${afterBytes} bytes is not a backup`, async () => {
    await lie({ lie: 'dies', afterBytes, signal });
    const failure = await failureOf(bench.backup());
    expect(failure).toMatchObject({ code: 'TOOL_FAILED', message: expect.stringContaining(`SIG${signal}`) });
    await expectNoTrace();
  });

test('A17: pg_dump that is killed by its process id amid its rows is not a backup', async () => {
  await lie(honest);
  let killed = 0;
  const progress = ({ phase, doneBytes }: { phase: string; doneBytes: number }): void => {
    if (phase !== 'dump' || doneBytes === 0 || killed > 0) return;
    for (const pid of processesWith('--snapshot=', process.pid)) {
      process.kill(pid, 'SIGKILL');
      killed += 1;
    }
  };
  const failure = await failureOf(bench.backup({ databases: ['big'], progress }));
  expect(killed).toBe(1);
  expect(failure).toMatchObject({ code: 'TOOL_FAILED', message: expect.stringContaining('SIGKILL') });
  await expectNoTrace();
});

for (const afterBytes of [0, 20_000, Infinity])
  test(`A2: pg_dump that ends with 1 after ${afterBytes} bytes is not a backup, and a message that is not known is not shown`, async () => {
    await lie({ lie: 'fails', afterBytes, stderr: 'pg_dump: error: the disk of the server is on fire' });
    const failure = await failureOf(bench.backup());
    expect(failure).toMatchObject({ code: 'TOOL_FAILED', message: 'pg_dump ended with exit status 1' });
    await expectNoTrace();
  });

test('A2: a server that ends the session of pg_dump is named as the cause', async () => {
  await lie({ lie: 'fails', afterBytes: 0, stderr: 'pg_dump: error: server closed the connection unexpectedly' });
  expect((await failureOf(bench.backup())).code).toBe('DATABASE_UNREACHABLE');
  await expectNoTrace();
});

test('A3: pg_dump that ends well before its archive is whole is not a backup, wherever it stops', async () => {
  const cuts = [0, 1, 4, 5, 11, 20, 60, 3_000, 20_000, wholeBytes - 5, wholeBytes - 1];
  for (let part = 1; part < 12; part += 1) cuts.push(Math.floor((wholeBytes * part) / 12));
  for (const afterBytes of cuts) {
    await lie({ lie: 'truncates', afterBytes });
    const failure = await failureOf(bench.backup());
    expect([afterBytes, failure.code]).toEqual([afterBytes, 'TOOL_FAILED']);
    expect(failure.message).toMatch(/not whole|not an archive/);
  }
  await expectNoTrace();
});

test('A3: pg_dumpall that ends well before its last line is not a backup', async () => {
  await lie(honest);
  for (const afterBytes of [0, 200, 900]) {
    await lie({ lie: 'truncates', afterBytes }, 'pg_dumpall');
    expect((await failureOf(bench.backup())).message).toContain('pg_dumpall');
  }
  await expectNoTrace();
  await lie(honest, 'pg_dumpall');
});

test('A3: a dump that leaves out a table of its own snapshot is not a backup, and the table is named', async () => {
  await lie(honest);
  await script('pg_dump', `exec ${server.binDir}/pg_dump "$@" --exclude-table-data="*.customers"`);
  expect((await failureOf(bench.backup())).message).toMatch(/customers|lists \d+ tables/);
  await expectNoTrace();
});

test('A4: warnings of the tools are in the manifest: known ones by their meaning, others by their number', async () => {
  await lie({
    lie: 'chatters',
    line: 'pg_dump: warning: subscriptions not dumped because current user is not a superuser',
    lines: 1,
  });
  await lie({ lie: 'chatters', line: 'x'.repeat(5_000), lines: 50_000 }, 'pg_dumpall');
  const { warnings, backupId } = await bench.backup();
  before.push(backupId);
  expect(warnings).toMatchObject([
    { code: 'SUBSCRIPTIONS_LEFT_OUT', subject: { kind: 'database', name: 'shop' } },
    { code: 'TOOL_OUTPUT_LEFT_OUT', params: { tool: 'pg_dumpall', lines: 50_000 } },
  ]);
  await lie(honest, 'pg_dumpall');
});

for (const afterBytes of [0, 50_000])
  test(`A5: pg_dump that hangs after ${afterBytes} bytes is ended, and its locks are freed`, async () => {
    await lie({ lie: 'hangs', afterBytes, ignoresTerm: afterBytes > 0 });
    expect((await failureOf(bench.backup())).code).toBe('TOOL_STALLED');
    await expectNoTrace();
    await server.query('shop', "set lock_timeout = '5s'; lock table orders in access exclusive mode");
  });

test('A5: a pg_dump that is stopped (SIGSTOP) is ended', async () => {
  await lie(honest);
  let stopped = 0;
  const progress = ({ phase, doneBytes }: { phase: string; doneBytes: number }): void => {
    if (phase !== 'dump' || doneBytes === 0 || stopped > 0) return;
    for (const pid of processesWith('--snapshot=', process.pid)) {
      process.kill(pid, 'SIGSTOP');
      stopped += 1;
    }
  };
  expect((await failureOf(bench.backup({ databases: ['big'], progress }))).code).toBe('TOOL_STALLED');
  expect(stopped).toBe(1);
  await expectNoTrace();
});

test.skipIf(small.path === null)(
  `A6: a store that fills up fails the backup, keeps the older ones, and takes the next when there is space${small.reason ?? ''}`,
  async () => {
    if (small.path === null) return;
    await lie(honest);
    await using there = await EngineHarness.open(server, {}, join(small.path, 'repository'));
    const { backupId } = await there.backup();
    for (const leave of [0, 65_536, 2 * MIB, 5 * MIB]) {
      await small.fill(leave);
      expect(await failureOf(there.backup({ databases: ['shop', 'big'] }))).toMatchObject({ code: 'NO_SPACE' });
      expect(await there.listed()).toEqual([backupId]);
      expect(await there.verify(4, backupId)).toMatchObject({ reached: 4, findings: [] });
      await small.free();
    }
    const { backupId: next } = await there.backup({ databases: ['shop'] });
    expect(await there.listed()).toEqual([backupId, next]);
  },
);

async function majorOfServer(): Promise<number> {
  const [row] = await server.query('postgres', "select current_setting('server_version_num')::int / 10000 as major");
  return Number(row?.['major']);
}

test('A10: client tools that must not be used against this server are refused with the reason, before any work', async () => {
  const major = await majorOfServer();
  const defective = [[15, 13] as const, [16, 9] as const, [17, 5] as const].filter(
    ([branch]) => branch >= major && (branch < 17 || major >= 17),
  );
  for (const [version, reason] of [
    [`pg_dump (PostgreSQL) ${major - 1}.20 (Debian ${major - 1}.20-1)`, 'older than the server'],
    ['pg_dump (PostgreSQL) 12.22', 'older than the server'],
    ...defective.map(([branch, minor]) => [`pg_dump (PostgreSQL) ${branch}.${minor}`, 'known defects'] as const),
    ['nonsense', 'not a version'],
  ] as const) {
    await lie({ lie: 'version', text: version });
    expect(await failureOf(bench.backup())).toMatchObject({
      code: 'TOOL_VERSION',
      message: expect.stringContaining(reason),
    });
  }
  await expectNoTrace();
});

test('A10: tools that lack security fixes are used with a warning', async () => {
  const major = await majorOfServer();
  const behind: Record<number, number> = { 14: 20, 15: 16, 16: 11, 17: 8, 18: 2 };
  await lie({ lie: 'version', text: `pg_dump (PostgreSQL) ${major}.${behind[major]}` });
  const { warnings, backupId } = await bench.backup();
  before.push(backupId);
  expect(warnings.map(({ code }) => code)).toEqual(['CLIENT_TOOLS_OLDER', 'CLIENT_TOOLS_OUTDATED']);
  await lie(honest);
});

test('A11, A12: pg_dump is never asked for fewer rows by row security, nor to work in parallel', async () => {
  const log = join(tools, 'arguments');
  await script('pg_dump', `printf '%s\\n' "$@" >> ${log}; exec ${server.binDir}/pg_dump "$@"`);
  before.push((await bench.backup({ databases: null })).backupId);
  const given = readFileSync(log, 'utf8').split('\n');
  expect(given).toContain('--format=custom');
  expect(given.filter((argument) => /^(--enable-row-security|-j.*|--jobs.*|--no-sync)$/.test(argument))).toEqual([]);
});

async function script(name: string, body: string): Promise<void> {
  const file = await lyingTool(tools, 'pg_dump', honest);
  await writeFile(join(file, '..', name), `#!/bin/sh\n${body}\n`);
  await chmod(join(tools, name), 0o755);
}
