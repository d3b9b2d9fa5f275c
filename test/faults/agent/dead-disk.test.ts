import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { formatFinding, type JobSpec } from '@lastgood/protocol';
import { type PostgresServer, startPostgres, temporaryFolder, waitFor } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Fleet } from '../../support/fleet.ts';

const DEAD = ['d1', 'd2', 'd3', 'd4', 'd5'];
const cleanup = new AsyncDisposableStack();
let server: PostgresServer;
let fleet: Fleet;

beforeAll(async () => {
  server = cleanup.use(await startPostgres());
  await server.query('postgres', 'create database shop');
  fleet = cleanup.use(await Fleet.start(cleanup.use(await temporaryFolder()).path, server.connection));
  await fleet.stopAgent();
  const dead = join(fleet.folder, 'dead');
  await mkdir(dead, { mode: 0o700 });
  // Opening this file blocks until another process writes to it, like a network disk whose server is gone.
  await promisify(execFile)('mkfifo', ['-m', '600', join(dead, 'lastgood.json')]);
  const config = JSON.parse(await readFile(fleet.configFile, 'utf8'));
  config.repositories.dead = { type: 'folder', path: dead };
  for (const name of DEAD) config.targets[name] = { ...config.targets.shop, repository: 'dead' };
  await writeFile(fleet.configFile, JSON.stringify(config), { mode: 0o600 });
  await fleet.startAgent();
}, 120_000);
afterAll(() => cleanup.disposeAsync());

const backupOf = (target: string): JobSpec => ({
  command: 'backup',
  target,
  method: null,
  contents: ['shop'],
  options: {},
});

test('E9: five targets on an unresponsive disk do not affect other targets and are reported', async () => {
  const { state } = await fleet.ended(await fleet.send(backupOf('shop')));
  expect(state).toBe('succeeded');
  const reported = await waitFor(
    'the findings of the targets on the unresponsive disk',
    120_000,
    new AbortController().signal,
    async () => {
      const targets = (await fleet.client.targets.query({})).filter(({ name }) => DEAD.includes(name));
      return targets.length === DEAD.length ? targets : undefined;
    },
  );
  for (const { findings } of reported) expect(findings.map(formatFinding).join()).toContain('does not answer');
  const { error } = await fleet.ended(await fleet.send(backupOf('d1')));
  expect(error).toMatchObject({ code: 'IO_ERROR', message: expect.stringContaining('does not answer') });
  expect((await fleet.ended(await fleet.send(backupOf('shop')))).state).toBe('succeeded');
});

test('J1: an agent that waits for an unresponsive disk ends on SIGTERM and logs why it did not end cleanly', async () => {
  await fleet.stopAgent();
  expect(fleet.agentLog).toContain('something does not answer');
});
