import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { JobSpec } from '@lastgood/protocol';
import { type PostgresServer, startPostgres, temporaryFolder } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Fleet } from '../../support/fleet.ts';

const cleanup = new AsyncDisposableStack();
let server: PostgresServer;
let fleet: Fleet;

beforeAll(async () => {
  server = cleanup.use(await startPostgres());
  await server.query('postgres', 'create database shop');
  fleet = cleanup.use(await Fleet.start(cleanup.use(await temporaryFolder()).path, server.connection));
}, 120_000);
afterAll(() => cleanup.disposeAsync());

test('an agent unknown to a new control plane logs the remedy, and connects without a restart once its host is enrolled again', async () => {
  const backup: JobSpec = { command: 'backup', target: 'shop', method: null, contents: ['shop'], options: {} };
  const { state } = await fleet.run(backup);
  expect(state).toBe('succeeded');
  await fleet.killControl();
  await rm(join(fleet.folder, 'control'), { recursive: true });
  await fleet.startControl();
  await fleet.untilLogged('enroll this host again');
  await fleet.enroll();
  await fleet.untilOnline();
  await fleet.untilLogged('this host was enrolled anew');
  // The new catalog lists the backups of the repository, and the next backup goes to the same folder.
  expect((await fleet.run(backup)).state).toBe('succeeded');
  expect((await fleet.client.backups.query({ target: 'test/db-1/shop' })).map((each) => each.state)).toEqual([
    'good',
    'good',
  ]);
});
