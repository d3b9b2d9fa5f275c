import { type DatabaseFacts, type DatabaseStatus, evaluateDatabases, type SharedFacts } from './database-status.ts';
import type { RestoreTime } from './restore-time.ts';
import {
  exposureOf,
  judgeProtection,
  judgeSurroundings,
  stateOf,
  type TargetFacts,
  type TargetReason,
  type TargetStatus,
  worstFirst,
  worstState,
} from './target-status.ts';

/** How bad a reason is among those with the same code: the time that it names. */
function severityOf(reason: TargetReason): number {
  if ('exposureMs' in reason) return reason.exposureMs;
  if ('restoreMs' in reason) return reason.restoreMs;
  return 'ageMs' in reason ? reason.ageMs : 0;
}

/** One reason of each code: the worst. A failed attempt of each command, and each reported error, is a reason of its own. */
function worstOfEach(reasons: readonly TargetReason[]): TargetReason[] {
  const keyOf = (reason: TargetReason): string => {
    if (reason.code === 'last_attempt_failed') return `${reason.code} ${reason.command}`;
    if (reason.code !== 'reported_error') return reason.code;
    const { code, subject } = reason.finding;
    return `${reason.code} ${code} ${subject?.kind ?? ''} ${subject?.name ?? ''}`;
  };
  const groups = Map.groupBy(reasons, keyOf).values();
  return [...groups].flatMap((group) => group.toSorted((a, b) => severityOf(b) - severityOf(a)).slice(0, 1));
}

/** The longest restore; unknown when that of one database is. */
function longest(times: readonly RestoreTime[]): RestoreTime {
  const known = times.filter((time) => time.basis !== 'unknown');
  const [worst] = known.toSorted((a, b) => b.ms - a.ms);
  return worst === undefined || known.length < times.length ? { basis: 'unknown' } : worst;
}

/** The oldest; null when there is none, or one of them is missing. */
function oldest<T extends { readonly atMs: number }>(all: readonly (T | null)[]): T | null {
  const known = all.filter((one) => one !== null);
  if (known.length === 0 || known.length < all.length) return null;
  return known.reduce((worst, one) => (one.atMs < worst.atMs ? one : worst));
}

function worstShareOf({ objectives }: SharedFacts, exposureMs: number | null, restoreTime: RestoreTime): number | null {
  const shares = [
    objectives?.rpoMs == null || exposureMs === null ? null : exposureMs / objectives.rpoMs,
    objectives?.rtoMs == null || restoreTime.basis === 'unknown' ? null : restoreTime.ms / objectives.rtoMs,
  ].filter((share) => share !== null);
  return shares.length === 0 ? null : Math.max(...shares);
}

/** Databases whose numbers count: those on the server that are backed up and are not waiting for their first backup. */
const hasNumbers = (facts: DatabaseFacts, { state, reasons }: DatabaseStatus): boolean =>
  state !== null && facts.isOnServer !== false && !reasons.some(({ code }) => code === 'first_backup_pending');

/** A target without a known database: neither its server nor a backup has one. */
const withoutDatabases = (shared: SharedFacts): TargetFacts => ({
  ...shared,
  recoveryPoint: null,
  newestBackup: null,
  firstBackupMs: null,
  restoreTime: { basis: 'unknown' },
  restoreTest: null,
  lastAttemptMs: shared.failedAttempts.find(({ command }) => command === 'backup')?.atMs ?? null,
});

/**
 * The state of a target, its numbers, and every reason for it: those of the target as a whole and the worst of its databases. Judges elapsed
 * time only, never the number of runs.
 */
export function evaluateTarget(shared: SharedFacts, databases: readonly DatabaseFacts[], nowMs: number): TargetStatus {
  const { environment, host, target } = shared;
  const place = { environment, host, target };
  const nothing = { recoveryPoint: null, exposureMs: null, restoreTest: null, worstShare: null };
  const restoreUnknown = { basis: 'unknown' } as const;
  if (!shared.isReported) {
    const reasons = judgeSurroundings({ ...shared, objectives: { rpoMs: null, rtoMs: null, restoreTestMs: null } });
    return { ...place, ...nothing, state: 'unknown', reasons, restoreTime: restoreUnknown };
  }
  const evaluated = evaluateDatabases(shared, databases, nowMs);
  if (databases.length === 0) {
    const reasons = worstFirst([...judgeProtection(withoutDatabases(shared), nowMs), ...evaluated.reasons]);
    return { ...place, ...nothing, state: worstState(reasons.map(stateOf)), reasons, restoreTime: restoreUnknown };
  }
  const ofDatabases = evaluated.databases.flatMap(({ database, reasons }) =>
    reasons.map((reason): TargetReason => ({ ...reason, database })),
  );
  const reasons = worstFirst(worstOfEach([...ofDatabases, ...evaluated.reasons]));
  const counted = databases.filter((facts, index) => {
    const status = evaluated.databases[index];
    return status !== undefined && hasNumbers(facts, status);
  });
  const recoveryPoint = oldest(counted.map((each) => each.recoveryPoint));
  const exposureMs = exposureOf({ recoveryPoint }, nowMs);
  const restoreTime = longest(counted.map((each) => each.restoreTime));
  const restoreTest = oldest(counted.map((each) => each.restoreTest));
  const isStale = reasons.some(({ code }) => code === 'restore_test_stale');
  return {
    ...place,
    state: evaluated.state,
    reasons,
    recoveryPoint,
    exposureMs,
    restoreTime,
    restoreTest: restoreTest === null ? null : { ...restoreTest, isStale },
    worstShare: worstShareOf(shared, exposureMs, restoreTime),
  };
}
