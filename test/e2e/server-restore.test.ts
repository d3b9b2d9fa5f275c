import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runTool } from '@lastgood/host';
import type { JobResult, JobView, RestoreRequest } from '@lastgood/protocol';
import { type RedisService, startRedisService, temporaryFolder, waitFor } from '@lastgood/testkit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { commandLine, type Ran } from '../support/command-line.ts';
import { Fleet } from '../support/fleet.ts';

let server: RedisService;
let fleet: Fleet;
let lastgood: (...args: string[]) => Promise<Ran>;
const cleanup = new AsyncDisposableStack();
const never = new AbortController().signal;

beforeAll(async () => {
  server = cleanup.use(await startRedisService({ config: { appendonly: 'yes', appendfsync: 'always' } }));
  const folder = cleanup.use(await temporaryFolder());
  fleet = cleanup.use(
    await Fleet.start(folder.path, server.connection, {
      settings: { engine: 'redis', service: server.service },
      allow: { restore: ['swap'], rotate: true },
    }),
  );
  lastgood = commandLine(fleet);
}, 120_000);
afterAll(() => cleanup.disposeAsync(), 60_000);

function resultOf<C extends JobResult['command']>(job: JobView, command: C): Extract<JobResult, { command: C }> {
  expect(job.error).toBeNull();
  if (job.result?.command !== command) throw new TypeError(`no result of ${command}`);
  return job.result as Extract<JobResult, { command: C }>;
}
const requestOf = (backupId: string): RestoreRequest => ({
  scope: { kind: 'server' },
  point: { kind: 'backup', backupId },
  into: { way: 'swap' },
  options: {},
});
const fill = async (generation: string): Promise<void> => {
  await server.call('FLUSHALL');
  await server.call('MSET', ...Array.from({ length: 200 }, (_, n) => [`${generation}:${n}`, `value ${n}`]).flat());
};
/** Which generation of keys the server holds. */
const served = async (): Promise<string> => {
  const keys = (await server.call('KEYS', '*')) as string[];
  return `${keys.length} ${[...new Set(keys.map((key) => key.split(':')[0]))].join(' ')}`;
};
const backUp = async (): Promise<string> =>
  resultOf(
    await fleet.run({ command: 'backup', target: 'shop', method: null, contents: null, options: { digests: true } }),
    'backup',
  ).backup.backupId;
const planHash = async (backupId: string): Promise<string> => {
  const job = await fleet.run({ command: 'plan', target: 'shop', request: requestOf(backupId) });
  const { plan } = resultOf(job, 'plan');
  expect(plan.refusals).toEqual([]);
  return plan.hash;
};

test('the command line backs up, verifies to level 6, restores what was lost, and undoes the restore', async () => {
  await fill('good');
  const backup = await lastgood('backup', 'shop', '--digests');
  expect(backup).toMatchObject({ status: 0 });
  const verified = await lastgood('verify', 'shop', 'latest', '--level', '6');
  expect(verified, verified.stdout + verified.stderr).toMatchObject({ status: 0 });
  await fill('lost');
  const refused = await lastgood('restore', 'shop', 'latest', '--swap', '--confirm', 'other');
  expect(refused.status).toBe(3);
  expect(await served()).toBe('200 lost');
  const restored = await lastgood('restore', 'shop', 'latest', '--swap', '--confirm', 'shop');
  expect(restored, restored.stdout + restored.stderr).toMatchObject({ status: 0 });
  expect(await served()).toBe('200 good');
  const jobId = /lastgood undo \S+ (\S+) --confirm shop/.exec(restored.stdout)?.[1] ?? 'none';
  await server.call('MSET', 'since:1', 1, 'since:2', 2);
  const planned = await lastgood('undo', 'shop', jobId, '--plan-only');
  expect(planned, planned.stdout + planned.stderr).toMatchObject({ status: 0 });
  expect(planned.stdout).toMatch(/keys on the server now +202$/m);
  expect(planned.stdout).toMatch(/changes since the restore +2$/m);
  expect(await served()).toBe('202 good since');
  const undone = await lastgood('undo', 'shop', jobId, '--confirm', 'shop');
  expect(undone, undone.stdout + undone.stderr).toMatchObject({ status: 0 });
  expect(await served()).toBe('200 lost');
});

test('a server under writes is backed up and destroyed, and one command restores what it was at the recovery point', async () => {
  await fill('good');
  await server.call('SET', 'counter', 0);
  const stop = new AbortController();
  const writing = (async () => {
    while (!stop.signal.aborted) await server.call('INCR', 'counter');
  })();
  const before = Number(await server.call('GET', 'counter'));
  const backup = await lastgood('backup', 'shop');
  const after = Number(await server.call('GET', 'counter'));
  stop.abort();
  await writing;
  expect(backup, backup.stdout + backup.stderr).toMatchObject({ status: 0 });
  expect(after).toBeGreaterThan(before);
  await server.call('FLUSHALL');
  const restored = await lastgood('restore', 'shop', 'latest', '--swap', '--confirm', 'shop');
  expect(restored, restored.stdout + restored.stderr).toMatchObject({ status: 0 });
  const counter = Number(await server.call('GET', 'counter'));
  expect(counter).toBeGreaterThanOrEqual(before);
  expect(counter).toBeLessThanOrEqual(after);
  expect(await served()).toBe('201 good counter');
});

test('a server that cannot start because its files are damaged is restored by one command', async () => {
  await fill('good');
  const backup = await lastgood('backup', 'shop');
  expect(backup, backup.stdout + backup.stderr).toMatchObject({ status: 0 });
  await server.stop();
  const set = join(server.dataDir, 'appendonlydir');
  await writeFile(join(set, 'appendonly.aof.manifest'), 'damaged');
  const [start] = server.service.start;
  await runTool({ file: start, args: [], signal: never, timeoutMs: 60_000, startsServer: true });
  // It has ended by itself, or does so now.
  await server.stop();
  const plan = await lastgood('restore', 'shop', 'latest', '--swap', '--plan-only');
  expect(plan, plan.stdout + plan.stderr).toMatchObject({ status: 0 });
  expect(plan.stdout).toContain('the server is not running');
  const restored = await lastgood('restore', 'shop', 'latest', '--swap', '--confirm', 'shop');
  expect(restored, restored.stdout + restored.stderr).toMatchObject({ status: 0 });
  expect(await served()).toBe('200 good');
  const damaged = (await readdir(server.dataDir)).filter((name) => name.startsWith('lastgood-aside-'));
  const manifests = damaged.map((name) => join(server.dataDir, name, 'appendonlydir', 'appendonly.aof.manifest'));
  const texts = await Promise.all(manifests.map((path) => readFile(path, 'utf8')));
  expect(texts).toContain('damaged');
});

test('a server that does not start after a restore is reported, and started with the old data once it can', async () => {
  await fill('good');
  const backupId = await backUp();
  await fill('present');
  const hash = await planHash(backupId);
  const config = await readFile(server.configFile, 'utf8');
  await writeFile(server.configFile, `${config}no-such-setting 1\n`);
  const job = await fleet.run({ command: 'restore', target: 'shop', request: requestOf(backupId), planHash: hash });
  expect(job).toMatchObject({ state: 'failed', error: { code: 'SERVICE_FAILED' } });
  const blocked = async (): Promise<boolean> =>
    (await fleet.client.targets.query({})).some(({ findings }) =>
      findings.some(({ code }) => code === 'COMPENSATION_FAILED'),
    );
  await waitFor('the finding', 60_000, never, async () => ((await blocked()) ? true : undefined));
  await writeFile(server.configFile, config);
  await server.untilUp();
  expect(await served()).toBe('200 present');
  await waitFor('the end of the finding', 60_000, never, async () => ((await blocked()) ? undefined : true));
  await fleet.untilOnline();
});

const KINDS = ['stage-files', 'stop-server', 'set-files-aside', 'place-files', 'start-server'];
const POINTS = KINDS.flatMap((kind) => [`step-begun:${kind}`, `step-effect:${kind}`, `step-done:${kind}`]);

describe('I10: an agent that is killed during an undo', () => {
  const points = [
    { point: 'step-effect:stop-server', data: 'good' },
    { point: 'step-begun:return-files', data: 'present' },
    { point: 'step-effect:return-files', data: 'present' },
    { point: 'step-effect:start-server', data: 'present' },
  ];
  test.for(points)('at $point ends with the $data data served', async ({ point, data }) => {
    await fill('good');
    const backupId = await backUp();
    await fill('present');
    const request = requestOf(backupId);
    const restoreJobId = await fleet.send({
      command: 'restore',
      target: 'shop',
      request,
      planHash: await planHash(backupId),
    });
    resultOf(await fleet.ended(restoreJobId), 'restore');
    expect(await served()).toBe('200 good');
    await fleet.killAgent();
    await fleet.startAgent({ LASTGOOD_FAULT: point });
    await fleet.untilOnline();
    const jobId = await fleet.send({ command: 'undo', target: 'shop', restoreJobId });
    await fleet.agentEnded();
    await fleet.startAgent();
    expect(await fleet.ended(jobId)).toMatchObject({ state: 'failed', error: { code: 'JOB_INTERRUPTED' } });
    await server.untilUp();
    expect(await served()).toBe(`200 ${data}`);
    await fleet.untilOnline();
  });
});

describe('I10: an agent that is killed during a restore', () => {
  test.for(POINTS)('at %s ends with the old data served when it starts again', async (point) => {
    await fill('good');
    const backupId = await backUp();
    await fill('present');
    const hash = await planHash(backupId);
    await fleet.killAgent();
    await fleet.startAgent({ LASTGOOD_FAULT: point });
    await fleet.untilOnline();
    const jobId = await fleet.send({
      command: 'restore',
      target: 'shop',
      request: requestOf(backupId),
      planHash: hash,
    });
    await fleet.agentEnded();
    await fleet.startAgent();
    expect(await fleet.ended(jobId)).toMatchObject({ state: 'failed', error: { code: 'JOB_INTERRUPTED' } });
    await server.untilUp();
    expect(await served()).toBe('200 present');
    await fleet.untilOnline();
    // The target is not blocked: the next restore succeeds.
    const again = await fleet.run({
      command: 'restore',
      target: 'shop',
      request: requestOf(backupId),
      planHash: await planHash(backupId),
    });
    expect(again.error).toBeNull();
    expect(await served()).toBe('200 good');
  });
});
