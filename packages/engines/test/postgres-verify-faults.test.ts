import { closeSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import { chmod, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type EngineContext, Failure } from '@lastgood/core';
import { runTool, uuidv7 } from '@lastgood/host';
import {
  type DatabaseRestore,
  lyingTool,
  type PostgresServer,
  smallFileSystem,
  startPostgres,
  temporaryFolder,
} from '@lastgood/testkit';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { codeOf, EngineHarness, ref } from './support/engine-harness.ts';

const MIB = 1024 * 1024;
const cleanup = new AsyncDisposableStack();
const small = cleanup.use(await smallFileSystem(300 * MIB));
let server: PostgresServer;
let bench: EngineHarness;
let tools: string;
let scratchFolder: string;
let backupId: string;

beforeAll(async () => {
  server = cleanup.use(await startPostgres());
  await server.query('postgres', 'create database books');
  await server.query(
    'books',
    `create table ledger (owner text, note text);
     insert into ledger select case when i % 2 = 0 then 'half_blind' else 'other' end, 'honest-value ' || i from generate_series(1, 60000) i;
     create role half_blind; grant select on ledger to half_blind;
     alter table ledger enable row level security; create policy own on ledger using (owner = current_user)`,
  );
  tools = cleanup.use(await temporaryFolder()).path;
  scratchFolder = cleanup.use(await temporaryFolder()).path;
  await chmod(scratchFolder, 0o711);
  bench = cleanup.use(await EngineHarness.open(server, { binDir: tools, scratchFolder, stallMs: 1_500 }));
  await honest();
  ({ backupId } = await bench.backup({ databases: ['books'] }));
}, 120_000);
afterAll(() => cleanup.disposeAsync());
beforeEach(() => honest());

/** Every tool is the true one again. */
async function honest(): Promise<void> {
  for (const name of await readdir(tools)) await rm(join(tools, name));
  await lyingTool(tools, 'pg_dump', { lie: 'chatters', line: '', lines: 0 });
}
async function script(name: string, body: string): Promise<void> {
  await rm(join(tools, name), { force: true });
  await writeFile(join(tools, name), `#!/bin/sh\nreal=${server.binDir}/${name}\n${body}\n`);
  await chmod(join(tools, name), 0o755);
}
const failureOf = async (work: Promise<unknown>): Promise<Failure> =>
  await work.then(
    (value) => {
      throw new Error(`nothing was refused: ${JSON.stringify(value)}`);
    },
    (error: unknown) => {
      if (error instanceof Failure) return error;
      throw error;
    },
  );
function scratchProcesses(of = process.pid): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(`lastgood-scratch-${of}-`);
      } catch {
        return false;
      }
    });
}
/** No server, process or folder of a restore test is left. */
async function expectNoScratch(...folders: string[]): Promise<void> {
  await vi.waitFor(() => expect(scratchProcesses()).toEqual([]), 15_000);
  for (const folder of [scratchFolder, ...folders])
    expect((await readdir(folder)).filter((name) => name.startsWith('lastgood-scratch-'))).toEqual([]);
}
/** Calls `act` once, when the restore test begins to load the dump. */
function atRestore(act: () => void): EngineContext['progress'] {
  let done = false;
  return ({ phase }) => {
    if (done || phase !== 'restore') return;
    done = true;
    act();
  };
}

test('E2: a dump that lost rows to row security loads, and is found by its counts at level 5', async () => {
  await script('pg_dump', 'exec "$real" "$@" --role=half_blind --enable-row-security');
  const lossy = await bench.backup({ databases: ['books'] });
  expect(await bench.verify(4, lossy.backupId)).toMatchObject({ reached: 4, findings: [] });
  const outcome = await bench.verify(5, lossy.backupId);
  expect(outcome).toMatchObject({
    reached: 4,
    findings: [{ level: 5, code: 'TABLE_ROWS_DIFFER', params: { rows: '30000', expected: '60000' } }],
  });
  const restoring = bench.restore(lossy.backupId, { way: 'swap', database: 'books' });
  expect(await failureOf(restoring)).toMatchObject({ code: 'RESTORE_FAILED' });
  expect(await server.query('books', 'select count(*)::int as n from ledger')).toEqual([{ n: 60_000 }]);
});

test('E2, M4, M5: a dump whose rows were altered but not their number is listed, decodes and loads, and is found at level 6', async () => {
  await script('pg_dump', `"$real" "$@" | LC_ALL=C sed 's/honest-value 777$/forged-value 777/'`);
  const forged = await bench.backup({ databases: ['books'] });
  // Neither a list (pg_restore -l) nor decoding (pg_restore -f /dev/null) shows anything about the rows.
  for (const level of [2, 3] as const)
    expect(await bench.verify(level, forged.backupId)).toMatchObject({ reached: level, findings: [] });
  expect(await bench.verify(5, forged.backupId)).toMatchObject({ reached: 5, findings: [] });
  expect(await bench.verify(6, forged.backupId)).toMatchObject({
    reached: 5,
    findings: [{ level: 6, code: 'TABLE_CONTENTS_DIFFER', subject: { kind: 'table', name: 'public.ledger' } }],
  });
});

for (const [name, body] of [
  ['initdb', 'echo "initdb: error: no luck" >&2; exit 1'],
  ['postgres', 'echo "FATAL: no luck" >&2; exit 1'],
] as const)
  test(`E3: a scratch server that cannot be made (${name}) is a failure, not a verdict on the backup`, async () => {
    await script(name, body);
    expect(await failureOf(bench.verify(5, backupId))).toMatchObject({
      code: 'TOOL_FAILED',
      message: expect.stringContaining('no luck'),
    });
    await expectNoScratch();
  });

test('E3: a scratch server that never answers is given up', async () => {
  await script('postgres', `[ "$1" = --version ] && exec ${server.binDir}/postgres --version; exec sleep infinity`);
  const context = await bench.context();
  // Its minute passes in half a second.
  const clock = { now: () => Date.now(), monotonic: () => performance.now() * 120 };
  expect((await failureOf(bench.verify(4, backupId, { ...context, clock }))).code).toBe('DATABASE_UNREACHABLE');
  await expectNoScratch();
});

test('E3: a scratch server that is killed amid the load is a failure, not a verdict on the backup', async () => {
  const progress = atRestore(() => {
    for (const pid of scratchProcesses()) process.kill(pid, 'SIGKILL');
  });
  const failure = await failureOf(bench.verify(5, backupId, await bench.context(undefined, progress)));
  expect(failure.message).toMatch(/restore test broke down|ECONNREFUSED|ENOENT|terminated/);
  await expectNoScratch();
});

test.skipIf(small.path === null)(
  `E3: no space for the scratch server, before or amid the load, is a failure, not a verdict${small.reason ?? ''}`,
  async () => {
    if (small.path === null) return;
    const { path } = small;
    await chmod(path, 0o711);
    await using there = await EngineHarness.open(server, { scratchFolder: path });
    const { backupId: ofBooks } = await there.backup({ databases: ['books'] });
    await small.fill(100 * MIB);
    expect(await failureOf(there.verify(4, ofBooks))).toMatchObject({ code: 'NO_SPACE' });
    await small.free();
    const progress = atRestore(() => {
      const ballast = openSync(join(path, 'ballast'), 'w');
      try {
        for (;;) writeSync(ballast, Buffer.alloc(64 * 1024));
      } catch {
        closeSync(ballast);
      }
    });
    const failure = await failureOf(there.verify(5, ofBooks, await there.context(undefined, progress)));
    // Newer tools say themselves what was missing, older ones only that they lost the server.
    expect(failure.message).toMatch(/the restore test broke down|no space left/);
    await expectNoScratch(path);
    await small.free();
    expect(await there.verify(6, ofBooks)).toMatchObject({ reached: 6, findings: [] });
  },
);

test('E3: pg_restore that hangs while it decodes is ended, without a verdict', async () => {
  await lyingTool(tools, 'pg_restore', { lie: 'hangs', afterBytes: 0 }, { when: '--file=/dev/null' });
  expect((await failureOf(bench.verify(2, backupId))).code).toBe('TOOL_STALLED');
});

test('E3: pg_restore that hangs while it loads is ended at the deadline of the job, and nothing of it stays', async () => {
  await script('pg_restore', 'case " $* " in *--dbname=*) exec sleep infinity;; esac; exec "$real" "$@"');
  const stop = new AbortController();
  const late = new Failure('JOB_DEADLINE', 'the job ran longer than its deadline');
  const verifying = failureOf(
    bench.verify(
      5,
      backupId,
      await bench.context(
        stop.signal,
        atRestore(() => stop.abort(late)),
      ),
    ),
  );
  expect(await verifying).toMatchObject({ code: 'JOB_DEADLINE' });
  await expectNoScratch();
});

test('E3, E9: pg_restore that is killed says nothing about the backup; one that refuses the archive does', async () => {
  await lyingTool(tools, 'pg_restore', { lie: 'dies', afterBytes: 0, signal: 'KILL' }, { when: '--file=/dev/null' });
  expect(await failureOf(bench.verify(2, backupId))).toMatchObject({
    code: 'TOOL_FAILED',
    message: expect.stringContaining('the restore test broke down'),
  });
  const stderr = 'pg_restore: error: could not read from input file: end of file';
  await lyingTool(tools, 'pg_restore', { lie: 'fails', afterBytes: 0, stderr }, { when: '--file=/dev/null' });
  expect(await bench.verify(2, backupId)).toMatchObject({ reached: 1, findings: [{ level: 2 }] });
});

const LACKS = [
  'ERROR:  extension "citext" is not available',
  'ERROR:  could not open extension control file "citext.control": No such file or directory',
  'ERROR:  could not access file "$libdir/postgis-3": No such file or directory',
  'ERROR:  pg_cron can only be loaded via shared_preload_libraries',
  'ERROR:  pg_stat_statements must be loaded via "shared_preload_libraries"',
  'FATAL:  extension "timescaledb" must be preloaded',
  'ERROR:  security label provider "anon" is not loaded',
];
test.for(LACKS)('E3: what this host lacks says nothing about the backup: %s', async (message) => {
  const stderr = `pg_restore: error: could not execute query: ${message}`;
  await lyingTool(tools, 'pg_restore', { lie: 'fails', afterBytes: 0, stderr }, { when: '--exit-on-error' });
  expect(await failureOf(bench.verify(4, backupId))).toMatchObject({
    code: 'RESTORE_TEST_IMPOSSIBLE',
    message: expect.stringContaining('the scratch server lacks what the source has'),
  });
});

test('E6: a restore test that is killed with its agent leaves no process, and a folder that is swept', async () => {
  await script('pg_restore', 'case " $* " in *--dbname=*) exec sleep infinity;; esac; exec "$real" "$@"');
  const { workDir } = await bench.context();
  const connection = JSON.stringify({ ...server.connection, binDir: tools, scratchFolder });
  const child = new URL('support/verify-child.ts', import.meta.url).pathname;
  const running = failureOf(
    runTool({
      file: process.execPath,
      args: [child, connection, join(bench.folder, 'repository'), backupId, workDir],
      signal: new AbortController().signal,
      timeoutMs: 60_000,
    }),
  );
  const folder = await vi.waitFor(async () => {
    const [name] = await readdir(scratchFolder);
    expect(name).toBeDefined();
    return name ?? '';
  }, 30_000);
  const pid = Number(folder.split('-')[2]);
  await vi.waitFor(() => expect(scratchProcesses(pid).length).toBeGreaterThan(0), 30_000);
  expect(await bench.engine.sweep(await bench.context(), () => new Set())).toEqual([]);
  process.kill(pid, 'SIGKILL');
  expect(await running).toMatchObject({ message: expect.stringContaining('SIGKILL') });
  await vi.waitFor(() => expect(scratchProcesses(pid)).toEqual([]), 30_000);
  expect(await bench.engine.sweep(await bench.context(), () => new Set())).toEqual([`scratch server ${folder}`]);
  expect(await readdir(scratchFolder)).toEqual([]);
});

test('F1: nothing is replaced by a plan of another mode, of another time or with another name', async () => {
  const source = await bench.repository.open(ref, backupId);
  const hashOf = async (mode: DatabaseRestore): Promise<string> =>
    (await bench.plan(mode, source, await bench.context())).hash;
  const restore = async (mode: DatabaseRestore, planHash: string): Promise<unknown> =>
    bench.carryOut({ restore: mode, jobId: uuidv7(), planHash }, source, await bench.context());
  await server.query('postgres', 'create database precious');
  await server.query('precious', 'create table kept (id int)');

  const fresh = await hashOf({ way: 'new', database: 'books', as: 'copy' });
  const swap = await hashOf({ way: 'swap', database: 'books' });
  const inPlace = await hashOf({ way: 'in-place', database: 'books' });
  expect(new Set([fresh, swap, inPlace]).size).toBe(3);
  for (const [mode, hash] of [
    [{ way: 'swap', database: 'books' }, fresh],
    [{ way: 'in-place', database: 'books' }, swap],
    [{ way: 'swap', database: 'books' }, inPlace],
    [{ way: 'swap', database: 'books' }, ''],
    [{ way: 'new', database: 'books', as: 'precious' }, fresh],
  ] as const)
    expect(await codeOf(restore(mode, hash))).toBe('PLAN_CHANGED');
  const onto = { way: 'new', database: 'books', as: 'precious' } as const;
  expect(await codeOf(restore(onto, await hashOf(onto)))).toBe('TARGET_NOT_EMPTY');
  // The same name, another database: consent to replace the one does not cover the other.
  await server.query('postgres', 'alter database books rename to books_of_before');
  await server.query('postgres', 'alter database precious rename to books');
  for (const [way, hash] of [['swap', swap] as const, ['in-place', inPlace] as const])
    expect(await codeOf(restore({ way, database: 'books' }, hash))).toBe('PLAN_CHANGED');
  expect(await server.query('books', 'select count(*)::int as n from kept')).toEqual([{ n: 0 }]);
  const names = (await server.query('postgres', "select datname from pg_database where datname like '%lastgood%'"))
    .length;
  expect(names).toBe(0);
});
