import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { JobResult, JobSpec } from '@lastgood/protocol';
import { OPEN_LIMITS, type PostgresServer, root, seedShop, startPostgres, temporaryFolder } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Fleet } from '../../support/fleet.ts';

const cleanup = new AsyncDisposableStack();
const backup = {
  command: 'backup' as const,
  target: 'shop',
  method: null,
  contents: ['shop'],
  options: {},
} satisfies JobSpec;
/** The harshest rotation that can be ordered. */
const flush = {
  command: 'rotate' as const,
  target: 'shop',
  retention: { keepLast: 1, minimum: 1 },
  holds: [],
  dryRun: false,
} satisfies JobSpec;
let server: PostgresServer;
let fleet: Fleet;
/** The backups of the data before it was ruined. */
const old: string[] = [];

beforeAll(async () => {
  server = cleanup.use(await startPostgres());
  await seedShop(server, 'shop', { rows: 2_000 });
  const { path } = cleanup.use(await temporaryFolder());
  fleet = cleanup.use(await Fleet.start(path, server.connection, { allow: { rotate: true, minimumKept: 3 } }));
  for (let n = 0; n < 4; n += 1) old.push(await takeBackup());
});
afterAll(() => cleanup.disposeAsync());

async function resultOf<S extends JobSpec>(spec: S): Promise<Extract<JobResult, { command: S['command'] }>> {
  const job = await fleet.run(spec);
  expect(job).toMatchObject({ state: 'succeeded', error: null });
  return job.result as Extract<JobResult, { command: S['command'] }>;
}
async function takeBackup(): Promise<string> {
  return (await resultOf(backup)).backup.backupId;
}
/** Runs a command of the agent on its host. */
async function onHost(command: string): Promise<string> {
  const program = join(root, 'apps/agent/src/main.ts');
  const target = command === 'accept' ? ['--target', 'shop'] : [];
  const args = [program, command, '--config', fleet.configFile, ...target];
  return (await promisify(execFile)(process.execPath, args)).stdout;
}
async function setLimits(allow: object): Promise<void> {
  const config = JSON.parse(await readFile(fleet.configFile, 'utf8'));
  config.targets.shop.allow = { rotate: true, minimumKept: 3, ...allow };
  await writeFile(fleet.configFile, JSON.stringify(config), { mode: 0o600 });
  process.kill(fleet.agentPid, 'SIGHUP');
  await fleet.untilLogged('the agent file was read again');
}
const removedOf = ({ decisions }: Extract<JobResult, { command: 'rotate' }>): string[] =>
  decisions.filter(({ keep }) => !keep).map(({ backupId }) => backupId);

test('attack-B4: a control plane that ruins the data, backs it up, tests it and rotates removes no older backup', async () => {
  await server.query('shop', 'truncate table orders cascade');
  for (let n = 0; n < 3; n += 1) {
    const verified = await resultOf({
      ...{ command: 'verify' as const, target: 'shop', level: 4 as const },
      backupId: await takeBackup(),
    });
    expect(verified.passed).toBe(true);
  }
  // For display they are good: a restore test has passed.
  const listed = await fleet.client.backups.query({ target: 'shop' });
  expect(listed.filter(({ state }) => state !== 'good')).toEqual([]);
  expect(await onHost('check')).toContain('a hostile control plane could remove 0 within a day');
  expect(removedOf(await resultOf(flush))).toEqual([]);
});

test('attack-B4: without limits of age, what was there before the size changed stays until the host accepts the change', async () => {
  await setLimits(OPEN_LIMITS);
  expect(await onHost('check')).toContain('WARNING: backups can be removed after 0 hours');
  expect(removedOf(await resultOf(flush))).toEqual(old.slice(0, 1));
  expect(removedOf(await resultOf(flush))).toEqual([]);
  expect(await onHost('accept')).toContain('are accepted');
  expect(removedOf(await resultOf(flush))).toEqual(old.slice(1));
  expect(await onHost('accept')).toContain('nothing to accept');
});
