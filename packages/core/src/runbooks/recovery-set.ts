import type { PlannedStep, ReachedPoint, RecoverySet, RunbookRun, RunStep, StepChoice } from '@lastgood/protocol';
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

/** The choice that a step of a run has made or will make. */
const choiceOf = ({ status, results }: RunStep, planned: PlannedStep): StepChoice =>
  'choice' in status ? status.choice : (results.at(-1)?.choice ?? planned.choice);

/** The recovery set of a run when a step takes its alternative instead. A step that was skipped brings nothing back. */
export function setWithAlternative(run: RunbookRun, name: string): RecoverySet {
  const steps = run.plan.steps.flatMap((planned): PlannedStep[] => {
    const step = run.steps.find((each) => each.name === planned.name);
    if (planned.name === name) return [{ ...planned, choice: 'alternative' }];
    if (step === undefined || step.status.state === 'skipped') return [];
    return [{ ...planned, choice: choiceOf(step, planned) }];
  });
  return recoverySetOf(steps, run.plan.set.instant, run.plan.set.allowedSkewMs);
}

/** The lagging targets that nobody has accepted. */
export const unacceptedSkew = ({ lagging }: RecoverySet, accepted: readonly string[]): string[] =>
  lagging.filter((target) => !accepted.includes(target));
