import { makeFinding } from '@lastgood/protocol';
import { describe, expect, test } from 'vitest';
import {
  ALERT_CODES,
  ALERTS,
  type AlertCode,
  type AlertCondition,
  type BackupSize,
  describeAlert,
  judgeFleet,
  judgeHost,
  judgeTarget,
  type RepositoryAlertFacts,
  stepAlerts,
  type TargetAlertFacts,
} from '../../src/alerts/index.ts';
import type { TargetFacts } from '../../src/objectives/index.ts';
import type { DrillStatus } from '../../src/runbooks/index.ts';
import { DAY, fleetFacts, HOUR, hostFacts, MINUTE, NOW, status, targetFacts } from './support.ts';

const GIB = 1024 ** 3;
const series = (...gib: number[]): BackupSize[] =>
  gib.map((size) => ({ producedBytes: size * GIB, state: 'good', verifiedLevel: null }));
const withStatus = (more: Partial<TargetFacts>): Partial<TargetAlertFacts> => ({ status: status(more) });
const repository = (more: Partial<RepositoryAlertFacts> = {}): RepositoryAlertFacts => ({
  repository: 'local',
  isReachable: true,
  code: null,
  freeBytes: 500 * GIB,
  totalBytes: 1000 * GIB,
  largestBackupBytes: 10 * GIB,
  ...more,
});

const ofTarget = (more: Partial<TargetAlertFacts>): AlertCondition[] => judgeTarget(targetFacts(more), NOW);
const ofHost = (more: Partial<Parameters<typeof judgeHost>[0]>): AlertCondition[] => judgeHost(hostFacts(more), NOW);
const ofRepository = (more: Partial<RepositoryAlertFacts>): AlertCondition[] =>
  ofHost({ repositories: [repository(more)] });
const drill = (more: Partial<DrillStatus> = {}): DrillStatus => ({
  runbook: 'disaster-recovery',
  ...{ runId: null, hasFailed: false, durationMs: HOUR, rtoMs: 4 * HOUR, rto: 'met', overdueSinceMs: null },
  ...more,
});
const ofFleet = (more: Partial<Parameters<typeof judgeFleet>[0]>): AlertCondition[] =>
  judgeFleet(fleetFacts(more), NOW);

interface Case {
  readonly code: AlertCode;
  readonly when: string;
  /** The condition holds. */
  readonly bad: AlertCondition[];
  /** It does not, just below the limit or after the repair. */
  readonly good: AlertCondition[];
  readonly text: string;
}
const cases: Case[] = [
  {
    code: 'backup_age',
    when: 'the newest good backup is older than the limit',
    bad: ofTarget({ newestGoodBackupMs: NOW - 25 * HOUR }),
    good: ofTarget({ newestGoodBackupMs: NOW - 24 * HOUR }),
    text: 'prod/db-1/postgres: newest backup is too old (1d1h old, limit 1d)',
  },
  {
    code: 'backup_age',
    when: 'there is no backup, and the first one was due',
    bad: ofTarget({ newestGoodBackupMs: null }),
    good: ofTarget({
      newestGoodBackupMs: null,
      ...withStatus({
        recoveryPoint: null,
        newestBackup: null,
        lastAttemptMs: null,
        firstBackupDueMs: NOW + 1,
        firstBackupMs: null,
        restoreTest: null,
        restoreTime: { basis: 'unknown' },
      }),
    }),
    text: 'prod/db-1/postgres: newest backup is too old (there is no good backup)',
  },
  {
    code: 'backup_size_change',
    when: 'the fourth backup shrinks by more than half',
    bad: ofTarget({ sizes: { logical: series(10, 10, 10, 4.9) } }),
    good: ofTarget({ sizes: { logical: series(10, 10, 10, 5) } }),
    text: 'prod/db-1/postgres: size of the newest backup changed (logical: -51 %, limit 50 %)',
  },
  {
    code: 'backup_size_change',
    when: 'a backup grows by more than half',
    bad: ofTarget({ sizes: { logical: series(10, 10, 10, 15.2), rdb: series(1, 1, 1, 1) } }),
    good: ofTarget({ sizes: { logical: series(10, 10, 10, 15) } }),
    text: 'prod/db-1/postgres: size of the newest backup changed (logical: +52 %, limit 50 %)',
  },
  {
    code: 'backup_size_change',
    when: 'emptied backups go on: none of them becomes the measure',
    bad: ofTarget({ sizes: { logical: series(10, 10, 10, 1, 1, 1, 1, 1, 1, 1, 1) } }),
    good: ofTarget({ sizes: { logical: series(10, 10, 10, 1, 1, 10) } }),
    text: 'prod/db-1/postgres: size of the newest backup changed (logical: -90 %, limit 50 %)',
  },
  {
    code: 'backup_duration',
    when: 'the last backup took longer than the limit',
    bad: ofTarget({ lastBackupDurationMs: HOUR + 1 }),
    good: ofTarget({ lastBackupDurationMs: HOUR }),
    text: 'prod/db-1/postgres: backup took too long (1h, limit 1h)',
  },
  {
    code: 'backup_duration',
    when: 'a backup has been running longer than the limit',
    bad: ofTarget({ runningSinceMs: NOW - 2 * HOUR }),
    good: ofTarget({ runningSinceMs: NOW - MINUTE }),
    text: 'prod/db-1/postgres: backup took too long (2h, limit 1h)',
  },
  {
    code: 'backup_failed',
    when: 'the last backup failed',
    bad: ofTarget({ lastAttempt: { succeeded: false, code: 'NO_SPACE' } }),
    good: ofTarget({ lastAttempt: { succeeded: true, code: null } }),
    text: 'prod/db-1/postgres: last backup failed (NO_SPACE)',
  },
  {
    code: 'occurrence_missed',
    when: 'the newest run of a schedule was missed or skipped',
    bad: ofTarget({
      latestOccurrences: [
        { schedule: 'verify-l6', dueMs: NOW - 2 * HOUR, state: 'skipped' },
        { schedule: 'backup-logical', dueMs: NOW - HOUR, state: 'missed' },
        { schedule: 'rotate', dueMs: NOW, state: 'waiting' },
      ],
    }),
    good: ofTarget({ latestOccurrences: [{ schedule: 'backup-logical', dueMs: NOW, state: 'running' }] }),
    text: 'prod/db-1/postgres: scheduled run did not take place (backup-logical, verify-l6, due 2027-06-01T11:00Z)',
  },
  {
    code: 'newest_backup_unusable',
    when: 'the newest backup of a database is missing',
    bad: ofTarget(withStatus({ newestBackup: { backupId: 'b9', atMs: NOW, state: 'missing' } })),
    good: ofTarget(withStatus({ newestBackup: { backupId: 'b9', atMs: NOW, state: 'suspect' } })),
    text: 'prod/db-1/postgres: newest backup is bad or missing (shop: backup b9 is missing)',
  },
  {
    code: 'target_error',
    when: 'the agent reports errors of the target',
    bad: ofTarget(
      withStatus({
        reportedErrors: [
          makeFinding('SERVER_UNREACHABLE', { kind: 'target', name: 'postgres' }),
          makeFinding(
            'COMPENSATION_FAILED',
            { kind: 'target', name: 'postgres' },
            { step: 'x', job: 'j', error: 'IO_ERROR', reason: 'y' },
          ),
        ],
      }),
    ),
    good: ofTarget(withStatus({ reportedErrors: [] })),
    text: 'prod/db-1/postgres: agent reports an error of the target (COMPENSATION_FAILED, SERVER_UNREACHABLE)',
  },
  {
    code: 'rpo_missed',
    when: 'the exposure is above the RPO',
    bad: ofTarget(withStatus({ recoveryPoint: { atMs: NOW - 30 * HOUR, from: 'backup', backupId: 'b2' } })),
    good: ofTarget(withStatus({ recoveryPoint: { atMs: NOW - 24 * HOUR, from: 'backup', backupId: 'b2' } })),
    text: 'prod/db-1/postgres: more data would be lost than the RPO allows (shop: 1d6h of data would be lost, RPO 1d)',
  },
  {
    code: 'rto_missed',
    when: 'a restore takes longer than the RTO',
    bad: ofTarget(withStatus({ restoreTime: { basis: 'estimated', ms: 5 * HOUR } })),
    good: ofTarget(withStatus({ restoreTime: { basis: 'measured', ms: 4 * HOUR, atMs: NOW } })),
    text: 'prod/db-1/postgres: a restore takes longer than the RTO allows (shop: 5h estimated, RTO 4h)',
  },
  {
    code: 'agent_offline',
    when: 'a host has been offline for more than five minutes',
    bad: ofHost({ state: 'offline', sinceMs: NOW - 5 * MINUTE - 1 }),
    good: ofHost({ state: 'offline', sinceMs: NOW - 5 * MINUTE }),
    text: 'prod/db-1: agent is offline (offline since 2027-06-01T11:54Z)',
  },
  {
    code: 'agent_offline',
    when: 'an enrolled host never connected',
    bad: ofHost({ state: 'never', sinceMs: NOW - 2 * HOUR }),
    good: ofHost({ state: 'never', sinceMs: NOW - 10 * MINUTE }),
    text: 'prod/db-1: agent is offline (never since 2027-06-01T10:00Z)',
  },
  {
    code: 'agent_offline',
    when: 'a host is quarantined',
    bad: ofHost({ state: 'quarantined', sinceMs: NOW }),
    good: ofHost({ state: 'online' }),
    text: 'prod/db-1: agent is offline (quarantined since 2027-06-01T12:00Z)',
  },
  {
    code: 'agent_offline',
    when: 'a host with slow heartbeats misses three of them',
    bad: ofHost({ state: 'offline', heartbeatMs: 10 * MINUTE, sinceMs: NOW - 31 * MINUTE }),
    good: ofHost({ state: 'offline', heartbeatMs: 10 * MINUTE, sinceMs: NOW - 29 * MINUTE }),
    text: 'prod/db-1: agent is offline (offline since 2027-06-01T11:29Z)',
  },
  {
    code: 'log_gap',
    when: 'the log stream has a gap',
    bad: ofTarget({ stream: { lagMs: 0, gaps: 2 } }),
    good: ofTarget({ stream: { lagMs: 0, gaps: 0 } }),
    text: 'prod/db-1/postgres: log stream has a gap (2 gaps)',
  },
  {
    code: 'log_lag',
    when: 'the log stream lags more than the limit',
    bad: ofTarget({ stream: { lagMs: HOUR + MINUTE, gaps: 0 } }),
    good: ofTarget({ stream: { lagMs: HOUR, gaps: 0 } }),
    text: 'prod/db-1/postgres: log stream lags behind (1h1m, limit 1h)',
  },
  {
    code: 'verification_failed',
    when: 'the last verification failed',
    bad: ofTarget({ lastVerification: { passed: false, backupId: 'b7', level: 1 } }),
    good: ofTarget({ lastVerification: null }),
    text: 'prod/db-1/postgres: verification found a bad backup (backup b7, level 1)',
  },
  {
    code: 'verification_stale',
    when: 'the last restore test is older than the policy asks',
    bad: ofTarget(withStatus({ restoreTest: { atMs: NOW - 9 * DAY, level: 4, backupId: 'b' } })),
    good: ofTarget(withStatus({ restoreTest: { atMs: NOW - 8 * DAY, level: 4, backupId: 'b' } })),
    text: 'prod/db-1/postgres: last restore test is too old (shop: 9d ago, limit 8d)',
  },
  {
    code: 'verification_stale',
    when: 'there was no restore test in the time that the policy gives',
    bad: ofTarget(withStatus({ restoreTest: null })),
    good: ofTarget(withStatus({ restoreTest: null, firstBackupMs: NOW - DAY })),
    text: 'prod/db-1/postgres: last restore test is too old (shop: there was none, limit 8d)',
  },
  {
    code: 'last_tested_backup_expiring',
    when: 'rotation removes the last restore-tested backup within two days',
    bad: ofTarget({ lastTested: { backupId: 'b7', expiresMs: NOW + 47 * HOUR } }),
    good: ofTarget({ lastTested: { backupId: 'b7', expiresMs: NOW + 49 * HOUR } }),
    text: 'prod/db-1/postgres: last restore-tested backup is about to be rotated (backup b7, in 1d23h)',
  },
  {
    code: 'repository_space',
    when: 'less than 15 % is free',
    bad: ofRepository({ freeBytes: 149 * GIB }),
    good: ofRepository({ freeBytes: 150 * GIB }),
    text: 'prod/db-1 repository local: repository is running out of space (149.0 GiB free)',
  },
  {
    code: 'repository_space',
    when: 'the next two backups do not fit',
    bad: ofRepository({ largestBackupBytes: 300 * GIB }),
    good: ofRepository({ freeBytes: null }),
    text: 'prod/db-1 repository local: repository is running out of space (500.0 GiB free)',
  },
  {
    code: 'repository_unreachable',
    when: 'the repository cannot be used',
    bad: ofRepository({ isReachable: false, code: 'REPOSITORY_NOT_MOUNTED' }),
    good: ofRepository({}),
    text: 'prod/db-1 repository local: repository is unreachable (REPOSITORY_NOT_MOUNTED)',
  },
  {
    code: 'clock_skew',
    when: 'the clocks differ by more than 30 seconds',
    bad: ofHost({ clockSkewMs: -31_000 }),
    good: ofHost({ clockSkewMs: -30_000 }),
    text: 'prod/db-1: clock differs from the control plane (-31 s)',
  },
  {
    code: 'token_expiring',
    when: 'a token expires within two weeks, or has expired',
    bad: ofFleet({ tokens: [{ name: 'ci', expiresMs: NOW + 13 * DAY }] }),
    good: ofFleet({
      tokens: [
        { name: 'ci', expiresMs: NOW + 14 * DAY },
        { name: 'old', expiresMs: NOW - 8 * DAY },
        { name: 'never', expiresMs: null },
      ],
    }),
    text: 'token ci: token expires soon (on 2027-06-14T12:00Z)',
  },
  {
    code: 'certificate_expiring',
    when: 'the certificate that the agent sees expires within three weeks',
    bad: ofHost({ certificateExpiresMs: NOW + 20 * DAY }),
    good: ofHost({ certificateExpiresMs: NOW + 21 * DAY }),
    text: 'prod/db-1: certificate expires soon (on 2027-06-21T12:00Z)',
  },
  {
    code: 'drill_failed',
    when: 'the last drill of a runbook failed',
    bad: ofFleet({ drills: [drill({ runId: 'r1', hasFailed: true, rto: 'drill-failed' })] }),
    good: ofFleet({ drills: [drill()] }),
    text: 'runbook disaster-recovery: last drill failed (run r1)',
  },
  {
    code: 'drill_overdue',
    when: 'no drill has started for an instant of the schedule',
    bad: ofFleet({ drills: [drill({ overdueSinceMs: NOW - DAY })] }),
    good: ofFleet({ drills: [drill()] }),
    text: 'runbook disaster-recovery: scheduled drill did not start (due 2027-05-31T12:00Z)',
  },
  {
    code: 'drill_rto_missed',
    when: 'the last drill took longer than the RTO',
    bad: ofFleet({ drills: [drill({ durationMs: 5 * HOUR, rto: 'missed' })] }),
    good: ofFleet({ drills: [drill()] }),
    text: 'runbook disaster-recovery: last drill took longer than the RTO (5h, RTO 4h)',
  },
  {
    code: 'catalog_backup_old',
    when: 'the catalog was not backed up for more than 26 hours',
    bad: ofFleet({ startedMs: NOW - 9 * DAY, lastCatalogBackupMs: NOW - 27 * HOUR }),
    good: ofFleet({ startedMs: NOW - 9 * DAY, lastCatalogBackupMs: NOW - 26 * HOUR }),
    text: 'catalog: catalog has no recent backup (1d3h old)',
  },
  {
    code: 'catalog_backup_old',
    when: 'the catalog was never backed up',
    bad: ofFleet({ startedMs: NOW - 27 * HOUR }),
    good: ofFleet({ startedMs: NOW - HOUR }),
    text: 'catalog: catalog has no recent backup (1d3h old)',
  },
  {
    code: 'catalog_forked',
    when: 'an agent has a session of another copy of the catalog',
    bad: ofFleet({ otherControlSeenMs: NOW - 59 * MINUTE }),
    good: ofFleet({ otherControlSeenMs: NOW - HOUR }),
    text: 'catalog: another control plane, or a newer copy of this catalog, has served agents (last seen 2027-06-01T11:01Z)',
  },
  {
    code: 'notification_failed',
    when: 'a message was given up, or has been undelivered for 15 minutes',
    bad: ofFleet({ undelivered: [{ contact: 'dba', sinceMs: NOW - MINUTE, isGivenUp: true, cause: 'EAUTH' }] }),
    good: ofFleet({ undelivered: [{ contact: 'dba', sinceMs: NOW - MINUTE, isGivenUp: false, cause: 'ETIMEDOUT' }] }),
    text: 'contact dba: notification could not be delivered (EAUTH)',
  },
];

describe('each rule', () => {
  test.for(cases)('$code fires and is resolved: $when', ({ code, bad, good, text }) => {
    expect(bad.map((condition) => condition.code)).toEqual([code]);
    expect(bad.map(describeAlert)).toEqual([text]);
    expect(good).toEqual([]);
    // The same through the state machine, with the times that the code has.
    const { forMs, clearMs } = ALERTS[code];
    const opened = stepAlerts([], bad, NOW);
    const fired = stepAlerts(opened.alerts, bad, NOW + forMs);
    expect(fired.alerts.map(({ state }) => state)).toEqual(['firing']);
    const resolved = stepAlerts(fired.alerts, good, NOW + forMs + clearMs);
    expect(resolved.alerts.map(({ state }) => state)).toEqual(['resolved']);
  });

  test('has a case', () => {
    expect(new Set(cases.map(({ code }) => code))).toEqual(new Set(ALERT_CODES));
  });
});

test('a target, a host and a fleet in good order have no conditions', () => {
  expect([ofTarget({}), ofHost({ repositories: [repository()] }), ofFleet({})]).toEqual([[], [], []]);
});

describe('the size of backups', () => {
  test('is not compared before the fourth', () => {
    expect(ofTarget({ sizes: { logical: series(10, 10, 1) } })).toEqual([]);
  });
  test('of a restore-tested backup is right, whatever it is', () => {
    const tested = [...series(10, 10, 10), { producedBytes: GIB, state: 'good' as const, verifiedLevel: 4 }];
    expect(ofTarget({ sizes: { logical: tested } })).toEqual([]);
  });
  test('may change by 16 KiB in a database that is next to empty', () => {
    const tiny = [1_000, 1_000, 1_000, 9_000].map((producedBytes) => ({
      producedBytes,
      state: 'good' as const,
      verifiedLevel: null,
    }));
    expect(ofTarget({ sizes: { logical: tiny } })).toEqual([]);
  });
});

test('codes that the policies of a target mute are never raised', () => {
  const { thresholds } = targetFacts();
  const bad = { lastAttempt: { succeeded: false, code: null }, lastBackupDurationMs: 9 * HOUR };
  expect(ofTarget(bad).map(({ code }) => code)).toEqual(['backup_duration', 'backup_failed']);
  expect(
    ofTarget({ ...bad, thresholds: { ...thresholds, mute: ['backup_duration'] } }).map(({ code }) => code),
  ).toEqual(['backup_failed']);
});
