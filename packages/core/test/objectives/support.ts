import { type DatabaseFacts, evaluateTarget, type TargetFacts, type TargetStatus } from '../../src/objectives/index.ts';

export const HOUR = 3_600_000;
export const DAY = 24 * HOUR;
export const NOW = Date.parse('2027-06-01T12:00:00Z');

/** A target in good order: a backup an hour ago, restore-tested yesterday. */
export const facts = (more: Partial<TargetFacts> = {}): TargetFacts => ({
  environment: 'prod',
  host: 'db-1',
  target: 'postgres',
  objectives: { rpoMs: 24 * HOUR, rtoMs: 4 * HOUR, restoreTestMs: 8 * DAY },
  maxAgeMs: null,
  requireStream: false,
  hostState: 'online',
  isReported: true,
  recoveryPoint: { atMs: NOW - HOUR, from: 'backup', backupId: 'b2' },
  newestBackup: { backupId: 'b2', atMs: NOW - HOUR, state: 'good' },
  firstBackupMs: NOW - 30 * DAY,
  lastAttemptMs: NOW - HOUR,
  failedAttempts: [],
  firstBackupDueMs: null,
  streamState: null,
  reportedErrors: [],
  restoreTime: { basis: 'measured', ms: HOUR, atMs: NOW - DAY },
  restoreTest: { atMs: NOW - DAY, level: 6, backupId: 'b1' },
  ...more,
});
/** The only database of a target, with the facts of the target. */
export const database = (all: TargetFacts, more: Partial<DatabaseFacts> = {}): DatabaseFacts => ({
  ...all,
  database: 'shop',
  isOnServer: true,
  isExcluded: false,
  isRestoredCopy: false,
  firstSeenMs: NOW - 30 * DAY,
  ...more,
});
export const status = (more: Partial<TargetFacts> = {}, nowMs = NOW): TargetStatus =>
  evaluateTarget(facts(more), [database(facts(more))], nowMs);
/** The state and the codes of its reasons: `missed rpo_missed host_offline`. */
export const short = ({ state, reasons }: TargetStatus): string =>
  [state, ...reasons.map(({ code }) => code)].join(' ');
