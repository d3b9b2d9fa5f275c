import { medianOf } from '../median.ts';
import type { TargetReason, TargetStatus } from '../objectives/target-status.ts';
import { NOISE_BYTES, RESTORE_TEST_LEVEL, suspectSizes } from '../verification/verdict.ts';
import type { AlertCode } from './codes.ts';
import type { AlertCondition } from './condition.ts';

const HOUR_MS = 3_600_000;
/** Sizes are compared from the fourth backup on, with the median of up to seven before it. */
const MIN_EARLIER = 3;
const EARLIER = 7;
/** A last restore-tested backup that rotation removes within this time is reported. */
const EXPIRING_MS = 48 * HOUR_MS;

/** Thresholds of a target, from its policies. */
export interface TargetThresholds {
  readonly backupAgeMs: number;
  readonly backupDurationMs: number;
  readonly sizeChangePercent: number;
  readonly logLagMs: number | null;
  readonly mute: readonly AlertCode[];
}

export interface BackupSize {
  readonly producedBytes: number;
  readonly state: 'good' | 'bad';
  /** The level of its last verification, when it passed. */
  readonly verifiedLevel: number | null;
}

export interface TargetAlertFacts {
  readonly status: TargetStatus;
  readonly thresholds: TargetThresholds;
  /** When the newest good backup was finished; null without one. */
  readonly newestGoodBackupMs: number | null;
  /** The backups of each method and contents, oldest first. Different methods have different sizes. */
  readonly sizes: Readonly<Record<string, readonly BackupSize[]>>;
  /** How long the last successful backup took. */
  readonly lastBackupDurationMs: number | null;
  /** When the backup that runs now was started. */
  readonly runningSinceMs: number | null;
  readonly lastAttempt: { readonly succeeded: boolean; readonly code: string | null } | null;
  /** The newest occurrence of each schedule that was due and has left the state `expected`. */
  readonly latestOccurrences: readonly { readonly schedule: string; readonly dueMs: number; readonly state: string }[];
  readonly stream: { readonly lagMs: number | null; readonly gaps: number } | null;
  readonly lastVerification: { readonly passed: boolean; readonly backupId: string; readonly level: number } | null;
  /** The last restore-tested backup, and when rotation would remove it; null for `expiresMs` when it would stay. */
  readonly lastTested: { readonly backupId: string; readonly expiresMs: number | null } | null;
}

type Found = Omit<AlertCondition, 'subject'>;

function judgeAge({ newestGoodBackupMs, thresholds, status }: TargetAlertFacts, nowMs: number): Found[] {
  if (newestGoodBackupMs === null && status.state === 'pending') return [];
  const unprotected = judgeUnprotected(status, thresholds);
  if (newestGoodBackupMs === null || unprotected.length > 0) {
    const none: Found = { code: 'backup_age', params: { ageMs: null, limitMs: thresholds.backupAgeMs } };
    return unprotected.length > 0 ? unprotected : [none];
  }
  const ageMs = nowMs - newestGoodBackupMs;
  return ageMs <= thresholds.backupAgeMs
    ? []
    : [{ code: 'backup_age', params: { ageMs, limitMs: thresholds.backupAgeMs } }];
}

/**
 * How the newest backup of a series differs from the ones before, in percent; null when there are too few, or when it was restore-tested.
 * Backups whose own size is suspect are no measure, so a series of emptied ones never becomes normal.
 */
export function sizeChange(series: readonly BackupSize[]): { percent: number; medianBytes: number } | null {
  const newest = series.at(-1);
  if (newest === undefined || newest.state === 'bad' || (newest.verifiedLevel ?? 0) >= RESTORE_TEST_LEVEL) return null;
  const suspect = suspectSizes(series);
  const earlier = series
    .slice(0, -1)
    .filter(({ state }, index) => state === 'good' && suspect[index] === false)
    .slice(-EARLIER)
    .map(({ producedBytes }) => producedBytes);
  const medianBytes = medianOf(earlier) ?? 0;
  if (earlier.length < MIN_EARLIER || medianBytes === 0) return null;
  const difference = newest.producedBytes - medianBytes;
  return { percent: Math.abs(difference) < NOISE_BYTES ? 0 : (difference / medianBytes) * 100, medianBytes };
}

function judgeSize({ sizes, thresholds }: TargetAlertFacts): Found[] {
  const changes = Object.entries(sizes)
    .map(([series, backups]) => ({ series, change: sizeChange(backups) }))
    .filter(({ change }) => Math.abs(change?.percent ?? 0) > thresholds.sizeChangePercent)
    .toSorted((a, b) => Math.abs(b.change?.percent ?? 0) - Math.abs(a.change?.percent ?? 0));
  const [worst] = changes;
  if (worst === undefined) return [];
  const percent = Math.round(worst.change?.percent ?? 0);
  return [
    {
      code: 'backup_size_change',
      params: { series: worst.series, percent, limitPercent: thresholds.sizeChangePercent },
    },
  ];
}

function judgeDuration({ lastBackupDurationMs, runningSinceMs, thresholds }: TargetAlertFacts, nowMs: number): Found[] {
  const running = runningSinceMs === null ? 0 : nowMs - runningSinceMs;
  const durationMs = Math.max(running, lastBackupDurationMs ?? 0);
  if (durationMs <= thresholds.backupDurationMs) return [];
  return [{ code: 'backup_duration', params: { durationMs, limitMs: thresholds.backupDurationMs } }];
}

function judgeRuns({ lastAttempt, latestOccurrences }: TargetAlertFacts): Found[] {
  const missed = latestOccurrences.filter(({ state }) => state === 'missed' || state === 'skipped');
  const schedules = missed.map(({ schedule }) => schedule).toSorted();
  return [
    ...(lastAttempt?.succeeded === false
      ? [{ code: 'backup_failed' as const, params: { cause: lastAttempt.code } }]
      : []),
    ...(missed.length > 0
      ? [
          {
            code: 'occurrence_missed' as const,
            params: { schedules: schedules.join(', '), dueMs: Math.max(...missed.map(({ dueMs }) => dueMs)) },
          },
        ]
      : []),
  ];
}

/** Alerts that follow from the reasons of the target's state. */
function judgeReason(reason: TargetReason): Found[] {
  const database = reason.database ?? null;
  switch (reason.code) {
    case 'rpo_missed':
      return [{ code: 'rpo_missed', params: { database, exposureMs: reason.exposureMs, rpoMs: reason.rpoMs } }];
    case 'rto_missed': {
      const basis = reason.isEstimate ? 'estimated' : 'measured';
      return [{ code: 'rto_missed', params: { database, restoreMs: reason.restoreMs, rtoMs: reason.rtoMs, basis } }];
    }
    case 'restore_test_stale':
      return [{ code: 'verification_stale', params: { database, ageMs: reason.ageMs, limitMs: reason.maxAgeMs } }];
    case 'restore_test_missing':
      return [{ code: 'verification_stale', params: { database, ageMs: null, limitMs: reason.maxAgeMs } }];
    case 'newest_backup_bad':
    case 'newest_backup_missing': {
      const state = reason.code === 'newest_backup_bad' ? 'bad' : 'missing';
      return [{ code: 'newest_backup_unusable', params: { database, backupId: reason.backupId, state } }];
    }
    default:
      return [];
  }
}

/** A database without any recovery point misses every RPO: it has no exposure that could be measured. */
function judgeUnprotected({ reasons }: TargetStatus, thresholds: TargetThresholds): Found[] {
  const unprotected = reasons.find(({ code }) => code === 'no_recovery_point');
  if (unprotected === undefined) return [];
  const params = { database: unprotected.database ?? null, ageMs: null, limitMs: thresholds.backupAgeMs };
  return [{ code: 'backup_age', params }];
}

/** What the agent reports as an error of the target, as one alert. */
function judgeErrors({ reasons }: TargetStatus): Found[] {
  const codes = reasons.flatMap((reason) => (reason.code === 'reported_error' ? [reason.finding.code] : []));
  return codes.length === 0
    ? []
    : [{ code: 'target_error', params: { findings: [...new Set(codes)].sort().join(', ') } }];
}

function judgeStream({ stream, thresholds }: TargetAlertFacts): Found[] {
  if (stream === null) return [];
  const { lagMs, gaps } = stream;
  const limitMs = thresholds.logLagMs;
  return [
    ...(gaps > 0 ? [{ code: 'log_gap' as const, params: { gaps } }] : []),
    ...(lagMs !== null && limitMs !== null && lagMs > limitMs
      ? [{ code: 'log_lag' as const, params: { lagMs, limitMs } }]
      : []),
  ];
}

function judgeVerification({ lastVerification, lastTested }: TargetAlertFacts, nowMs: number): Found[] {
  const inMs = lastTested?.expiresMs == null ? Number.POSITIVE_INFINITY : lastTested.expiresMs - nowMs;
  return [
    ...(lastVerification?.passed === false
      ? [
          {
            code: 'verification_failed' as const,
            params: { backupId: lastVerification.backupId, level: lastVerification.level },
          },
        ]
      : []),
    ...(inMs <= EXPIRING_MS
      ? [{ code: 'last_tested_backup_expiring' as const, params: { backupId: lastTested?.backupId ?? null, inMs } }]
      : []),
  ];
}

/** The conditions of one target that hold now. Codes that its policies mute are left out. */
export function judgeTarget(facts: TargetAlertFacts, nowMs: number): AlertCondition[] {
  const { environment, host, target } = facts.status;
  const found: Found[] = [
    ...judgeAge(facts, nowMs),
    ...judgeSize(facts),
    ...judgeDuration(facts, nowMs),
    ...judgeRuns(facts),
    ...facts.status.reasons.flatMap(judgeReason),
    ...judgeErrors(facts.status),
    ...judgeStream(facts),
    ...judgeVerification(facts, nowMs),
  ];
  return found
    .filter(({ code }) => !facts.thresholds.mute.includes(code))
    .map((each) => ({ ...each, subject: { kind: 'target', environment, host, target } }));
}
