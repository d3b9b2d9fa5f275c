import { execFile } from 'node:child_process';
import { appendFile, chmod, mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Finding, JobSpec } from '@lastgood/protocol';
import {
  aRestoreRequest,
  lyingTool,
  OPEN_LIMITS,
  type PostgresServer,
  seedShop,
  startPostgres,
  temporaryFolder,
  waitFor,
} from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Fleet } from '../../support/fleet.ts';
import { findLeftovers, runningTools } from '../../support/leftovers.ts';

const forever = new AbortController().signal;
const run = promisify(execFile);
const cleanup = new AsyncDisposableStack();
const backup: JobSpec = { command: 'backup', target: 'shop', method: null, contents: ['shop'], options: {} };
let server: PostgresServer;
let fleet: Fleet;
let tools: string;

beforeAll(async () => {
  server = cleanup.use(await startPostgres());
  await seedShop(server, 'shop', { rows: 500 });
  const { path } = cleanup.use(await temporaryFolder());
  tools = join(path, 'tools');
  await mkdir(tools);
  await makeDumpWork();
  fleet = cleanup.use(
    await Fleet.start(
      path,
      { ...server.connection, binDir: tools },
      { allow: { restore: ['new'], rotate: true, minimumKept: 3, ...OPEN_LIMITS } },
    ),
  );
});
afterAll(() => cleanup.disposeAsync());

/** Makes pg_dump work normally again. */
const makeDumpWork = (): Promise<string> => lyingTool(tools, 'pg_dump', { lie: 'chatters', line: '', lines: 0 });
const makeDumpHang = (): Promise<string> => lyingTool(tools, 'pg_dump', { lie: 'hangs', afterBytes: 1_000 });
const backups = (): string => join(fleet.folder, 'repository', 'test', 'db-1', 'shop', 'backups');
const stored = async (): Promise<string[]> => (await readdir(backups()).catch(() => [])).sort();
async function untilHanging(): Promise<void> {
  await waitFor('pg_dump to hang', 60_000, forever, async () =>
    (await runningTools(server)).some((line) => line.startsWith('sleep infinity')) ? true : undefined,
  );
}

test('A15: a second backup of a target waits until the first has ended', async () => {
  const [first, second] = await Promise.all([fleet.send(backup), fleet.send(backup)]);
  const jobs = [await fleet.ended(first), await fleet.ended(second)].toSorted(
    (a, b) => (a.startedAt ?? 0) - (b.startedAt ?? 0),
  );
  expect(jobs.map((job) => job.state)).toEqual(['succeeded', 'succeeded']);
  expect(jobs[1]?.startedAt).toBeGreaterThanOrEqual(jobs[0]?.endedAt ?? Number.POSITIVE_INFINITY);
  expect(await stored()).toHaveLength(2);
});

test('A15: a second backup waits until the tool of a canceled backup has ended', async () => {
  await lyingTool(tools, 'pg_dump', { lie: 'hangs', afterBytes: 1_000, ignoresTerm: true });
  const before = await stored();
  const first = await fleet.send(backup);
  await untilHanging();
  await fleet.client.cancelJob.mutate({ jobId: first });
  await makeDumpWork();
  const second = await fleet.send(backup);
  expect((await fleet.ended(second)).state).toBe('succeeded');
  expect(await fleet.ended(first)).toMatchObject({ state: 'canceled', error: { code: 'JOB_CANCELED' } });
  expect(await runningTools(server)).toEqual([]);
  expect(await stored()).toHaveLength(before.length + 1);
});

test('A5: a backup that reaches its deadline fails and leaves no tools, locks or files', async () => {
  await makeDumpHang();
  const before = await stored();
  const jobId = await fleet.send(backup, { deadlineMs: 5_000 });
  await untilHanging();
  // The snapshot transaction, which holds every lock on the source.
  const countTransactions = async (): Promise<number> =>
    (
      await server.query(
        'postgres',
        "select 1 from pg_stat_activity where application_name like 'lastgood%' and state like 'idle in transaction%'",
      )
    ).length;
  expect(await countTransactions()).toBeGreaterThan(0);
  expect(await fleet.ended(jobId)).toMatchObject({ state: 'failed', error: { code: 'JOB_DEADLINE' } });
  await waitFor('the locks to be released', 60_000, forever, async () =>
    (await countTransactions()) === 0 ? true : undefined,
  );
  expect(await findLeftovers(fleet, server)).toEqual([]);
  expect(await stored()).toEqual(before);
  await makeDumpWork();
  expect((await fleet.run(backup)).state).toBe('succeeded');
});

test('J1: SIGTERM during a backup ends its tool and the agent exits with 0; after a restart the backup runs again', async () => {
  await makeDumpHang();
  const before = await stored();
  const jobId = await fleet.send(backup);
  await untilHanging();
  expect(await fleet.stopAgent()).toBe(0);
  expect(await findLeftovers(fleet, server)).toEqual([]);
  expect(await stored()).toEqual(before);
  await makeDumpWork();
  await fleet.startAgent();
  expect(await fleet.ended(jobId)).toMatchObject({ state: 'succeeded', attempt: 2 });
  expect(await stored()).toHaveLength(before.length + 1);
});

test('J1, M19: SIGKILL during a backup also ends its tool; after a restart the agent sweeps and runs the backup again', async () => {
  await makeDumpHang();
  const before = await stored();
  const jobId = await fleet.send(backup);
  await untilHanging();
  await fleet.killAgent();
  await waitFor('the tool to die with its agent', 60_000, forever, async () =>
    (await runningTools(server)).length === 0 ? true : undefined,
  );
  await makeDumpWork();
  await fleet.startAgent();
  expect(await fleet.ended(jobId)).toMatchObject({ state: 'succeeded', attempt: 2 });
  expect(await findLeftovers(fleet, server)).toEqual([]);
  expect(await stored()).toHaveLength(before.length + 1);
});

test('J8: an uncaught error ends the agent with status 1 and its tools; after a restart the job runs again', async () => {
  await makeDumpHang();
  const before = await stored();
  await fleet.stopAgent();
  await fleet.startAgent({ LASTGOOD_FAULT: 'throw:running' });
  const jobId = await fleet.send(backup);
  expect(await fleet.agentEnded()).toBe(1);
  expect(fleet.agentLog).toContain('thrown at running');
  await waitFor('the tool to die with its agent', 60_000, forever, async () =>
    (await runningTools(server)).length === 0 ? true : undefined,
  );
  expect((await fleet.client.job.query({ jobId })).endedAt).toBeNull();
  await makeDumpWork();
  await fleet.startAgent();
  expect(await fleet.ended(jobId)).toMatchObject({ state: 'succeeded', attempt: 2 });
  expect(await findLeftovers(fleet, server)).toEqual([]);
  expect(await stored()).toHaveLength(before.length + 1);
});

test('J3: a job fails when no file descriptor is free, and the agent keeps running', async () => {
  await fleet.untilOnline();
  const limits = await readFile(`/proc/${fleet.agentPid}/limits`, 'utf8');
  const usual = /Max open files +(\d+)/.exec(limits)?.[1] ?? '';
  const open = (await readdir(`/proc/${fleet.agentPid}/fd`)).length;
  await run('prlimit', ['--pid', String(fleet.agentPid), `--nofile=${open + 1}:`]);
  const failed = await fleet.run(backup);
  expect(failed.state).toBe('failed');
  expect(failed.error?.code).not.toBe('BUG');
  await run('prlimit', ['--pid', String(fleet.agentPid), `--nofile=${usual}:`]);
  expect((await fleet.run(backup)).state).toBe('succeeded');
});

async function untilFindings(matches: (findings: readonly Finding[]) => boolean): Promise<void> {
  await waitFor('the findings of the target', 60_000, forever, async () => {
    const [target] = await fleet.client.targets.query({});
    return target !== undefined && matches(target.findings) ? true : undefined;
  });
}

test('J6: SIGHUP rejects an invalid agent file with a log line and a finding, and keeps the previous one', async () => {
  const text = await readFile(fleet.configFile, 'utf8');
  for (const [bad, message] of [
    [text.slice(0, text.length / 2), 'agent.yaml:1:'],
    ['', 'agent.yaml'],
    [text.replace('"repository":"local"', '"repository":"nowhere"'), 'no repository is named'],
    [text.replace('"environment":"test"', '"environment":"prod"'), 'change with a restart alone'],
  ] as const) {
    await writeFile(fleet.configFile, bad);
    const lines = fleet.agentLog.split('the agent file was refused').length;
    process.kill(fleet.agentPid, 'SIGHUP');
    await waitFor('the refusal', 60_000, forever, async () =>
      fleet.agentLog.split('the agent file was refused').length > lines ? true : undefined,
    );
    expect(fleet.agentLog.split('\n').findLast((line) => line.includes('was refused'))).toContain(message);
    await untilFindings((findings) => findings.some(({ code }) => code === 'AGENT_FILE_REFUSED'));
  }
  expect((await fleet.run(backup)).state).toBe('succeeded');
  await writeFile(fleet.configFile, text);
  process.kill(fleet.agentPid, 'SIGHUP');
  await fleet.untilLogged('the agent file was read again');
  await untilFindings((findings) => findings.length === 0);
  expect((await fleet.run(backup)).state).toBe('succeeded');
});

test('the agent rejects jobs that its file does not allow', async () => {
  const backupId = (await stored()).at(-1) ?? '';
  for (const spec of [
    {
      command: 'restore',
      target: 'shop',
      request: aRestoreRequest(backupId, { way: 'swap', database: 'shop' }),
      planHash: 'a'.repeat(64),
    },
    {
      command: 'restore',
      target: 'shop',
      request: aRestoreRequest(backupId, { way: 'in-place', database: 'shop' }),
      planHash: 'a'.repeat(64),
    },
    { command: 'undo', target: 'shop', restoreJobId: backupId },
  ] satisfies JobSpec[]) {
    const job = await fleet.run(spec);
    expect([job.state, job.error?.code, job.startedAt]).toEqual(['rejected', 'HOST_LIMIT', null]);
  }
  const rotated = await fleet.run({
    command: 'rotate',
    target: 'shop',
    retention: { keepLast: 1, minimum: 1 },
    holds: [],
    dryRun: false,
  });
  expect(rotated.result).toMatchObject({ command: 'rotate', keptCount: 3 });
});

test.for(['cut', 'garbled', 'emptied'] as const)(
  'J5: an agent whose journal was %s starts, and its jobs succeed',
  async (how) => {
    await makeDumpHang();
    const jobId = await fleet.send(backup);
    await untilHanging();
    await fleet.killAgent();
    const journal = join(fleet.folder, 'agent', 'journal.sqlite');
    await rm(`${journal}-wal`, { force: true });
    await rm(`${journal}-shm`, { force: true });
    if (how === 'cut') await truncate(journal, 5_000);
    else if (how === 'emptied') await truncate(journal, 0);
    else await writeFile(journal, Buffer.alloc(8_192, 0x5a));
    await makeDumpWork();
    await fleet.startAgent();
    expect((await fleet.ended(jobId)).state).toBe('succeeded');
    expect((await fleet.run(backup)).state).toBe('succeeded');
  },
);

test('B16: the agent does not start when other users can write its file', async () => {
  await fleet.killAgent();
  await appendFile(fleet.configFile, '\n');
  await chmod(fleet.configFile, 0o666);
  await fleet.startAgent();
  await fleet.agentEnded();
  expect(fleet.agentLog).toContain('error DATA_FOLDER_UNSAFE: others than its owner can write to');
  await chmod(fleet.configFile, 0o600);
  await fleet.startAgent();
  await fleet.untilOnline();
});
