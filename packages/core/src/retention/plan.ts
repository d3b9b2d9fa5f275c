import type { Retention, RotationDecision } from '@lastgood/protocol';
import { type Judged, RESTORE_TEST_LEVEL, suspectSizes } from '../verification/verdict.ts';

const HOUR_MS = 3_600_000;
/** Clocks that differ by more than this decide no deletion, and nothing destructive begins (I11). */
export const MAX_SKEW_MS = 5 * 60_000;
/** Nothing was backed up before Lastgood was made: an earlier instant comes from a clock that was not set (D2). */
const FIRST_INSTANT = Date.parse('2026-01-01T00:00:00Z');

/** What a backup holds of one database (or of the whole target). Within a group backups replace one another. */
export interface GroupPart {
  /** Same engine, kind and database. */
  readonly group: string;
  /** For people; null when the backup is of the whole target. */
  readonly database: string | null;
  readonly producedBytes: number;
}
export interface RotationCandidate extends Judged {
  readonly backupId: string;
  readonly sequence: number;
  readonly finishedAt: string;
  /** At least one. A backup stays as long as one of its groups needs it. */
  readonly parts: readonly GroupPart[];
  /** The backups that a restore of it reads as well: they stay as long as it does. */
  readonly dependsOn: readonly string[];
}
/** What the agent's own file allows, whatever the control plane asks for. */
export interface HostLimits {
  readonly minimumKept: number;
  readonly maxRemovedPerRun: number;
  readonly minimumAgeHours: number;
}
export interface RotationInput {
  readonly backups: readonly RotationCandidate[];
  readonly retention: Retention;
  readonly holds: ReadonlySet<string>;
  readonly inUse: ReadonlySet<string>;
  /** The clock of the host, of the store and of the control plane (null when it is not known), in ms since the epoch. */
  readonly now: number;
  readonly storeNow: number;
  readonly controlNow: number | null;
  /** By how much the clock of the host was lately seen to jump, in ms; 0 when it ran steadily. */
  readonly jumpedMs: number;
  readonly hostLimits: HostLimits;
}
export interface RotationPlan {
  /** Every backup with its reason, in the order of their sequence. */
  readonly decisions: readonly RotationDecision[];
  /** The ids of the backups to remove, in an order that leaves no backup without what it depends on if it is interrupted. */
  readonly removals: readonly string[];
  /** Why nothing at all may be removed now; null when the decisions hold. */
  readonly refused: string | null;
}

/** Why no clock may be believed now. `backups` in the order of their sequence. */
function untrustedClock({ backups, now, storeNow, controlNow, jumpedMs }: RotationInput): string | null {
  const minutes = (ms: number): string => `${Math.round(Math.abs(ms) / 60_000)} minutes`;
  if (Math.abs(jumpedMs) > MAX_SKEW_MS) return `the clock of the host jumped by ${minutes(jumpedMs)} a short time ago`;
  if (Math.abs(now - storeNow) > MAX_SKEW_MS)
    return `the clocks of host and repository are ${minutes(now - storeNow)} apart`;
  if (controlNow !== null && Math.abs(now - controlNow) > MAX_SKEW_MS)
    return `the clocks of host and control plane are ${minutes(now - controlNow)} apart`;
  // An older one may have met a clock that was wrong then; when the newest lies ahead, the clock is wrong now.
  const newest = Date.parse(backups.at(-1)?.finishedAt ?? '1970-01-01T00:00:00Z');
  return newest > now + MAX_SKEW_MS ? `the newest backup was finished ${minutes(now - newest)} in the future` : null;
}

/**
 * When each backup was finished as far as the sequence, which no clock makes, bears it out: no backup counts as older than one
 * before it, and an instant that cannot be (before the product, in the future) gives way to that of its neighbor. A clock that was
 * once wrong can so make a backup younger, and keep it longer, but never older.
 */
function agesOf(backups: readonly RotationCandidate[], now: number): Map<string, number> {
  const canBe = (at: number): boolean => at >= FIRST_INSTANT && at <= now + MAX_SKEW_MS;
  const told = backups.map(({ backupId, finishedAt }) => ({ backupId, at: Date.parse(finishedAt) }));
  let latest = told.find(({ at }) => canBe(at))?.at ?? now;
  return new Map(
    told.map(({ backupId, at }) => {
      if (canBe(at)) latest = Math.max(latest, at);
      return [backupId, latest];
    }),
  );
}

/** One backup as its group sees it. */
interface Member extends Omit<RotationCandidate, 'parts' | 'finishedAt' | 'dependsOn'> {
  readonly finished: number;
  readonly database: string | null;
  readonly producedBytes: number;
}

/** Good backups that may push others out: a series of tiny ones never does (D4). */
function trustedOf(group: readonly Member[]): Member[] {
  const suspect = suspectSizes(group);
  return group.filter((backup, index) => backup.state === 'good' && suspect[index] === false);
}

/** The reasons to keep backups of one group; what has none may go. */
function keepReasons(group: readonly Member[], { retention, hostLimits }: RotationInput): Map<string, string> {
  const reasons = new Map<string, string>();
  const keep = (backup: Member | undefined, reason: string): void => {
    if (backup !== undefined && !reasons.has(backup.backupId)) reasons.set(backup.backupId, reason);
  };
  const newestFirst = trustedOf(group).reverse();
  const [newest] = newestFirst;
  keep(newest, 'the last good backup');
  keep(
    newestFirst.find((backup) => (backup.verifiedLevel ?? 0) >= RESTORE_TEST_LEVEL),
    'the last proven backup',
  );
  keep(
    newestFirst.find((backup) => backup.verifiedLevel !== null),
    'the last verified backup',
  );
  for (const backup of newestFirst.slice(0, retention.keepLast ?? 0))
    keep(backup, `one of the last ${retention.keepLast}`);
  if (retention.keepWithinHours !== undefined && newest !== undefined) {
    // Counted back from the newest backup, not from a clock: neither a jump nor a week of failures makes everything old (D1, D3).
    const edge = newest.finished - retention.keepWithinHours * HOUR_MS;
    for (const backup of newestFirst.filter((other) => other.finished >= edge))
      keep(backup, `within ${retention.keepWithinHours} hours of the newest`);
    keep(
      newestFirst.find((other) => other.finished < edge),
      'reaches back to the edge of the window',
    );
  }
  for (const backup of newestFirst.slice(0, Math.max(retention.minimum, hostLimits.minimumKept)))
    keep(backup, 'below the minimum number');
  const oldestKept = Math.min(
    ...group.filter((backup) => reasons.has(backup.backupId)).map((backup) => backup.sequence),
  );
  for (const backup of group) {
    if (newest === undefined) keep(backup, 'there is no good backup of this group');
    else if (backup.sequence > oldestKept && !newestFirst.includes(backup))
      keep(
        backup,
        backup.state === 'bad' ? 'bad, kept until its successors are kept no longer' : 'its size is suspect',
      );
  }
  return reasons;
}

interface Reason {
  readonly text: string;
  readonly database: string | null;
}

/** Why each backup is needed, by its groups; those that no group needs are absent. */
function reasonsOf(input: RotationInput, finishedAt: ReadonlyMap<string, number>): Map<string, string> {
  const { backups } = input;
  const members = backups.flatMap(({ parts, dependsOn: _dependsOn, ...backup }) => {
    const finished = finishedAt.get(backup.backupId) ?? input.now;
    return parts.map(({ group, database, producedBytes }) => ({
      group,
      member: { ...backup, finished, database, producedBytes },
    }));
  });
  const found = new Map<string, Reason[]>();
  for (const group of Map.groupBy(members, (each) => each.group).values()) {
    const own = group.map(({ member }) => member);
    for (const [backupId, text] of keepReasons(own, input))
      found.set(backupId, [...(found.get(backupId) ?? []), { text, database: own[0]?.database ?? null }]);
  }
  const words = ({ backupId, parts }: RotationCandidate): [string, string][] => {
    const [first, ...others] = found.get(backupId) ?? [];
    if (first === undefined) return [];
    const all = others.length + 1 === parts.length && others.every((other) => other.text === first.text);
    return [[backupId, all || first.database === null ? first.text : `${first.text} of "${first.database}"`]];
  };
  return new Map(backups.flatMap(words));
}

/** Adds to the reasons what kept backups depend on, however far down (I3). */
function keepDependencies(backups: readonly RotationCandidate[], reasons: Map<string, string>): void {
  const byId = new Map(backups.map((backup) => [backup.backupId, backup]));
  const keep = (backup: RotationCandidate): void => {
    for (const needed of backup.dependsOn) {
      const base = byId.get(needed);
      if (base === undefined || reasons.has(needed)) continue;
      reasons.set(needed, `backup ${backup.backupId} depends on it`);
      keep(base);
    }
  };
  for (const backup of backups) if (reasons.has(backup.backupId)) keep(backup);
}

/** Oldest first, but what depends on a backup goes before it. `removable` is closed: nothing else depends on any of it. */
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
 * Decides which backups stay and why. Pure. Removes nothing when clocks disagree or when no rule is given; never the last good or
 * the last verified backup, what is held or in use, what a newer version made, what a kept backup depends on, or more than the
 * host's own limits allow.
 */
export function planRotation(asked: RotationInput): RotationPlan {
  const { retention, hostLimits, now } = asked;
  const backups = [...asked.backups].sort((a, b) => a.sequence - b.sequence);
  const input = { ...asked, backups };
  const finished = agesOf(backups, now);
  const unlimited = retention.keepLast === undefined && retention.keepWithinHours === undefined;
  const refused = untrustedClock(input);
  const needed = reasonsOf(input, finished);
  const reasonFor = (backup: RotationCandidate): string | undefined => {
    if (refused !== null) return refused;
    if (unlimited) return 'no rule is given, so all are kept';
    if (backup.state === 'unknown') return 'made by a newer version';
    if (input.holds.has(backup.backupId)) return 'held';
    if (input.inUse.has(backup.backupId)) return 'in use by another job';
    if (now - (finished.get(backup.backupId) ?? now) < hostLimits.minimumAgeHours * HOUR_MS)
      return `younger than ${hostLimits.minimumAgeHours} hours (limit of the host)`;
    return needed.get(backup.backupId);
  };
  const reasons = new Map<string, string>();
  for (const backup of backups) {
    const reason = reasonFor(backup);
    if (reason !== undefined) reasons.set(backup.backupId, reason);
  }
  keepDependencies(backups, reasons);
  // Cut after ordering: what is left of a chain is its older end, which needs nothing that is gone.
  const removals = orderRemovals(backups.filter(({ backupId }) => !reasons.has(backupId))).slice(
    0,
    hostLimits.maxRemovedPerRun,
  );
  const gone = new Set(removals);
  const capped = `no more than ${hostLimits.maxRemovedPerRun} are removed at once (limit of the host)`;
  const decisions = backups.map(({ backupId, finishedAt }) =>
    gone.has(backupId)
      ? { backupId, finishedAt, keep: false, reason: 'outside of every rule' }
      : { backupId, finishedAt, keep: true, reason: reasons.get(backupId) ?? capped },
  );
  return { decisions, removals, refused };
}
