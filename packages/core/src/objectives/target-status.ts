import type { Finding } from '@lastgood/protocol';
import { TARGET_STATES } from '@lastgood/protocol';
import type { RestoreTime } from './restore-time.ts';

/** The states of a target, worst first. */
export { TARGET_STATES };
/**
 * `protected`: all objectives are met · `at_risk`: over 80 % of an objective, or something lowers the trust in it · `missed`: an
 * objective is not met · `none`: there is no recovery point · `unknown`: nothing was reported · `pending`: its first backup is not due yet.
 */
export type TargetState = (typeof TARGET_STATES)[number];

/** Above this share of an objective a target is at risk. */
export const AT_RISK_SHARE = 0.8;

/** The last attempt of a command failed, and so did every attempt since `sinceMs`. */
export interface FailedAttempt {
  readonly command: string;
  readonly atMs: number;
  readonly sinceMs: number;
  /** The error code; null when none was reported. */
  readonly cause: string | null;
}

export interface TargetFacts {
  readonly environment: string;
  readonly host: string;
  readonly target: string;
  /** Null when no policy selects the target. */
  readonly objectives: {
    readonly rpoMs: number | null;
    readonly rtoMs: number | null;
    readonly restoreTestMs: number | null;
  } | null;
  /** The largest exposure that the caller accepts, whatever the objectives are; null accepts any. */
  readonly maxAgeMs: number | null;
  readonly requireStream: boolean;
  readonly hostState: 'online' | 'offline' | 'never' | 'quarantined';
  /** False when its agent has never reported it to this catalog. */
  readonly isReported: boolean;
  /** The newest instant that a good backup or the log stream can bring back. */
  readonly recoveryPoint: {
    readonly atMs: number;
    readonly from: 'backup' | 'stream';
    /** The backup of this instant, or the one from which the stream is replayed. */
    readonly backupId: string;
  } | null;
  /** The newest backup of all, whatever its state. */
  readonly newestBackup: {
    readonly backupId: string;
    readonly atMs: number;
    readonly state: 'good' | 'suspect' | 'bad' | 'missing';
  } | null;
  /** When the first good backup was taken; null without one. */
  readonly firstBackupMs: number | null;
  /** When the last backup was attempted, whatever its outcome; null without an attempt. */
  readonly lastAttemptMs: number | null;
  /** The commands whose last attempt failed. */
  readonly failedAttempts: readonly FailedAttempt[];
  /** The latest start of its first scheduled backup; null without a schedule. */
  readonly firstBackupDueMs: number | null;
  readonly streamState: 'running' | 'stopped' | 'gap' | null;
  /** What its agent reported as an error: of the server, the repository or the log stream. */
  readonly reportedErrors: readonly Finding[];
  readonly restoreTime: RestoreTime;
  /** The newest restore test (level 4 and above) that passed. */
  readonly restoreTest: { readonly atMs: number; readonly level: number; readonly backupId: string } | null;
}

/** Why a target is in its state. Each reason alone lowers it to a state (`stateOf`); the worst counts. */
export type StatusReason =
  | { readonly code: 'not_reported' | 'no_recovery_point' | 'no_policy' | 'first_backup_pending' }
  /** Every database is excluded from backups, or gone from the server. */
  | { readonly code: 'nothing_to_protect' }
  | { readonly code: 'host_offline' | 'host_never_connected' | 'host_quarantined' }
  | { readonly code: 'max_age_exceeded'; readonly exposureMs: number; readonly maxAgeMs: number }
  | { readonly code: 'rpo_missed' | 'rpo_at_risk'; readonly exposureMs: number; readonly rpoMs: number }
  | {
      readonly code: 'rto_missed' | 'rto_at_risk';
      readonly restoreMs: number;
      readonly rtoMs: number;
      readonly isEstimate: boolean;
    }
  | { readonly code: 'restore_test_missing'; readonly maxAgeMs: number }
  | { readonly code: 'restore_test_stale'; readonly ageMs: number; readonly maxAgeMs: number }
  | {
      readonly code: 'newest_backup_bad' | 'newest_backup_missing' | 'newest_backup_suspect';
      readonly backupId: string;
    }
  /** No policy sets how old a restore test may be, and the recovery point itself was not restore-tested. */
  | { readonly code: 'never_restore_tested'; readonly backupId: string }
  | { readonly code: 'restore_test_of_older_backup'; readonly backupId: string; readonly testedBackupId: string }
  | ({ readonly code: 'last_attempt_failed' } & FailedAttempt)
  | { readonly code: 'reported_error'; readonly finding: Finding }
  | { readonly code: 'stream_stopped' | 'stream_gap' };

/** A reason of a target. `database` is the one that it is about; absent for the target as a whole. */
export type TargetReason = StatusReason & { readonly database?: string };

/** A target in short: the worst of its databases. */
export interface TargetStatus {
  readonly environment: string;
  readonly host: string;
  readonly target: string;
  readonly state: TargetState;
  /** Worst first. Of several databases with the same reason, the worst is named. */
  readonly reasons: readonly TargetReason[];
  /** The oldest of its databases; null when one has none. */
  readonly recoveryPoint: TargetFacts['recoveryPoint'];
  /** How much time of data would be lost now; null without a recovery point. */
  readonly exposureMs: number | null;
  /** The longest of its databases; unknown when that of one is. */
  readonly restoreTime: RestoreTime;
  /** The oldest of its databases; null when one was never tested. */
  readonly restoreTest: (NonNullable<TargetFacts['restoreTest']> & { readonly isStale: boolean }) | null;
  /** The largest share of an objective that is used up; null when none can be computed. 1 is the objective itself. */
  readonly worstShare: number | null;
}

/** The state to which a reason alone lowers a target. */
export function stateOf(reason: StatusReason): TargetState {
  switch (reason.code) {
    case 'no_recovery_point':
      return 'none';
    case 'not_reported':
    case 'host_never_connected':
      return 'unknown';
    case 'max_age_exceeded':
    case 'rpo_missed':
    case 'rto_missed':
      return 'missed';
    case 'first_backup_pending':
      return 'pending';
    case 'no_policy':
    case 'host_offline':
    case 'host_quarantined':
    case 'rpo_at_risk':
    case 'rto_at_risk':
    case 'restore_test_missing':
    case 'restore_test_stale':
    case 'never_restore_tested':
    case 'restore_test_of_older_backup':
    case 'newest_backup_bad':
    case 'newest_backup_missing':
    case 'newest_backup_suspect':
    case 'last_attempt_failed':
    case 'reported_error':
    case 'nothing_to_protect':
    case 'stream_stopped':
    case 'stream_gap':
      return 'at_risk';
  }
}

const rank = (state: TargetState): number => TARGET_STATES.indexOf(state);
/** Orders states, the worst first. */
export const compareStates = (a: TargetState, b: TargetState): number => rank(a) - rank(b);
export const worstState = (states: readonly TargetState[]): TargetState =>
  TARGET_STATES[Math.min(...states.map(rank))] ?? 'protected';

/** How much time of data would be lost now; null without a recovery point. A clock that is ahead must not make it negative. */
export const exposureOf = ({ recoveryPoint }: Pick<TargetFacts, 'recoveryPoint'>, nowMs: number): number | null =>
  recoveryPoint === null ? null : Math.max(0, nowMs - recoveryPoint.atMs);

function judgeRpo(facts: TargetFacts, nowMs: number): StatusReason[] {
  const rpoMs = facts.objectives?.rpoMs ?? null;
  const exposureMs = exposureOf(facts, nowMs);
  if (rpoMs === null || exposureMs === null) return [];
  if (exposureMs > rpoMs) return [{ code: 'rpo_missed', exposureMs, rpoMs }];
  return exposureMs > rpoMs * AT_RISK_SHARE ? [{ code: 'rpo_at_risk', exposureMs, rpoMs }] : [];
}

function judgeMaxAge(facts: TargetFacts, nowMs: number): StatusReason[] {
  const { maxAgeMs } = facts;
  const exposureMs = exposureOf(facts, nowMs);
  return maxAgeMs === null || exposureMs === null || exposureMs <= maxAgeMs
    ? []
    : [{ code: 'max_age_exceeded', exposureMs, maxAgeMs }];
}

function judgeRto({ objectives, restoreTime }: TargetFacts): StatusReason[] {
  const rtoMs = objectives?.rtoMs ?? null;
  if (rtoMs === null || restoreTime.basis === 'unknown') return [];
  const reason = { restoreMs: restoreTime.ms, rtoMs, isEstimate: restoreTime.basis === 'estimated' };
  if (restoreTime.ms > rtoMs) return [{ code: 'rto_missed', ...reason }];
  return restoreTime.ms > rtoMs * AT_RISK_SHARE ? [{ code: 'rto_at_risk', ...reason }] : [];
}

/** Without a policy that sets an age, only a restore test of the recovery point itself shows that it can be restored. */
function judgeTestedBackup({ recoveryPoint, restoreTest }: TargetFacts): StatusReason[] {
  if (recoveryPoint === null || restoreTest?.backupId === recoveryPoint.backupId) return [];
  const { backupId } = recoveryPoint;
  if (restoreTest === null) return [{ code: 'never_restore_tested', backupId }];
  return [{ code: 'restore_test_of_older_backup', backupId, testedBackupId: restoreTest.backupId }];
}

/** A restore test is due from the first good backup on: a new target has the time that the policy gives. */
function judgeRestoreTest(facts: TargetFacts, nowMs: number): StatusReason[] {
  const { objectives, restoreTest, firstBackupMs } = facts;
  const maxAgeMs = objectives?.restoreTestMs ?? null;
  if (maxAgeMs === null) return judgeTestedBackup(facts);
  if (restoreTest !== null) {
    const ageMs = nowMs - restoreTest.atMs;
    return ageMs > maxAgeMs ? [{ code: 'restore_test_stale', ageMs, maxAgeMs }] : [];
  }
  return firstBackupMs !== null && nowMs - firstBackupMs > maxAgeMs ? [{ code: 'restore_test_missing', maxAgeMs }] : [];
}

const judgeNewestBackup = ({ newestBackup }: TargetFacts): StatusReason[] =>
  newestBackup === null || newestBackup.state === 'good'
    ? []
    : [{ code: `newest_backup_${newestBackup.state}`, backupId: newestBackup.backupId }];

const judgeAttempts = ({ failedAttempts }: Pick<TargetFacts, 'failedAttempts'>): StatusReason[] =>
  failedAttempts.map((attempt) => ({ code: 'last_attempt_failed', ...attempt }));

function judgeHost({ hostState }: Pick<TargetFacts, 'hostState'>): StatusReason[] {
  switch (hostState) {
    case 'online':
      return [];
    case 'offline':
      return [{ code: 'host_offline' }];
    case 'never':
      return [{ code: 'host_never_connected' }];
    case 'quarantined':
      return [{ code: 'host_quarantined' }];
  }
}

function judgeStream({
  requireStream,
  streamState,
}: Pick<TargetFacts, 'requireStream' | 'streamState'>): StatusReason[] {
  if (streamState === 'gap') return [{ code: 'stream_gap' }];
  return requireStream && streamState !== 'running' ? [{ code: 'stream_stopped' }] : [];
}

function judgeRecoveryPoint(
  { recoveryPoint, firstBackupDueMs, lastAttemptMs }: TargetFacts,
  nowMs: number,
): StatusReason[] {
  if (recoveryPoint !== null) return [];
  const isPending = firstBackupDueMs !== null && nowMs <= firstBackupDueMs && lastAttemptMs === null;
  return [{ code: isPending ? 'first_backup_pending' : 'no_recovery_point' }];
}

/** The reasons that follow from what can be restored of a target, or of one database of it. */
export function judgeProtection(facts: TargetFacts, nowMs: number): StatusReason[] {
  return [
    ...judgeRecoveryPoint(facts, nowMs),
    ...judgeMaxAge(facts, nowMs),
    ...judgeRpo(facts, nowMs),
    ...judgeRto(facts),
    ...judgeNewestBackup(facts),
    ...judgeRestoreTest(facts, nowMs),
  ];
}

type SurroundingFacts = Pick<
  TargetFacts,
  'isReported' | 'hostState' | 'failedAttempts' | 'requireStream' | 'streamState' | 'objectives' | 'reportedErrors'
>;

/** The reasons that concern a target as a whole: its host, its jobs, its log stream and its policy. */
export function judgeSurroundings(facts: SurroundingFacts): StatusReason[] {
  return [
    ...(facts.isReported ? [] : [{ code: 'not_reported' as const }]),
    ...judgeHost(facts),
    ...judgeAttempts(facts),
    ...judgeStream(facts),
    ...facts.reportedErrors.map((finding) => ({ code: 'reported_error' as const, finding })),
    ...(facts.objectives === null ? [{ code: 'no_policy' as const }] : []),
  ];
}

/** The reasons with the worst first. */
export const worstFirst = <R extends StatusReason>(reasons: readonly R[]): R[] =>
  reasons.toSorted((a, b) => rank(stateOf(a)) - rank(stateOf(b)));
