import { planRotation } from './plan.ts';
import type { HostLimits, RotationCandidate } from './rotation-input.ts';

const DAY_MS = 86_400_000;
/** What an attacker adds in a day: more than enough for the minimum of a host. */
const FORGED_PER_DAY = 20;

export interface RemovalForecast {
  /** How many of the backups could be removed within so many days, in total. */
  readonly withinDay: number;
  readonly withinWeek: number;
  /** How many would be left of the present backups after a week. */
  readonly left: number;
}

/** Backups of worthless data that no check tells from good ones: of the usual sizes, and restore-tested. */
function forgeBackups(
  backups: readonly RotationCandidate[],
  count: number,
  finished: number,
  sequence: number,
): RotationCandidate[] {
  const newest = new Map(backups.flatMap(({ parts }) => parts).map((part) => [part.group, part]));
  return Array.from({ length: count }, (_, index) => ({
    backupId: `forged-${sequence + index}`,
    sequence: sequence + index,
    finishedAt: new Date(finished).toISOString(),
    state: 'good',
    verifiedLevel: 6,
    parts: [...newest.values()],
    dependsOn: [],
  }));
}

/**
 * What a hostile control plane could remove within the host limits: every day it takes backups of worthless data, has them restore-tested
 * and orders a rotation that keeps as little as possible, without holds. `now` in milliseconds; the clocks are right.
 */
export function forecastRemovals(
  backups: readonly RotationCandidate[],
  hostLimits: HostLimits,
  acceptedSequence: number | null,
  now: number,
): RemovalForecast {
  const present = new Set(backups.map(({ backupId }) => backupId));
  let stored = [...backups];
  const removedOn: number[] = [];
  for (let day = 1; day <= 7; day += 1) {
    const at = now + day * DAY_MS;
    const sequence = Math.max(0, ...stored.map((backup) => backup.sequence)) + 1;
    stored = [...stored, ...forgeBackups(stored, Math.max(FORGED_PER_DAY, hostLimits.minimumKept), at, sequence)];
    const { removals } = planRotation({
      backups: stored,
      retention: { keepLast: 1, minimum: 1 },
      holds: new Set(),
      inUse: new Set(),
      now: at,
      storeNow: at,
      controlNow: at,
      jumpedMs: 0,
      // Many small rotations in one day remove as much as a large one.
      hostLimits: { ...hostLimits, maxRemovedPerRun: hostLimits.maxRemovedPerDay },
      removedLastDay: 0,
      acceptedSequence,
    });
    const gone = new Set(removals);
    removedOn.push(removals.filter((backupId) => present.has(backupId)).length);
    stored = stored.filter(({ backupId }) => !gone.has(backupId));
  }
  const [withinDay = 0] = removedOn;
  const withinWeek = removedOn.reduce((sum, count) => sum + count, 0);
  return { withinDay, withinWeek, left: backups.length - withinWeek };
}
