import type { PlannedStep, ReachedPoint, RecoverySet } from '@lastgood/protocol';
import { actionsOf } from './run-jobs.ts';

/** What the steps bring back that are carried out as the run begins: a step that begins with its alternative restores what that says. */
function pointsOf(step: PlannedStep): { step: string; target: string; point: ReachedPoint }[] {
  return actionsOf(step, step.choice).flatMap((action) =>
    action.kind === 'restore' || action.kind === 'restore-test'
      ? [{ step: step.name, target: action.target, point: action.point }]
      : [],
  );
}

/** Compares the points of all restores with the newest of them. `instant`: what was asked for; null for the newest of each target. */
export function recoverySetOf(
  steps: readonly PlannedStep[],
  instant: string | null,
  allowedSkewMs: number,
): RecoverySet {
  const points = steps.flatMap(pointsOf);
  const instants = points.map(({ point }) => Date.parse(point.at));
  const newest = Math.max(...instants);
  const members = points.map((each) => ({ ...each, lagMs: newest - Date.parse(each.point.at) }));
  const lagging = members.filter(({ lagMs }) => lagMs > allowedSkewMs).map(({ target }) => target);
  return {
    instant,
    members,
    skewMs: instants.length === 0 ? 0 : newest - Math.min(...instants),
    allowedSkewMs,
    lagging: [...new Set(lagging)].toSorted(),
  };
}

/** The lagging targets that nobody has accepted. */
export const unacceptedSkew = ({ lagging }: RecoverySet, accepted: readonly string[]): string[] =>
  lagging.filter((target) => !accepted.includes(target));
