import { z } from 'zod';
import { isIntact, LASTING, SLOT_COUNT } from './expiry-slots.ts';
import type { ValueType } from './rdb-format.ts';
import type { RdbReport } from './rdb-report.ts';

export const VALUE_TYPES = ['string', 'list', 'set', 'zset', 'hash', 'stream', 'module'] as const satisfies ValueType[];
const count = z.int().min(0);
const groupName = {
  database: count,
  type: z.enum(VALUE_TYPES),
  slot: z.int().min(LASTING).max(SLOT_COUNT),
};

/** What a backup holds: the yardstick of verification levels 4 to 6. */
export const redisFingerprintSchema = z.strictObject({
  format: z.literal(1),
  /** The instant (ms since the epoch) from which slots of expiry are counted. */
  snapshotAt: count,
  functions: count,
  groups: z.array(z.strictObject({ ...groupName, keys: count, volatile: count })),
  /** Grouped by the time at which a key or the first of its fields expires. Null when none were asked for. */
  digests: z.array(z.strictObject({ ...groupName, keys: count, digest: z.string() })).nullable(),
});
export type RedisFingerprint = z.infer<typeof redisFingerprintSchema>;
export type CountGroup = RedisFingerprint['groups'][number];

/** The fingerprint of a walked RDB file, without digests; null when the file was not counted to its end. */
export function fingerprintOf(report: RdbReport): RedisFingerprint | null {
  if (report.state !== 'whole' || report.uncounted !== null) return null;
  return {
    format: 1,
    snapshotAt: snapshotTimeOf(report),
    functions: report.counts.functions,
    groups: report.counts.groups.map((group) => ({ ...group })),
    digests: null,
  };
}

/** When the save began that wrote the file, by the clock of the server (ms since the epoch, whole seconds): the recovery point. */
export const snapshotTimeOf = (report: RdbReport): number => Number(report.aux['ctime'] ?? 0) * 1000;

export interface FingerprintFinding {
  readonly code: 'KEY_COUNT_DIFFERS' | 'DIGEST_DIFFERS' | 'FUNCTION_COUNT_DIFFERS';
  readonly params: Readonly<Record<string, number | string>>;
}
export interface FingerprintComparison {
  readonly findings: readonly FingerprintFinding[];
  /** Keys of the backup that were compared, and those that may have expired since and were not. */
  readonly comparedKeys: number;
  readonly expiredKeys: number;
  /** Compared keys whose values have no digest: those of modules. Zero when digests were not compared. */
  readonly undigestedKeys: number;
}

/** Compares what was restored with what the backup holds. `now`: an instant (ms) at which reading had ended. */
export function compareFingerprints(
  expected: RedisFingerprint,
  found: RedisFingerprint,
  now: number,
): FingerprintComparison {
  const intact = ({ slot }: { readonly slot: number }): boolean => isIntact(expected.snapshotAt, slot, now);
  const findings: FingerprintFinding[] = [];
  for (const [wanted, present] of pairs(expected.groups.filter(intact), found.groups.filter(intact))) {
    const most = wanted?.keys ?? 0;
    const least = most - (wanted?.volatile ?? 0);
    const keys = present?.keys ?? 0;
    const { database = 0, type = 'string', slot = LASTING } = wanted ?? present ?? {};
    if (keys < least || keys > most)
      findings.push({ code: 'KEY_COUNT_DIFFERS', params: { database, type, slot, expected: most, found: keys } });
  }
  if (expected.functions !== found.functions)
    findings.push({
      code: 'FUNCTION_COUNT_DIFFERS',
      params: { expected: expected.functions, found: found.functions },
    });
  const compareDigests = expected.digests !== null && found.digests !== null;
  for (const [wanted, present] of pairs(
    compareDigests ? (expected.digests ?? []).filter(intact) : [],
    compareDigests ? (found.digests ?? []).filter(intact) : [],
  )) {
    const { database = 0, type = 'string', slot = LASTING } = wanted ?? present ?? {};
    if (wanted?.digest !== present?.digest) findings.push({ code: 'DIGEST_DIFFERS', params: { database, type, slot } });
  }
  const sum = (groups: readonly CountGroup[]): number => groups.reduce((total, { keys }) => total + keys, 0);
  const compared = expected.groups.filter(intact);
  return {
    findings,
    comparedKeys: sum(compared),
    expiredKeys: sum(expected.groups) - sum(compared),
    undigestedKeys: compareDigests ? sum(compared.filter(({ type }) => type === 'module')) : 0,
  };
}

interface Named {
  readonly database: number;
  readonly type: ValueType;
  readonly slot: number;
}
/** The groups of both sides by name; undefined where a side has none. */
function pairs<A extends Named, B extends Named>(a: readonly A[], b: readonly B[]): [A | undefined, B | undefined][] {
  const nameOf = ({ database, type, slot }: Named): string => `${database}/${type}/${slot}`;
  const [left, right] = [new Map(a.map((one) => [nameOf(one), one])), new Map(b.map((one) => [nameOf(one), one]))];
  return [...new Set([...left.keys(), ...right.keys()])].map((name) => [left.get(name), right.get(name)]);
}
