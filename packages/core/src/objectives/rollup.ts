import { TARGET_STATES, type TargetState, type TargetStatus, worstState } from './target-status.ts';

const nameOf = ({ environment, host, target }: TargetStatus): string => `${environment}/${host}/${target}`;

/** Orders targets for a list: the worst state first, within a state the one closest to its objective, then by name. */
export function compareWorstFirst(a: TargetStatus, b: TargetStatus): number {
  const byState = TARGET_STATES.indexOf(a.state) - TARGET_STATES.indexOf(b.state);
  if (byState !== 0) return byState;
  const byShare = (b.worstShare ?? 0) - (a.worstShare ?? 0);
  if (byShare !== 0) return byShare;
  return nameOf(a) < nameOf(b) ? -1 : 1;
}

/** The three numbers over several targets. Targets that did not report count like all others. */
export interface Rollup {
  readonly targets: number;
  readonly states: Readonly<Record<TargetState, number>>;
  /** `protected` when there are no targets. */
  readonly worst: TargetState;
  /** The largest exposure; null when no target has a recovery point. */
  readonly worstExposureMs: number | null;
  /** The longest restore time, measured or estimated; null when none is known. */
  readonly worstRestoreMs: number | null;
  /** Targets with a restore test that is not stale. */
  readonly restoreTested: number;
}

const largest = (values: readonly (number | null)[]): number | null => {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : known.reduce((a, b) => Math.max(a, b));
};

export function rollUp(statuses: readonly TargetStatus[]): Rollup {
  const states = Object.fromEntries(TARGET_STATES.map((state) => [state, 0])) as Record<TargetState, number>;
  for (const { state } of statuses) states[state] += 1;
  return {
    targets: statuses.length,
    states,
    worst: worstState(TARGET_STATES.filter((state) => states[state] > 0)),
    worstExposureMs: largest(statuses.map(({ exposureMs }) => exposureMs)),
    worstRestoreMs: largest(
      statuses.map(({ restoreTime }) => (restoreTime.basis === 'unknown' ? null : restoreTime.ms)),
    ),
    restoreTested: statuses.filter(({ restoreTest }) => restoreTest !== null && !restoreTest.isStale).length,
  };
}

/** One rollup per environment, sorted by name. */
export const rollUpEnvironments = (statuses: readonly TargetStatus[]): Map<string, Rollup> =>
  new Map(
    [...Map.groupBy(statuses, ({ environment }) => environment)]
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([environment, members]) => [environment, rollUp(members)]),
  );

/** Whether a check that fails from a state on fails for a target. What did not report fails both. */
export const failsAt = (state: TargetState, threshold: 'at_risk' | 'missed'): boolean =>
  state === 'none' || state === 'missed' || state === 'unknown' || (threshold === 'at_risk' && state === 'at_risk');

/** The status code of a Nagios plugin: 0 ok, 1 warning, 2 critical, 3 unknown. */
export function nagiosCode(state: TargetState): 0 | 1 | 2 | 3 {
  switch (state) {
    case 'protected':
    case 'pending':
      return 0;
    case 'at_risk':
      return 1;
    case 'missed':
    case 'none':
      return 2;
    case 'unknown':
      return 3;
  }
}
