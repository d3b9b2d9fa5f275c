import type { DatabaseStatus, Finding, TargetStatus } from '@lastgood/protocol';

export type TargetState = TargetStatus['state'];

/** What the fleet page shows of a target. */
export interface FleetRow {
  /** `prod/db-1/shop`; `prod/db-1` for a host that reported no target. */
  readonly name: string;
  readonly environment: string;
  readonly host: string;
  readonly target: string | null;
  readonly state: TargetState;
  /** The oldest recovery point of its databases; null when one of them has none. */
  readonly recoveryPointAt: number | null;
  /** How much time of data would be lost now; null when there is no recovery point. */
  readonly exposureMs: number | null;
  readonly rpoMs: number | null;
  readonly rtoMs: number | null;
  /** The longest restore time of its databases; null when one of them was never measured. */
  readonly restoreTime: { readonly ms: number; readonly isEstimated: boolean } | null;
  /** The oldest restore test of its databases; null when one of them was never tested. */
  readonly restoreTest: { readonly at: number; readonly level: number; readonly isOfRecoveryPoint: boolean } | null;
  /** The worst reason for the state. */
  readonly reason: Finding | null;
  /** The host does not report, so what has happened since is not known. */
  readonly isSilent: boolean;
}

/** Worst first. `unknown` is not a good state: nothing is known of the target. */
export const STATE_ORDER: readonly TargetState[] = ['none', 'missed', 'unknown', 'at_risk', 'pending', 'protected'];
const DAY_MS = 86_400_000;

/** The databases whose state counts: neither excluded from backups nor copies that a restore made. */
const countedDatabases = ({ databases }: TargetStatus): DatabaseStatus[] =>
  databases.filter(({ state, copy }) => state !== null && copy === null);

/** The largest of the values; null when there are none, or when one of them is unknown. */
function worstOf<T>(values: readonly (T | null)[], sizeOf: (value: T) => number): T | null {
  let worst: T | null = null;
  for (const value of values) {
    if (value === null) return null;
    if (worst === null || sizeOf(value) > sizeOf(worst)) worst = value;
  }
  return worst;
}

function restoreTimeOf(databases: readonly DatabaseStatus[]): FleetRow['restoreTime'] {
  const times = databases.map(({ restoreTime }) =>
    restoreTime.basis === 'unknown' ? null : { ms: restoreTime.ms, isEstimated: restoreTime.basis === 'estimated' },
  );
  return worstOf(times, ({ ms }) => ms);
}

function restoreTestOf(databases: readonly DatabaseStatus[]): FleetRow['restoreTest'] {
  const tests = databases.map(({ restoreTest }) =>
    restoreTest === null
      ? null
      : { at: Date.parse(restoreTest.at), level: restoreTest.level, isOfRecoveryPoint: restoreTest.ofRecoveryPoint },
  );
  return worstOf(tests, ({ at }) => -at);
}

/** Summarizes a target by the worst of its databases. */
export function fleetRowOf(status: TargetStatus): FleetRow {
  const { environment, host, hostState, target, state, objectives, reasons } = status;
  const databases = countedDatabases(status);
  const points = databases.map(({ recoveryPoint }) => (recoveryPoint === null ? null : Date.parse(recoveryPoint.at)));
  return {
    name: target === null ? `${environment}/${host}` : `${environment}/${host}/${target}`,
    environment,
    host,
    target,
    state,
    recoveryPointAt: worstOf(points, (at) => -at),
    exposureMs: worstOf(
      databases.map(({ exposureMs }) => exposureMs),
      (ms) => ms,
    ),
    rpoMs: objectives?.rpoMs ?? null,
    rtoMs: objectives?.rtoMs ?? null,
    restoreTime: restoreTimeOf(databases),
    restoreTest: restoreTestOf(databases),
    reason: reasons[0] ?? databases.flatMap((database) => database.reasons)[0] ?? null,
    isSilent: hostState !== 'online',
  };
}

/**
 * How bad the exposure of a row is, in steps of a factor of two, so that rows do not change places with every second. Without an
 * objective it is measured against one day.
 */
function exposureStep({ exposureMs, rpoMs }: FleetRow): number {
  if (exposureMs === null) return Number.POSITIVE_INFINITY;
  return Math.floor(Math.log2(Math.max(exposureMs / (rpoMs ?? DAY_MS), 2 ** -4)));
}

/** Worst first: by state, then by exposure against the objective, then by name. */
export function compareRows(a: FleetRow, b: FleetRow): number {
  const byState = STATE_ORDER.indexOf(a.state) - STATE_ORDER.indexOf(b.state);
  if (byState !== 0) return byState;
  const [stepA, stepB] = [exposureStep(a), exposureStep(b)];
  if (stepA !== stepB) return stepA > stepB ? -1 : 1;
  return a.name < b.name ? -1 : 1;
}

export const countStates = (rows: readonly FleetRow[]): ReadonlyMap<TargetState, number> =>
  new Map(STATE_ORDER.map((state) => [state, rows.filter((row) => row.state === state).length]));

const targets = (count: number): string => (count === 1 ? '1 target' : `${count} targets`);

/** One sentence about the fleet, worst first. */
export function verdictOf(rows: readonly FleetRow[]): string {
  const counts = countStates(rows);
  const of = (...states: TargetState[]): number => states.reduce((sum, state) => sum + (counts.get(state) ?? 0), 0);
  if (rows.length === 0) return 'No hosts are enrolled, so nothing is protected.';
  const [failing, unknown, atRisk, pending] = [of('none', 'missed'), of('unknown'), of('at_risk'), of('pending')];
  const parts: string[] = [];
  if (failing > 0)
    parts.push(
      `${failing} of ${targets(rows.length)} cannot be restored within ${failing === 1 ? 'its' : 'their'} objective`,
    );
  if (unknown > 0) parts.push(`${parts.length > 0 ? unknown : targets(unknown)} unknown: no report`);
  if (parts.length > 0) return `${parts.join(', ')}.`;
  if (atRisk > 0) return `${atRisk} of ${targets(rows.length)} ${atRisk === 1 ? 'is' : 'are'} at risk.`;
  if (pending > 0)
    return `${pending} of ${targets(rows.length)} ${pending === 1 ? 'waits' : 'wait'} for a first backup.`;
  return rows.length === 1 ? 'The only target is protected.' : `All ${rows.length} targets are protected.`;
}
