import { makeReason, type RotationReason } from '@lastgood/protocol';
import { judgeSizes, RESTORE_TEST_LEVEL, type Sized } from '../verification/verdict.ts';
import type { RotationCandidate, RotationInput } from './rotation-input.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** Days and weeks (from Monday) in UTC. Day 0 was a Thursday. */
const dayOf = (at: number): number => Math.floor(at / DAY_MS);
const weekOf = (at: number): number => Math.floor((dayOf(at) + 3) / 7);

type Rules = Pick<RotationInput, 'retention' | 'hostLimits' | 'acceptedSequence'>;

/** One backup as its group sees it. */
export interface Member extends Omit<RotationCandidate, 'parts' | 'finishedAt' | 'dependsOn'> {
  readonly finished: number;
  readonly content: string | null;
  readonly producedBytes: number;
}

type Measured = Sized & Pick<RotationCandidate, 'sequence' | 'backupId'>;

/** The good backups whose size is not suspect. Only these count toward retention: tiny backups displace no others (D4). */
function trustedOf(group: readonly Member[]): Member[] {
  const judged = judgeSizes(group);
  return group.filter((backup, index) => backup.state === 'good' && judged[index]?.isSuspect === false);
}

/** The first backup of each of the newest `count` periods that have one. A later backup of a period never displaces it. */
function firstOfPeriods(newestFirst: readonly Member[], periodOf: (at: number) => number, count: number): Member[] {
  const first = new Map<number, Member>();
  for (const backup of newestFirst) first.set(periodOf(backup.finished), backup);
  return [...first.values()].slice(0, count);
}

/** The reasons to keep backups of a group by the rules, as if it had no others. */
function reasonsByRules(group: readonly Member[], { retention, hostLimits }: Rules): Map<string, RotationReason> {
  const reasons = new Map<string, RotationReason>();
  const keep = (backup: Member | undefined, reason: RotationReason): void => {
    if (backup !== undefined && !reasons.has(backup.backupId)) reasons.set(backup.backupId, reason);
  };
  const newestFirst = trustedOf(group).reverse();
  const [newest] = newestFirst;
  keep(newest, makeReason('KEEP_LAST_GOOD'));
  // Of a suspect size and verified: it stays, and displaces no verified backup of a usual size.
  for (const verified of [newestFirst, group.filter(({ state }) => state === 'good').reverse()]) {
    keep(
      verified.find((backup) => (backup.verifiedLevel ?? 0) >= RESTORE_TEST_LEVEL),
      makeReason('KEEP_LAST_RESTORE_TESTED'),
    );
    keep(
      verified.find((backup) => backup.verifiedLevel !== null),
      makeReason('KEEP_LAST_VERIFIED'),
    );
  }
  const { keepLast = 0, keepWithinHours } = retention;
  for (const backup of newestFirst.slice(0, keepLast)) keep(backup, makeReason('KEEP_LAST', { count: keepLast }));
  if (keepWithinHours !== undefined && newest !== undefined) {
    // Counted back from the newest backup, not from a clock: neither a jump nor a week of failures makes everything old (D1, D3).
    const edge = newest.finished - keepWithinHours * HOUR_MS;
    for (const backup of newestFirst.filter((other) => other.finished >= edge))
      keep(backup, makeReason('KEEP_WITHIN', { hours: keepWithinHours }));
    keep(
      newestFirst.find((other) => other.finished < edge),
      makeReason('KEEP_WINDOW_EDGE'),
    );
  }
  for (const backup of newestFirst.slice(0, Math.max(retention.minimum, hostLimits.minimumKept)))
    keep(backup, makeReason('KEEP_MINIMUM'));
  for (const backup of firstOfPeriods(newestFirst, dayOf, hostLimits.keepDaily)) keep(backup, makeReason('KEEP_DAILY'));
  for (const backup of firstOfPeriods(newestFirst, weekOf, hostLimits.keepWeekly))
    keep(backup, makeReason('KEEP_WEEKLY'));
  const oldestKept = Math.min(
    ...group.filter((backup) => reasons.has(backup.backupId)).map((backup) => backup.sequence),
  );
  for (const backup of group) {
    if (newest === undefined) keep(backup, makeReason('NO_GOOD_BACKUP'));
    else if (backup.sequence > oldestKept && !newestFirst.includes(backup))
      keep(backup, makeReason(backup.state === 'bad' ? 'KEEP_BAD' : 'KEEP_SUSPECT'));
  }
  return reasons;
}

/** The sequences of the backups with which the size of a group has changed. */
const sizeChangesOf = (group: readonly Measured[]): number[] =>
  judgeSizes(group).flatMap(({ isChange }, index) => {
    const backup = group[index];
    return isChange && backup !== undefined ? [backup.sequence] : [];
  });

/**
 * The reasons to keep backups of one group, oldest first; a backup without one may be removed. Backups since a change of size that the
 * host has not accepted displace none from before it: a restore test by the control plane does not show that the new data is right.
 */
export function keepReasons(group: readonly Member[], rules: Rules): Map<string, RotationReason> {
  const reasons = reasonsByRules(group, rules);
  for (const change of sizeChangesOf(group)) {
    if (change <= (rules.acceptedSequence ?? 0)) continue;
    const before = group.filter(({ sequence }) => sequence < change);
    for (const backupId of reasonsByRules(before, rules).keys())
      if (!reasons.has(backupId)) reasons.set(backupId, makeReason('KEEP_BEFORE_SIZE_CHANGE'));
  }
  return reasons;
}

/** A backup with which the size of a content has changed. */
export interface SizeChange {
  readonly backupId: string;
  readonly sequence: number;
  /** Null: that of the whole target. */
  readonly content: string | null;
  readonly producedBytes: number;
}

/** The changes of size that the host has not accepted: all after `acceptedSequence`. */
export function sizeChangesIn(backups: readonly RotationCandidate[], acceptedSequence: number | null): SizeChange[] {
  const parts = backups
    .toSorted((a, b) => a.sequence - b.sequence)
    .flatMap(({ parts: own, ...backup }) => own.map((part) => ({ ...backup, ...part })));
  return [...Map.groupBy(parts, ({ group }) => group).values()].flatMap((group) => {
    const changes = new Set(sizeChangesOf(group));
    return group
      .filter(({ sequence }) => changes.has(sequence) && sequence > (acceptedSequence ?? 0))
      .map(({ backupId, sequence, content, producedBytes }) => ({ backupId, sequence, content, producedBytes }));
  });
}
