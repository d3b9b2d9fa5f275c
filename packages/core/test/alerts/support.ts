import type { Alert, FleetAlertFacts, HostAlertFacts, TargetAlertFacts } from '../../src/alerts/index.ts';
import { HOUR, NOW, status } from '../objectives/support.ts';

export { DAY, HOUR, NOW, status } from '../objectives/support.ts';
export const MINUTE = 60_000;

/** A target about which there is nothing to report. */
export const targetFacts = (more: Partial<TargetAlertFacts> = {}): TargetAlertFacts => ({
  status: status(),
  thresholds: {
    backupAgeMs: 24 * HOUR,
    backupDurationMs: HOUR,
    sizeChangePercent: 50,
    logLagMs: HOUR,
    mute: [],
  },
  newestGoodBackupMs: NOW - HOUR,
  sizes: {},
  lastBackupDurationMs: 10 * MINUTE,
  runningSinceMs: null,
  lastAttempt: { succeeded: true, code: null },
  latestOccurrences: [{ schedule: 'backup-logical', dueMs: NOW - HOUR, state: 'succeeded' }],
  stream: null,
  lastVerification: { passed: true, backupId: 'b', level: 6 },
  lastTested: { backupId: 'b', expiresMs: null },
  ...more,
});

export const hostFacts = (more: Partial<HostAlertFacts> = {}): HostAlertFacts => ({
  environment: 'prod',
  host: 'db-1',
  state: 'online',
  sinceMs: NOW - HOUR,
  heartbeatMs: 15_000,
  clockSkewMs: 100,
  certificateExpiresMs: null,
  repositories: [],
  ...more,
});

export const fleetFacts = (more: Partial<FleetAlertFacts> = {}): FleetAlertFacts => ({
  startedMs: NOW - HOUR,
  lastCatalogBackupMs: null,
  otherControlSeenMs: null,
  tokens: [],
  undelivered: [],
  drills: [],
  ...more,
});

export const alert = (more: Partial<Alert> = {}): Alert => ({
  alertId: 'a1',
  code: 'backup_failed',
  subject: { kind: 'target', environment: 'prod', host: 'db-1', target: 'postgres' },
  params: { cause: 'NO_SPACE' },
  state: 'firing',
  sinceMs: NOW,
  lastSeenMs: NOW,
  firedAtMs: NOW,
  acknowledged: null,
  resolvedAtMs: null,
  ...more,
});
