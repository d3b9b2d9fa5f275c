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

test.for<[TargetStatus['state'], string, number, string]>([
  ['protected', 'at-risk', 0, 'LASTGOOD OK - 1 targets | '],
  ['pending', 'at-risk', 0, 'LASTGOOD OK - 1 targets | '],
  ['at_risk', 'at-risk', 1, 'LASTGOOD WARNING - 1 of 1 targets: test/db-1/shop at risk | '],
  ['at_risk', 'missed', 0, 'LASTGOOD OK - 1 targets | '],
  ['missed', 'missed', 2, 'LASTGOOD CRITICAL - 1 of 1 targets: test/db-1/shop MISSED | '],
  ['none', 'at-risk', 2, 'LASTGOOD CRITICAL - 1 of 1 targets: test/db-1/shop NONE | '],
  ['unknown', 'missed', 3, 'LASTGOOD UNKNOWN - 1 of 1 targets: test/db-1/shop UNKNOWN | '],
])('--nagios of a target that is %s with --fail-on %s ends with %i', async ([state, failOn, status, line]) => {
  const objectives = {
    state,
    reasons: [],
    rpoMs: 7_200_000,
    rtoMs: null,
    recoveryPointAt: null,
    exposureMs: null,
    restoreTime: null,
    restoreTest: null,
  };
  const reasons = state === 'missed' ? [makeFinding('NO_RECOVERY_POINT', { kind: 'database', name: 'a|b' })] : [];
  const served = keep(await serve(() => ({}), {}, { ...crm(state, { reasons }), objectives, findings: [] }));
  const ran = await run(served.url, 'status', '--nagios', '--fail-on', failOn);
  const [first = '', ...findings] = ran.stdout.trimEnd().split('\n');
  const data = `targets=1;;;0 failing=${line.includes(' of ') ? 1 : 0};;;0 'test/db-1/shop exposure'=3600s;5760;7200;0`;
  expect([ran.status, first]).toEqual([status, `${line}${data}`]);
  // A bar in a name would begin performance data.
  expect(findings).toEqual(state === 'missed' ? ['test/db-1/shop: database "a/b" has no good backup'] : []);
});

test('--nagios of a fleet without hosts is critical, of one that cannot be asked unknown', async () => {
  const empty = keep(await serve(() => ({}), {}, null));
  const none = await run(empty.url, 'status', '--nagios');
  expect([none.status, none.stdout]).toEqual([2, 'LASTGOOD CRITICAL - there are no hosts, so nothing is protected\n']);
  const away = await run('http://127.0.0.1:1', 'status', '--nagios');
  expect([away.status, away.stdout]).toEqual([3, expect.stringMatching(/^LASTGOOD UNKNOWN - CONTROL_UNREACHABLE: /)]);
});

test('--env takes the targets of one environment; an environment without hosts ends with 4', async () => {
  const served = keep(await serve(() => ({}), {}, crm('protected')));
  expect((await run(served.url, 'status', '--env', 'test')).status).toBe(0);
  expect((await run(served.url, 'status', '--env', 'prod')).status).toBe(4);
  expect((await run(served.url, 'status', '--env', 'prod', '--nagios')).status).toBe(2);
});

test('--junit reports one case per target; names cannot break the document', async () => {
  const finding = makeFinding('NO_RECOVERY_POINT', { kind: 'database', name: '<a>&\u0007' });
  const bad = keep(await serve(() => ({}), {}, { ...crm('none', { reasons: [finding] }), findings: [] }));
  const ran = await run(bad.url, 'status', '--junit');
  expect(ran.status).toBe(4);
  expect(ran.stdout).toContain('<testsuite name="test" tests="1" failures="1">');
  expect(ran.stdout).toContain('<testcase classname="test" name="test/db-1/shop">');
  expect(ran.stdout).toContain('<failure message="NONE">');
  expect(ran.stdout).toContain('&lt;a&gt;&amp;');
  expect(ran.stdout).not.toContain('\u0007');
  const good = keep(await serve(() => ({}), {}, crm('protected')));
  expect((await run(good.url, 'status', '--junit')).stdout).toContain('tests="1" failures="0"');
  expect((await run(good.url, 'status', '--junit', '--nagios')).status).toBe(64);
});
