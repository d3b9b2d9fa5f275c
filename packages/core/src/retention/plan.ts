import { makeReason, type RotationDecision, type RotationReason } from '@lastgood/protocol';
import { keepReasons } from './keep-rules.ts';
import type { RotationCandidate, RotationInput } from './rotation-input.ts';

const HOUR_MS = 3_600_000;
/** When clocks differ by more than this, nothing is deleted and no destructive job begins (I11). */
export const MAX_SKEW_MS = 5 * 60_000;
/** Lastgood is newer than this: an earlier instant comes from a clock that was not set (D2). */
const FIRST_INSTANT = Date.parse('2026-01-01T00:00:00Z');

export interface RotationPlan {
  /** One decision with its reason for every backup, ordered by sequence. */
  readonly decisions: readonly RotationDecision[];
  /** The ids of the backups to remove. An interrupted removal in this order leaves no backup without its dependencies. */
  readonly removals: readonly string[];
  /** Why nothing at all may be removed now; null when the decisions hold. */
  readonly refused: RotationReason | null;
}

/** What somebody else may have written says nothing about the others. */
const isJudged = ({ state }: RotationCandidate): boolean => state !== 'unknown';

/** Why no clock may be trusted now. `backups` in the order of their sequence. */
function untrustedClock({ backups, now, storeNow, controlNow, jumpedMs }: RotationInput): RotationReason | null {
  const apart = (ms: number): { minutes: number } => ({ minutes: Math.round(Math.abs(ms) / 60_000) });
  if (Math.abs(jumpedMs) > MAX_SKEW_MS) return makeReason('CLOCK_JUMPED', apart(jumpedMs));
  if (Math.abs(now - storeNow) > MAX_SKEW_MS) return makeReason('CLOCKS_OF_REPOSITORY_APART', apart(now - storeNow));
  if (controlNow !== null && Math.abs(now - controlNow) > MAX_SKEW_MS)
    return makeReason('CLOCKS_OF_CONTROL_APART', apart(now - controlNow));
  // An older one may have met a clock that was wrong then; when the newest lies ahead, the clock is wrong now.
  const newest = Date.parse(backups.findLast(isJudged)?.finishedAt ?? '1970-01-01T00:00:00Z');
  return newest > now + MAX_SKEW_MS ? makeReason('CLOCK_AHEAD_OF_BACKUPS', apart(now - newest)) : null;
}

/**
 * When each backup was finished, corrected by the sequence, which depends on no clock. No backup counts as older than its predecessor,
 * and an implausible instant (before Lastgood existed, or in the future) is replaced by that of its predecessor. A wrong clock can
 * therefore make a backup look younger and keep it longer, but never make it look older.
 */
function finishTimesOf(backups: readonly RotationCandidate[], now: number): Map<string, number> {
  const isPlausible = (at: number): boolean => at >= FIRST_INSTANT && at <= now + MAX_SKEW_MS;
  const recorded = backups
    .filter(isJudged)
    .map(({ backupId, finishedAt }) => ({ backupId, at: Date.parse(finishedAt) }));
  let latest = recorded.find(({ at }) => isPlausible(at))?.at ?? now;
  return new Map(
    recorded.map(({ backupId, at }) => {
      if (isPlausible(at)) latest = Math.max(latest, at);
      return [backupId, latest];
    }),
  );
}

interface GroupReason {
  readonly reason: RotationReason;
  readonly database: string | null;
}

/** Why each backup is needed, by its groups; those that no group needs are absent. */
function reasonsOf(input: RotationInput, finishedAt: ReadonlyMap<string, number>): Map<string, RotationReason> {
  const { backups } = input;
  const members = backups.flatMap(({ parts, dependsOn: _dependsOn, ...backup }) => {
    const finished = finishedAt.get(backup.backupId) ?? input.now;
    return parts.map(({ group, content, producedBytes }) => ({
      group,
      member: { ...backup, finished, content, producedBytes },
    }));
  });
  const found = new Map<string, GroupReason[]>();
  for (const group of Map.groupBy(members, (each) => each.group).values()) {
    const own = group.map(({ member }) => member);
    for (const [backupId, reason] of keepReasons(own, input))
      found.set(backupId, [...(found.get(backupId) ?? []), { reason, database: own[0]?.content ?? null }]);
  }
  const combined = ({ backupId, parts }: RotationCandidate): [string, RotationReason][] => {
    const [first, ...others] = found.get(backupId) ?? [];
    if (first === undefined) return [];
    const { reason, database } = first;
    const ofAll = others.length + 1 === parts.length && others.every((other) => other.reason.code === reason.code);
    if (ofAll || database === null) return [[backupId, reason]];
    return [[backupId, { ...reason, params: { ...reason.params, database } }]];
  };
  return new Map(backups.flatMap(combined));
}

/** Adds to the reasons what kept backups depend on, however far down (I3). */
function keepDependencies(backups: readonly RotationCandidate[], reasons: Map<string, RotationReason>): void {
  const byId = new Map(backups.map((backup) => [backup.backupId, backup]));
  const keep = (backup: RotationCandidate): void => {
    for (const needed of backup.dependsOn) {
      const base = byId.get(needed);
      if (base === undefined || reasons.has(needed)) continue;
      reasons.set(needed, makeReason('NEEDED', { backup: backup.backupId }));
      keep(base);
    }
  };
  for (const backup of backups) if (reasons.has(backup.backupId)) keep(backup);
}

/** Orders removals oldest first, with dependents before their dependencies. No backup outside `removable` may depend on one of it. */
function orderRemovals(removable: readonly RotationCandidate[]): string[] {
  const ordered = new Set<string>();
  const visited = new Set<string>();
  const visit = (backup: RotationCandidate): void => {
    if (visited.has(backup.backupId)) return;
    visited.add(backup.backupId);
    for (const other of removable) if (other.dependsOn.includes(backup.backupId)) visit(other);
    ordered.add(backup.backupId);
  };
  for (const backup of removable) visit(backup);
  return [...ordered];
}

/**
 * Decides which backups are kept and why. Removes nothing when clocks disagree or no rule is set. Never removes the last good,
 * restore-tested or verified backup, a backup that is held, in use or made by a newer version, a dependency of a kept backup, or more
 * than the host limits allow. After a change of size that the host has not accepted, it keeps what it would keep without the backups
 * since.
 */
export function planRotation(request: RotationInput): RotationPlan {
  const { retention, hostLimits, now } = request;
  const backups = [...request.backups].sort((a, b) => a.sequence - b.sequence);
  const input = { ...request, backups };
  const finished = finishTimesOf(backups, now);
  const unlimited = retention.keepLast === undefined && retention.keepWithinHours === undefined;
  const refused = untrustedClock(input);
  const needed = reasonsOf(input, finished);
  const reasonFor = (backup: RotationCandidate): RotationReason | undefined => {
    if (refused !== null) return refused;
    if (unlimited) return makeReason('NO_RULE');
    if (backup.state === 'unknown') return makeReason('NEWER_VERSION');
    if (input.holds.has(backup.backupId)) return makeReason('HELD');
    if (input.inUse.has(backup.backupId)) return makeReason('IN_USE');
    if (now - (finished.get(backup.backupId) ?? now) < hostLimits.minimumAgeHours * HOUR_MS)
      return makeReason('YOUNGER_THAN_MINIMUM', { hours: hostLimits.minimumAgeHours });
    return needed.get(backup.backupId);
  };
  const reasons = new Map<string, RotationReason>();
  for (const backup of backups) {
    const reason = reasonFor(backup);
    if (reason !== undefined) reasons.set(backup.backupId, reason);
  }
  keepDependencies(backups, reasons);
  // Limited after ordering: the remaining part of a chain is its older end, which depends on no removed backup.
  const leftToday = Math.max(0, hostLimits.maxRemovedPerDay - input.removedLastDay);
  const removals = orderRemovals(backups.filter(({ backupId }) => !reasons.has(backupId))).slice(
    0,
    Math.min(hostLimits.maxRemovedPerRun, leftToday),
  );
  const gone = new Set(removals);
  const capped =
    leftToday < hostLimits.maxRemovedPerRun
      ? makeReason('MAXIMUM_REMOVED_PER_DAY', { count: hostLimits.maxRemovedPerDay })
      : makeReason('MAXIMUM_REMOVED', { count: hostLimits.maxRemovedPerRun });
  const outside = makeReason('OUTSIDE_RULES');
  const decisions = backups.map(({ backupId, finishedAt }) =>
    gone.has(backupId)
      ? { backupId, finishedAt, keep: false, reason: outside }
      : { backupId, finishedAt, keep: true, reason: reasons.get(backupId) ?? capped },
  );
  return { decisions, removals, refused };
}
