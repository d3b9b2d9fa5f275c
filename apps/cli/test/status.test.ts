import {
  type DatabaseStatus,
  findingOfError,
  makeFinding,
  type RunbookView,
  type TargetStatus,
} from '@lastgood/protocol';
import { afterEach, expect, test } from 'vitest';
import { BACKUP_ID, OTHER_BACKUP_ID, serve, targetStatus } from './fake-control.ts';
import { run } from './lastgood.ts';

const cleanup: AsyncDisposable[] = [];
afterEach(async () => {
  for (const entry of cleanup.splice(0)) await entry[Symbol.asyncDispose]();
});
const keep = <T extends AsyncDisposable>(entry: T): T => {
  cleanup.push(entry);
  return entry;
};

const AT = '2026-11-23T22:00:00Z';
const [covered] = targetStatus.databases;
/** A target with one database, both in this state. */
const crm = (state: TargetStatus['state'], changed: Partial<DatabaseStatus> = {}): Partial<TargetStatus> => ({
  state,
  databases: [{ ...(covered as DatabaseStatus), database: 'crm', state, ...changed }],
});
const host = { kind: 'host', name: 'test/db-1' } as const;
const target = { kind: 'target', name: 'shop' } as const;
const database = { kind: 'database', name: 'crm' } as const;
const failed = { command: 'backup', at: AT, since: '2026-11-22T22:00:00Z', cause: 'NO_SPACE' };
const unmounted = findingOfError({ code: 'REPOSITORY_NOT_MOUNTED', message: '/x', remedy: '' }, null);

test.for<[string, Partial<TargetStatus>, number, string[]]>([
  [
    'all is protected',
    crm('protected'),
    0,
    ['crm', ' protected ', '2026-11-23 22:00+00', ' 1 h ', ' 2.1 s ', 'level 6, '],
  ],
  [
    'no good backup contains a database',
    crm('none', {
      recoveryPoint: null,
      exposureMs: null,
      restoreTime: { basis: 'unknown' },
      restoreTest: null,
      reasons: [makeFinding('NO_RECOVERY_POINT', database)],
    }),
    4,
    [' NONE ', ' not measured ', ' never', 'test/db-1/shop: database "crm" has no good backup'],
  ],
  [
    'op-2.1: the newest backup is bad',
    crm('at_risk', { reasons: [makeFinding('NEWEST_BACKUP_BAD', { kind: 'backup', name: BACKUP_ID }, { of: 'crm' })] }),
    4,
    [' at risk ', `backup "${BACKUP_ID}", the newest of "crm", is bad`],
  ],
  [
    'op-2.2: the last backup failed',
    { ...crm('at_risk'), reasons: [makeFinding('LAST_ATTEMPT_FAILED', target, failed)] },
    4,
    [
      ' at risk ',
      'the last backup of target "shop" failed at 2026-11-23T22:00:00Z (NO_SPACE)',
      'since 2026-11-22T22:00:00Z',
    ],
  ],
  [
    'op-2.3: the restore test is of an older backup',
    crm('at_risk', { restoreTest: { backupId: OTHER_BACKUP_ID, at: AT, level: 6, ofRecoveryPoint: false } }),
    4,
    [' at risk ', `of older backup ${OTHER_BACKUP_ID.slice(-8)}`],
  ],
  [
    'peer-F9: the identity of the host is quarantined',
    { ...crm('at_risk'), hostState: 'quarantined', reasons: [makeFinding('HOST_QUARANTINED', host)] },
    4,
    ['two agents use the identity of this host'],
  ],
  ['op-2.4: a database is new', crm('pending', { recoveryPoint: null, exposureMs: null }), 0, [' pending ', ' none ']],
  [
    'op-2.4: a database was restored beside',
    crm('pending', { copy: { jobId: BACKUP_ID, of: 'shop' } }),
    0,
    ['crm (restored from shop)', ' pending '],
  ],
  [
    'op-2.4: a database is excluded',
    { state: 'protected', databases: [{ ...(covered as DatabaseStatus), database: 'tmp', state: null }] },
    0,
    [' excluded '],
  ],
  [
    'op-2.10: the restore time is estimated',
    crm('protected', { restoreTime: { basis: 'estimated', ms: 9000 } }),
    0,
    ['9.0 s (estimated)'],
  ],
  ['a dropped database is still in a backup', crm('protected', { onServer: false }), 0, ['crm (not on the server)']],
  [
    'the repository is not mounted',
    { ...crm('at_risk'), reasons: [unmounted] },
    4,
    ['test/db-1/shop: REPOSITORY_NOT_MOUNTED: /x'],
  ],
  [
    'a host has no targets',
    {
      target: null,
      state: 'unknown',
      serverState: null,
      databases: [],
      reasons: [makeFinding('HOST_WITHOUT_TARGETS', host)],
    },
    4,
    [' UNKNOWN ', 'test/db-1: the host has reported no target'],
  ],
])('status when %s', async ([, reported, status, texts]) => {
  const served = keep(await serve(() => ({}), {}, reported));
  const ran = await run(served.url, 'status');
  expect(ran.status).toBe(status);
  for (const text of texts) expect(ran.stdout).toContain(text);
  const json = await run(served.url, '--json', 'status');
  expect([json.status, JSON.parse(json.stdout)]).toEqual([
    status,
    { version: 1, targets: [JSON.parse(JSON.stringify({ ...targetStatus, ...reported }))], runbooks: [] },
  ]);
});

test('a fleet without a host protects nothing: the status shows that and ends with 4', async () => {
  const served = keep(await serve(() => ({}), {}, null));
  const ran = await run(served.url, 'status');
  expect([ran.status, ran.stdout]).toEqual([4, expect.stringContaining('nothing is protected')]);
  const json = await run(served.url, '--json', 'status');
  expect([json.status, JSON.parse(json.stdout)]).toEqual([4, { version: 1, targets: [], runbooks: [] }]);
});

test.for<[TargetStatus['state'], string, number]>([
  ['at_risk', 'at-risk', 4],
  ['at_risk', 'missed', 0],
  ['missed', 'missed', 4],
  ['none', 'missed', 4],
  ['unknown', 'missed', 4],
  ['pending', 'at-risk', 0],
])('%s with --fail-on %s ends with %i', async ([state, failOn, status]) => {
  const served = keep(await serve(() => ({}), {}, crm(state)));
  expect((await run(served.url, 'status', '--fail-on', failOn)).status).toBe(status);
});

test('--max-age is judged by the control plane; --fail-on takes two states', async () => {
  const served = keep(await serve(() => ({})));
  await run(served.url, 'status', 'shop', '--max-age', '26h');
  expect(served.statusInputs).toEqual([{ target: 'shop', maxAgeMs: 26 * 3_600_000 }]);
  expect((await run(served.url, 'status', '--fail-on', 'pending')).status).toBe(64);
});

const runbook = (more: Partial<RunbookView>): RunbookView => ({
  ...{ name: 'disaster-recovery', description: null, steps: 3, rtoMs: 3_600_000, rto: 'never-drilled', lastRun: null },
  ...{ lastDrill: null, nextDrillAt: null, drillOverdueSince: null, targets: ['test/db-1/shop'] },
  ...more,
});
const drilled = (state: 'succeeded' | 'failed', durationMs: number): RunbookView['lastDrill'] => ({
  ...{ runId: BACKUP_ID, state, startedAt: Date.parse(AT), endedAt: Date.parse(AT) + durationMs, durationMs },
});

test.for<[string, Partial<RunbookView>, string]>([
  ['was never drilled', {}, 'never drilled; RTO 1 h was never measured: no drill has ended'],
  [
    'met its RTO',
    { lastDrill: drilled('succeeded', 60_000), rto: 'met' },
    'drill succeeded 2026-11-23 22:00+00; 1 min of 1 h (RTO)',
  ],
  [
    'missed its RTO',
    { lastDrill: drilled('succeeded', 7_200_000), rto: 'missed' },
    'drill succeeded 2026-11-23 22:00+00; 2 h MISSED the RTO of 1 h',
  ],
  [
    'failed in its last drill',
    { lastDrill: drilled('failed', 60_000), rto: 'drill-failed', drillOverdueSince: Date.parse(AT) },
    'RTO 1 h was not measured: the last drill failed; OVERDUE since 2026-11-23 22:00+00',
  ],
])('status shows that a runbook %s', async ([, more, line]) => {
  const control = keep(await serve(() => ({}), {}, {}, [runbook(more)]));
  const shown = await run(control.url, 'status');
  expect(shown.stdout).toContain(line);
  const json = await run(control.url, '--json', 'status');
  expect(JSON.parse(json.stdout)).toMatchObject({ runbooks: [{ name: 'disaster-recovery', rto: runbook(more).rto }] });
});
