import type { RestoreTime } from './restore-time.ts';

/** The states of a target, worst first. */
export const TARGET_STATES = ['none', 'missed', 'unknown', 'at_risk', 'pending', 'protected'] as const;
/**
 * `protected`: all objectives are met · `at_risk`: over 80 % of an objective, or something lowers the trust in it · `missed`: an
 * objective is not met · `none`: there is no recovery point · `unknown`: nothing was reported · `pending`: its first backup is not due yet.
 */
export type TargetState = (typeof TARGET_STATES)[number];

/** Above this share of an objective a target is at risk. */
export const AT_RISK_SHARE = 0.8;

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
  readonly requireStream: boolean;
  readonly hostState: 'online' | 'offline' | 'never' | 'quarantined';
  /** False when its agent has never reported it to this catalog. */
  readonly isReported: boolean;
  /** The newest instant that a good backup or the log stream can bring back. */
  readonly recoveryPoint: { readonly atMs: number; readonly from: 'backup' | 'stream' } | null;
  /** The newest backup of all, whatever its state. */
  readonly newestBackup: {
    readonly backupId: string;
    readonly atMs: number;
    readonly state: 'good' | 'suspect' | 'bad' | 'missing';
  } | null;
  /** When the first good backup was taken; null without one. */
  readonly firstBackupMs: number | null;
  readonly lastAttempt: {
    readonly atMs: number;
    readonly succeeded: boolean;
    /** The error code of a failed one. */
    readonly code: string | null;
  } | null;
  /** The latest start of its first scheduled backup; null without a schedule. */
  readonly firstBackupDueMs: number | null;
  readonly streamState: 'running' | 'stopped' | 'gap' | null;
  readonly restoreTime: RestoreTime;
  /** The newest restore test (level 4 and above) that passed. */
  readonly restoreTest: { readonly atMs: number; readonly level: number; readonly backupId: string } | null;
}

/** Why a target is in its state. Each reason alone lowers it to a state (`stateOf`); the worst counts. */
export type StatusReason =
  | { readonly code: 'not_reported' | 'no_recovery_point' | 'no_policy' | 'first_backup_pending' }
  | { readonly code: 'host_offline' | 'host_never_connected' | 'host_quarantined' }
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
  | { readonly code: 'last_attempt_failed'; readonly atMs: number; readonly cause: string | null }
  | { readonly code: 'stream_stopped' | 'stream_gap' };

export interface TargetStatus {
  readonly environment: string;
  readonly host: string;
  readonly target: string;
  readonly state: TargetState;
  /** Worst first. */
  readonly reasons: readonly StatusReason[];
  readonly recoveryPoint: TargetFacts['recoveryPoint'];
  /** How much time of data would be lost now; null without a recovery point. */
  readonly exposureMs: number | null;
  readonly restoreTime: RestoreTime;
  readonly restoreTest: (NonNullable<TargetFacts['restoreTest']> & { readonly isStale: boolean }) | null;
  /** The largest share of an objective that is used up; null when none can be computed. 1 is the objective itself. */
  readonly worstShare: number | null;
}

function stateOf(reason: StatusReason): TargetState {
  switch (reason.code) {
    case 'no_recovery_point':
      return 'none';
    case 'not_reported':
    case 'host_never_connected':
      return 'unknown';
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
    case 'newest_backup_bad':
    case 'newest_backup_missing':
    case 'newest_backup_suspect':
    case 'last_attempt_failed':
    case 'stream_stopped':
    case 'stream_gap':
      return 'at_risk';
  }
}

const rank = (state: TargetState): number => TARGET_STATES.indexOf(state);
export const worstState = (states: readonly TargetState[]): TargetState =>
  TARGET_STATES[Math.min(...states.map(rank))] ?? 'protected';

const exposureOf = ({ recoveryPoint }: TargetFacts, nowMs: number): number | null =>
  // A clock that is ahead must not make the exposure negative.
  recoveryPoint === null ? null : Math.max(0, nowMs - recoveryPoint.atMs);

function judgeRpo(facts: TargetFacts, nowMs: number): StatusReason[] {
  const rpoMs = facts.objectives?.rpoMs ?? null;
  const exposureMs = exposureOf(facts, nowMs);
  if (rpoMs === null || exposureMs === null) return [];
  if (exposureMs > rpoMs) return [{ code: 'rpo_missed', exposureMs, rpoMs }];
  return exposureMs > rpoMs * AT_RISK_SHARE ? [{ code: 'rpo_at_risk', exposureMs, rpoMs }] : [];
}

function judgeRto({ objectives, restoreTime }: TargetFacts): StatusReason[] {
  const rtoMs = objectives?.rtoMs ?? null;
  if (rtoMs === null || restoreTime.basis === 'unknown') return [];
  const reason = { restoreMs: restoreTime.ms, rtoMs, isEstimate: restoreTime.basis === 'estimated' };
  if (restoreTime.ms > rtoMs) return [{ code: 'rto_missed', ...reason }];
  return restoreTime.ms > rtoMs * AT_RISK_SHARE ? [{ code: 'rto_at_risk', ...reason }] : [];
}

/** A restore test is due from the first good backup on: a new target has the time that the policy gives. */
function judgeRestoreTest({ objectives, restoreTest, firstBackupMs }: TargetFacts, nowMs: number): StatusReason[] {
  const maxAgeMs = objectives?.restoreTestMs ?? null;
  if (maxAgeMs === null) return [];
  if (restoreTest !== null) {
    const ageMs = nowMs - restoreTest.atMs;
    return ageMs > maxAgeMs ? [{ code: 'restore_test_stale', ageMs, maxAgeMs }] : [];
  }
  return firstBackupMs !== null && nowMs - firstBackupMs > maxAgeMs ? [{ code: 'restore_test_missing', maxAgeMs }] : [];
}

function judgeBackups({ newestBackup, lastAttempt }: TargetFacts): StatusReason[] {
  const reasons: StatusReason[] = [];
  if (newestBackup !== null && newestBackup.state !== 'good')
    reasons.push({ code: `newest_backup_${newestBackup.state}`, backupId: newestBackup.backupId });
  if (lastAttempt !== null && !lastAttempt.succeeded)
    reasons.push({ code: 'last_attempt_failed', atMs: lastAttempt.atMs, cause: lastAttempt.code });
  return reasons;
}

function judgeHost({ hostState }: TargetFacts): StatusReason[] {
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

function judgeStream({ requireStream, streamState }: TargetFacts): StatusReason[] {
  if (streamState === 'gap') return [{ code: 'stream_gap' }];
  return requireStream && streamState !== 'running' ? [{ code: 'stream_stopped' }] : [];
}

function judgeRecoveryPoint(
  { recoveryPoint, firstBackupDueMs, lastAttempt }: TargetFacts,
  nowMs: number,
): StatusReason[] {
  if (recoveryPoint !== null) return [];
  const isPending = firstBackupDueMs !== null && nowMs <= firstBackupDueMs && lastAttempt === null;
  return [{ code: isPending ? 'first_backup_pending' : 'no_recovery_point' }];
}

function worstShareOf(facts: TargetFacts, nowMs: number): number | null {
  const { objectives, restoreTime } = facts;
  const exposureMs = exposureOf(facts, nowMs);
  const shares = [
    objectives?.rpoMs == null || exposureMs === null ? null : exposureMs / objectives.rpoMs,
    objectives?.rtoMs == null || restoreTime.basis === 'unknown' ? null : restoreTime.ms / objectives.rtoMs,
  ].filter((share) => share !== null);
  return shares.length === 0 ? null : Math.max(...shares);
}

/** The state of a target, its numbers, and every reason for it. Judges elapsed time only, never the number of runs. */
export function evaluateTarget(facts: TargetFacts, nowMs: number): TargetStatus {
  const { environment, host, target, restoreTime, restoreTest } = facts;
  const common = { environment, host, target, restoreTime };
  if (!facts.isReported) {
    const reasons: StatusReason[] = [{ code: 'not_reported' }, ...judgeHost(facts)];
    return {
      ...common,
      state: 'unknown',
      reasons,
      recoveryPoint: null,
      exposureMs: null,
      restoreTest: null,
      worstShare: null,
    };
  }
  const staleness = judgeRestoreTest(facts, nowMs);
  const reasons: StatusReason[] = [
    ...judgeRecoveryPoint(facts, nowMs),
    ...judgeRpo(facts, nowMs),
    ...judgeRto(facts),
    ...judgeHost(facts),
    ...judgeBackups(facts),
    ...judgeStream(facts),
    ...staleness,
    ...(facts.objectives === null ? [{ code: 'no_policy' as const }] : []),
  ];
  return {
    ...common,
    state: worstState(reasons.map(stateOf)),
    reasons: reasons.toSorted((a, b) => rank(stateOf(a)) - rank(stateOf(b))),
    recoveryPoint: facts.recoveryPoint,
    exposureMs: exposureOf(facts, nowMs),
    restoreTest:
      restoreTest === null
        ? null
        : { ...restoreTest, isStale: staleness.some(({ code }) => code === 'restore_test_stale') },
    worstShare: worstShareOf(facts, nowMs),
  };
}
