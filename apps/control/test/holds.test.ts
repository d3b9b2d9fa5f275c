import { randomUUID } from 'node:crypto';
import type { BackupSummary, BackupView, JobSpec } from '@lastgood/protocol';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AgentSocket, until } from './support/agent-socket.ts';
import { summary } from './support/backup-summary.ts';
import { ControlHarness } from './support/control-harness.ts';

const HOLD = { reason: 'before the migration', by: 'alice', at: '2026-01-15T12:00:00Z' };

let cleanup: AsyncDisposableStack;
let control: ControlHarness;
let agent: AgentSocket;
let backup: BackupSummary;
beforeEach(async () => {
  cleanup = new AsyncDisposableStack();
  control = cleanup.use(await ControlHarness.start());
  agent = await AgentSocket.connect(control, await control.enroll());
  backup = summary(randomUUID());
  await agent.sendInventory(['shop'], [backup]);
});
afterEach(() => cleanup.disposeAsync());

const order = async (spec: JobSpec): Promise<string> =>
  (await control.admin().createJob.mutate({ target: 'shop', spec, idempotencyKey: randomUUID() })).jobId;
const hold = (): Promise<string> =>
  order({ command: 'hold', target: 'shop', backupId: backup.backupId, reason: HOLD.reason });
const release = (): Promise<string> => order({ command: 'release', target: 'shop', backupId: backup.backupId });
const view = (): Promise<BackupView> => control.admin().backup.query({ backupId: backup.backupId });

/** Takes the command of a job, and reports how it ended. */
async function carryOut(jobId: string, result: object | null): Promise<void> {
  await until('the command', () => agent.commands.find((command) => 'jobId' in command && command.jobId === jobId));
  const types = ['accepted', 'running', result === null ? 'failed' : 'succeeded'];
  const events = types.map((type, index) => ({
    ...{ id: `${jobId}-${index}`, previousEventId: index === 0 ? null : `${jobId}-${index - 1}`, jobId, attempt: 1 },
    ...{ eventNumber: index + 1, type, at: control.clock.now(), error: null, result: index === 2 ? result : null },
  }));
  const reply = await agent.call('report', agent.session({ events }));
  if (reply?.result === undefined) throw new TypeError(`not reported: ${JSON.stringify(reply)}`);
}
/** The backups that a rotation which is ordered now must keep because of a hold. */
async function holdsOfRotation(): Promise<readonly string[]> {
  const retention = { minimum: 1, keepLast: 1 };
  const jobId = await order({ command: 'rotate', target: 'shop', retention, holds: [], dryRun: true });
  const { spec } = await control.admin().job.query({ jobId });
  return spec.command === 'rotate' ? spec.holds : [];
}

test('op-2.9: a hold is pending until its agent reports it, and no rotation of the backup is planned meanwhile', async () => {
  expect([(await view()).holdState, await holdsOfRotation()]).toEqual(['none', []]);
  const jobId = await hold();
  expect([(await view()).holdState, await holdsOfRotation()]).toEqual(['pending', [backup.backupId]]);
  await carryOut(jobId, { command: 'hold', backupId: backup.backupId, hold: HOLD });
  expect(await view()).toMatchObject({ holdState: 'held', hold: HOLD });
  expect(await holdsOfRotation()).toEqual([backup.backupId]);
});

test('op-2.9: a hold stands until its release is reported', async () => {
  await carryOut(await hold(), { command: 'hold', backupId: backup.backupId, hold: HOLD });
  const jobId = await release();
  expect([(await view()).holdState, await holdsOfRotation()]).toEqual(['releasing', [backup.backupId]]);
  await carryOut(jobId, { command: 'release', backupId: backup.backupId, wasHeld: true });
  expect([(await view()).holdState, await holdsOfRotation()]).toEqual(['none', []]);
});

test('op-2.9: a hold that its agent could not write is not shown as one', async () => {
  const jobId = await hold();
  await carryOut(jobId, null);
  expect([(await view()).holdState, await holdsOfRotation()]).toEqual(['none', []]);
  expect((await control.admin().job.query({ jobId })).state).toBe('failed');
});

test('op-2.9: a rebuilt catalog knows the holds that the repository has', async () => {
  await using rebuilt = await ControlHarness.start();
  control = rebuilt;
  agent = await AgentSocket.connect(rebuilt, await rebuilt.enroll());
  await agent.sendInventory(['shop'], [{ ...backup, hold: HOLD }]);
  expect(await view()).toMatchObject({ holdState: 'held', hold: HOLD });
  expect(await holdsOfRotation()).toEqual([backup.backupId]);
});

test('op-2.9: a pending hold survives a restart of the control plane', async () => {
  await hold();
  await control.close();
  await control.open();
  expect([(await view()).holdState, await holdsOfRotation()]).toEqual(['pending', [backup.backupId]]);
});

describe('attack-B13: a hold is ended by its creator or an admin', () => {
  const tokenOf = async (name: string, scope: 'operate' | 'destroy'): Promise<string> =>
    (await control.admin().createToken.mutate({ name, scope, expiresInHours: 1 })).token;
  const orderAs = async (token: string, spec: JobSpec): Promise<string> =>
    (await control.admin(token).createJob.mutate({ target: 'shop', spec, idempotencyKey: randomUUID() })).jobId;
  const forbidden = { data: { failure: { code: 'FORBIDDEN' } } };
  const holdSpec = (): JobSpec => ({ command: 'hold', target: 'shop', backupId: backup.backupId, reason: 'legal' });
  const releaseSpec = (): JobSpec => ({ command: 'release', target: 'shop', backupId: backup.backupId });

  test.each(['operate', 'destroy'] as const)('a token of scope %s does not end the hold of an admin', async (scope) => {
    const other = await tokenOf('bob', scope);
    const jobId = await hold();
    await expect(orderAs(other, releaseSpec())).rejects.toMatchObject(forbidden);
    await expect(control.admin(other).cancelJob.mutate({ jobId })).rejects.toMatchObject(forbidden);
    await carryOut(jobId, { command: 'hold', backupId: backup.backupId, hold: HOLD });
    await expect(orderAs(other, releaseSpec())).rejects.toMatchObject(forbidden);
    expect((await view()).holdState).toBe('held');
    await release();
    expect((await view()).holdState).toBe('releasing');
  });

  test('its creator ends it, pending and held', async () => {
    const alice = await tokenOf('alice', 'operate');
    const jobId = await orderAs(alice, holdSpec());
    await carryOut(jobId, { command: 'hold', backupId: backup.backupId, hold: HOLD });
    await orderAs(alice, releaseSpec());
    expect((await view()).holdState).toBe('releasing');
  });

  test('only an admin ends one whose creator is unknown', async () => {
    await agent.sendInventory(['shop'], [{ ...backup, hold: { ...HOLD, by: null } }]);
    await expect(orderAs(await tokenOf('alice', 'operate'), releaseSpec())).rejects.toMatchObject(forbidden);
    await release();
  });
});
