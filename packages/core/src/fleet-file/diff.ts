import { isEqual } from './equal.ts';
import { type Loss, lossOf, type Versions } from './loss.ts';
import { effectivePolicy, type MatchTarget, scheduleNameOf } from './match.ts';
import { type FleetFile, fleetFileSchema } from './schema.ts';
import { nameOfTarget } from './validate-target.ts';

/** One difference between two fleet files. Values are as the file writes them. */
export interface FleetChange {
  /** `policies.critical.retention.keepWithin`; schedules are named, `policies.critical.backup.backup-logical`. */
  readonly path: readonly string[];
  readonly kind: 'added' | 'removed' | 'changed';
  readonly before: unknown;
  readonly after: unknown;
  /** Why it needs consent; null when nothing is lost. */
  readonly loss: Loss | null;
}
export interface FleetDiff {
  readonly changes: readonly FleetChange[];
  /** Targets that had a policy and have none afterwards, sorted. */
  readonly unprotected: readonly string[];
}

type Encoded = ReturnType<typeof fleetFileSchema.encode>;
type Fields = Readonly<Record<string, unknown>>;
type Difference = Omit<FleetChange, 'loss'>;

/** Compares two sets of named values; `inside` compares a value that both have. */
function compare(
  before: Fields = {},
  after: Fields = {},
  path: readonly string[] = [],
  inside: (before: unknown, after: unknown, path: readonly string[]) => Difference[] = () => [],
): Difference[] {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  return names.flatMap((name): Difference[] => {
    const [old, now] = [before[name], after[name]];
    const at = [...path, name];
    if (isEqual(old, now)) return [];
    if (old === undefined) return [{ path: at, kind: 'added', before: null, after: now }];
    if (now === undefined) return [{ path: at, kind: 'removed', before: old, after: null }];
    const nested = inside(old, now, at);
    return nested.length > 0 ? nested : [{ path: at, kind: 'changed', before: old, after: now }];
  });
}

const fieldsOf = (value: unknown): Fields => (typeof value === 'object' && value !== null ? { ...value } : {});

/** The entries of a list of schedules by their names. */
function byName(kind: 'backup' | 'verify' | 'rotate' | 'copy', list: unknown): Fields {
  const entries: readonly object[] = Array.isArray(list) ? list : [];
  return Object.fromEntries(entries.map((entry) => [scheduleNameOf(kind, entry), entry]));
}

/** Sections of a policy that are compared key by key, also when one side lacks the whole section. */
function comparePolicy(before: unknown, after: unknown, path: readonly string[]): Difference[] {
  const [old, now] = [fieldsOf(before), fieldsOf(after)];
  const sections = ['objectives', 'retention', 'alerts'].flatMap((key) =>
    compare(fieldsOf(old[key]), fieldsOf(now[key]), [...path, key]),
  );
  const schedules = (['backup', 'verify', 'rotate', 'copy'] as const).flatMap((kind) =>
    compare(byName(kind, old[kind]), byName(kind, now[kind]), [...path, kind]),
  );
  const rest = ['description', 'select', 'requireStream'].flatMap((key) =>
    compare({ [key]: old[key] }, { [key]: now[key] }, path),
  );
  return [...rest, ...sections, ...schedules];
}

const compareFields = (before: unknown, after: unknown, path: readonly string[]): Difference[] =>
  compare(fieldsOf(before), fieldsOf(after), path);

function compareFiles(before: Encoded, after: Encoded): Difference[] {
  return [
    ...compare(before.environments, after.environments, ['environments'], compareFields),
    ...compare(before.contacts, after.contacts, ['contacts'], compareFields),
    ...compare(before.policies, after.policies, ['policies'], comparePolicy),
    ...compare(before.runbooks, after.runbooks, ['runbooks']),
  ];
}

/**
 * What changes when `after` replaces `before`, and what of it is a loss: shorter retention, less protection, a silenced alert.
 * `nowMs` is only where the frequency of schedules is counted from.
 */
export function diffFleetFiles(
  before: FleetFile,
  after: FleetFile,
  targets: readonly MatchTarget[],
  nowMs: number,
): FleetDiff {
  const versions: Versions = { before, after, nowMs };
  const differences = compareFiles(fleetFileSchema.encode(before), fleetFileSchema.encode(after));
  return {
    changes: differences.map((each) => ({ ...each, loss: lossOf(each.path, each.kind, versions) })),
    unprotected: targets
      .filter((target) => effectivePolicy(before, target) !== null && effectivePolicy(after, target) === null)
      .map(nameOfTarget)
      .toSorted(),
  };
}
