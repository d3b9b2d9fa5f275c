import { randomUUID } from 'node:crypto';
import type { BackupSummary, DatabaseStatus, JobSpec, TargetInventory, TargetStatus } from '@lastgood/protocol';
import { someDatabases } from '@lastgood/testkit';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AgentSocket } from './support/agent-socket.ts';
import { summary } from './support/backup-summary.ts';
import { ControlHarness } from './support/control-harness.ts';
import { reportJob } from './support/reported-job.ts';

const HOUR = 3_600_000;
const AT = '2026-01-15T11:00:00Z';
const MIB = 1024 * 1024;
const backupSpec: JobSpec = { command: 'backup', target: 'shop', method: null, contents: null, options: {} };

let cleanup: AsyncDisposableStack;
let control: ControlHarness;
let agent: AgentSocket;
beforeEach(async () => {
  cleanup = new AsyncDisposableStack();
  control = cleanup.use(await ControlHarness.start());
  agent = await AgentSocket.connect(control, await control.enroll('db-1'));
});
afterEach(() => cleanup.disposeAsync());

/** A backup of `sequence`, an hour old; restore-tested with a level. */
const backup = (sequence: number, level: number | null, more: Partial<BackupSummary> = {}): BackupSummary =>
  summary(randomUUID(), {
    sequence,
    backupId: `00000000-0000-7000-8000-00000000000${sequence}`,
    recoveryPoint: AT,
    verified: level === null ? null : { level, at: AT, passed: true },
    ...more,
  });
const idOf = (sequence: number): string => backup(sequence, null).backupId;

/** A restore of one database of the first backup under another name, which took so long. */
async function reportRestore(name: string, into: string, durationMs: number): Promise<string> {
  const scope = { kind: 'database', database: name } as const;
  const point = { kind: 'backup', backupId: idOf(1) } as const;
  const request = { scope, point, into: { way: 'new', name: into } as const, options: {} };
  const spec: JobSpec = { command: 'restore', target: 'shop', request, planHash: 'f'.repeat(64) };
  const result = { command: 'restore', backupId: idOf(1), scope, recoveryPoint: AT, into, durationMs } as const;
  const rest = { setAsideAs: null, warnings: [], counts: [] };
  return await reportJob(agent, spec, control.clock.now(), { result: { ...result, ...rest } });
}

/** Reports the databases of the server and the backups of the repository. */
async function announce(
  databases: readonly (string | { name: string; excluded: boolean })[],
  backups: readonly BackupSummary[],
): Promise<void> {
  const target: TargetInventory = {
    ...{ name: 'shop', engine: 'postgres', labels: {}, repository: 'local', state: 'ok', version: '15.18' },
    ...{ systemId: null, sizeBytes: 1, findings: [] },
    databases: databases.map((each) => ({ sizeBytes: 1, ...(typeof each === 'string' ? { name: each } : each) })),
  };
  const input = { hash: randomUUID(), targets: [target], backups, complete: true };
  const reply = await agent.call('inventory', agent.session(input));
  if (reply?.result === undefined) throw new TypeError('no inventory');
}

async function status(maxAgeMs?: number): Promise<TargetStatus> {
  const [only] = await control.admin().status.query(maxAgeMs === undefined ? {} : { maxAgeMs });
  if (only === undefined) throw new TypeError('no status');
  return only;
}
async function database(name: string): Promise<DatabaseStatus> {
  const found = (await status()).databases.find((each) => each.database === name);
  if (found === undefined) throw new TypeError(`no database ${name}`);
  return found;
}
const codes = ({ reasons }: Pick<TargetStatus, 'reasons'>): string[] => reasons.map(({ code }) => code);

describe('the newest backup', () => {
  test.for<[BackupSummary['state'], TargetStatus['state'], string[]]>([
    ['good', 'at_risk', ['RESTORE_TEST_OF_OLDER_BACKUP']],
    ['bad', 'at_risk', ['NEWEST_BACKUP_BAD']],
    ['suspect', 'at_risk', ['NEWEST_BACKUP_SUSPECT']],
  ])('op-2.1: %s: the state is %s, the reasons %j', async ([state, expected, reasons]) => {
    await announce(['shop'], [backup(1, 6), backup(2, null, { state })]);
    const shop = await database('shop');
    expect([shop.state, codes(shop)]).toEqual([expected, reasons]);
    expect(shop.recoveryPoint?.backupId).toBe(state === 'good' ? idOf(2) : idOf(1));
  });

  test('op-2.1: a newest backup that vanished from the repository puts its databases at risk, not others', async () => {
    const crm = { contents: someDatabases('crm') };
    await announce(['shop', 'crm'], [backup(1, 6), backup(2, 6, crm), backup(3, 6, crm)]);
    expect((await status()).state).toBe('protected');
    await announce(['shop', 'crm'], [backup(1, 6), backup(2, 6, crm)]);
    expect(await database('crm')).toMatchObject({
      state: 'at_risk',
      reasons: [{ code: 'NEWEST_BACKUP_MISSING', subject: { kind: 'backup', name: idOf(3) }, params: { of: 'crm' } }],
      recoveryPoint: { backupId: idOf(2) },
    });
    expect(await database('shop')).toMatchObject({ state: 'protected', reasons: [] });
    expect((await status()).state).toBe('at_risk');
  });
});

describe('the last attempt', () => {
  const fail = (atMs: number, spec: JobSpec = backupSpec): Promise<string> =>
    reportJob(agent, spec, atMs, { error: 'NO_SPACE' });
  const succeed = (atMs: number): Promise<string> =>
    reportJob(agent, backupSpec, atMs, { result: { command: 'backup', backup: backup(1, 6), durationMs: 1 } });

  test('op-2.2: failed attempts since the last success are shown with cause and start, until one succeeds', async () => {
    await announce(['shop'], [backup(1, 6)]);
    const now = control.clock.now();
    await succeed(now - 4 * HOUR);
    await fail(now - 3 * HOUR);
    await fail(now - 2 * HOUR);
    const at = (hours: number): string => new Date(now - hours * HOUR).toISOString();
    expect(await status()).toMatchObject({
      state: 'at_risk',
      reasons: [
        {
          code: 'LAST_ATTEMPT_FAILED',
          subject: { kind: 'target', name: 'shop' },
          params: { command: 'backup', at: at(2), since: at(3), cause: 'NO_SPACE' },
        },
      ],
    });
    await succeed(now - HOUR);
    expect(await status()).toMatchObject({ state: 'protected', reasons: [] });
  });

  test('op-2.2: a verification that could not run is shown as well', async () => {
    await announce(['shop'], [backup(1, 6)]);
    await fail(control.clock.now(), { command: 'verify', target: 'shop', backupId: idOf(1), level: 4 });
    expect(await status()).toMatchObject({ state: 'at_risk', reasons: [{ params: { command: 'verify' } }] });
  });

  test('op-2.2: an attempt that failed before any other counts from its own end', async () => {
    await announce(['shop'], [backup(1, 6)]);
    const now = control.clock.now();
    await fail(now - HOUR);
    const at = new Date(now - HOUR).toISOString();
    expect((await status()).reasons).toMatchObject([{ params: { at, since: at } }]);
  });
});

test('op-2.3: a restore test of an older backup than the recovery point is marked, until that one is tested', async () => {
  await announce(['shop'], [backup(1, 6), backup(2, null)]);
  expect(await database('shop')).toMatchObject({
    state: 'at_risk',
    recoveryPoint: { backupId: idOf(2) },
    restoreTest: { backupId: idOf(1), level: 6, ofRecoveryPoint: false },
    reasons: [{ code: 'RESTORE_TEST_OF_OLDER_BACKUP', params: { backup: idOf(2), tested: idOf(1) } }],
  });
  await announce(['shop'], [backup(1, 6), backup(2, 4)]);
  expect(await database('shop')).toMatchObject({ state: 'protected', restoreTest: { ofRecoveryPoint: true } });
  await announce(['shop'], [backup(1, 3), backup(2, 3)]);
  expect(codes(await database('shop'))).toEqual(['NEVER_RESTORE_TESTED']);
});

test('peer-F9: a quarantined host is shown as quarantined in hosts and status, also after a restart', async () => {
  await announce(['shop'], [backup(1, 6)]);
  const identity = await control.enroll('db-2');
  const [one, two] = [randomUUID(), randomUUID()];
  await AgentSocket.connect(control, identity, { instanceId: one }).then((socket) => socket.announce('crm'));
  await AgentSocket.connect(control, identity, { instanceId: two });
  await expect(AgentSocket.connect(control, identity, { instanceId: one })).rejects.toThrow();
  const expectQuarantined = async (): Promise<void> => {
    const hosts = await control.admin().hosts.query({});
    expect(hosts.find(({ host }) => host === 'db-2')?.state).toBe('quarantined');
    const crm = (await control.admin().status.query({})).find(({ target }) => target === 'crm');
    expect(crm).toMatchObject({ hostState: 'quarantined' });
    expect(codes(crm ?? { reasons: [] })).toContain('HOST_QUARANTINED');
  };
  await expectQuarantined();
  await control.close();
  await control.open();
  await expectQuarantined();
});

describe('new databases', () => {
  test('op-2.4: a new database is pending for a day, and has no recovery point after it', async () => {
    await announce(['shop'], [backup(1, 6)]);
    await announce(['shop', 'new'], [backup(1, 6)]);
    expect(await database('new')).toMatchObject({ state: 'pending', reasons: [{ code: 'FIRST_BACKUP_PENDING' }] });
    expect((await status()).state).toBe('pending');
    control.clock.advance(24 * HOUR + 1);
    await announce(['shop', 'new'], [backup(1, 6)]);
    expect(await database('new')).toMatchObject({ state: 'none', reasons: [{ code: 'NO_RECOVERY_POINT' }] });
  });

  test('op-2.4: a new database is no longer pending after a backup that was to contain it', async () => {
    await announce(['shop', 'new'], [backup(1, 6)]);
    control.clock.advance(HOUR);
    const result = { command: 'backup', backup: backup(1, 6), remarks: [], durationMs: 1 } as const;
    await reportJob(agent, { ...backupSpec, contents: ['shop'] }, control.clock.now(), { result });
    expect((await database('new')).state).toBe('pending');
    await reportJob(agent, backupSpec, control.clock.now(), { result });
    expect((await database('new')).state).toBe('none');
  });

  test('op-2.4: a database that was dropped and created again is new again', async () => {
    await announce(['shop', 'new'], [backup(1, 6)]);
    control.clock.advance(25 * HOUR);
    await announce(['shop'], [backup(1, 6)]);
    await announce(['shop', 'new'], [backup(1, 6)]);
    expect((await database('new')).state).toBe('pending');
  });

  test('op-2.4: a database that was restored beside another is recognized and stays pending', async () => {
    await announce(['shop', 'shop_copy'], [backup(1, 6)]);
    const jobId = await reportRestore('shop', 'shop_copy', 1);
    control.clock.advance(48 * HOUR);
    await announce(['shop', 'shop_copy'], [backup(1, 6)]);
    expect(await database('shop_copy')).toMatchObject({ state: 'pending', copy: { jobId, of: 'shop' } });
    expect(await database('shop')).toMatchObject({ copy: null });
  });

  test('op-2.4: a database that the agent file excludes is not judged', async () => {
    await announce(['shop', { name: 'tmp', excluded: true }], [backup(1, 6)]);
    control.clock.advance(48 * HOUR);
    await announce(['shop', { name: 'tmp', excluded: true }], [backup(1, 6)]);
    expect(await database('tmp')).toMatchObject({ state: null, reasons: [] });
    expect((await status()).state).toBe('protected');
  });
});

test('op-2.10: the restore time of a database is that of its own restore, or is estimated', async () => {
  const contents = [
    { kind: 'database', name: 'shop', bytes: 100 * MIB },
    { kind: 'database', name: 'tiny', bytes: MIB },
  ];
  const both = backup(1, 6, { contents, producedBytes: 101 * MIB });
  await announce(['shop', 'tiny'], [both]);
  expect((await database('tiny')).restoreTime).toEqual({ basis: 'unknown' });
  const test = { command: 'verify', backupId: idOf(1), level: 6, reached: 6, passed: true, at: AT } as const;
  const now = control.clock.now();
  const verify: JobSpec = { command: 'verify', target: 'shop', backupId: idOf(1), level: 6 };
  await reportJob(agent, verify, now, { result: { ...test, findings: [], remarks: [], durationMs: 101_000 } });
  // The test of both databases at once gives a speed, and measures neither of them.
  expect((await database('tiny')).restoreTime).toEqual({ basis: 'estimated', ms: 1000 });
  expect((await database('shop')).restoreTime).toEqual({ basis: 'estimated', ms: 100_000 });
  await reportRestore('tiny', 'x', 4700);
  expect((await database('tiny')).restoreTime).toEqual({
    ...{ basis: 'measured', ms: 4700 },
    at: new Date(now).toISOString(),
  });
  expect((await database('shop')).restoreTime.basis).toBe('estimated');
});

test('a database with an older recovery point than the accepted age is missed', async () => {
  await announce(['shop'], [backup(1, 6)]);
  expect((await status(HOUR)).state).toBe('protected');
  expect(await status(HOUR - 1)).toMatchObject({
    state: 'missed',
    databases: [{ state: 'missed', reasons: [{ code: 'RECOVERY_POINT_TOO_OLD' }] }],
  });
});

test('the worst target comes first, then the order is by name', async () => {
  await announce(['shop'], [backup(1, 6)]);
  for (const host of ['db-3', 'db-2'])
    await AgentSocket.connect(control, await control.enroll(host)).then((socket) => socket.announce('a'));
  const order = (await control.admin().status.query({})).map(({ host, state }) => [host, state]);
  expect(order).toEqual([
    ['db-2', 'none'],
    ['db-3', 'none'],
    ['db-1', 'protected'],
  ]);
});
