import {
  type Finding,
  findingKey,
  makeFinding,
  type PlannedAction,
  type PlannedStep,
  type RecoverySet,
  type RunbookPlan,
} from '@lastgood/protocol';
import { formatDuration } from '../duration.ts';
import { Failure } from '../failure.ts';
import { actionOf, type Runbook, type RunbookStep } from '../fleet-file/runbook-schema.ts';
import type { FleetFile } from '../fleet-file/schema.ts';
import { type PlanScope, planAction } from './plan-action.ts';
import { recoverySetOf } from './recovery-set.ts';

export interface RunbookRequest extends PlanScope {
  readonly name: string;
  readonly runbook: Runbook;
  /** Of the fleet file. */
  readonly revision: number;
  readonly contacts: FleetFile['contacts'];
  /** The steps that begin with their alternative. */
  readonly alternatives: readonly string[];
  /** SHA-256 in hexadecimal. */
  readonly digest: (text: string) => string;
}

const KIND_TITLE: Record<ReturnType<typeof actionOf>, string> = {
  restore: 'Restore',
  check: 'Check',
  hook: 'Run',
  wait: 'Wait',
  approve: 'Approve',
  notify: 'Notify',
};

function planStep(
  name: string,
  step: RunbookStep,
  request: RunbookRequest,
): { step: PlannedStep | null; refusals: Finding[]; warnings: Finding[] } {
  const choice = request.alternatives.includes(name) ? 'alternative' : 'main';
  const main = [planAction(step, request)];
  const other = step.alternative?.map((action) => planAction(action, request)) ?? null;
  const isComplete = (list: typeof main): boolean => list.every(({ action }) => action !== null);
  const actionsOf = (list: typeof main): PlannedAction[] => list.flatMap(({ action }) => action ?? []);
  const chosen = choice === 'main' ? main : (other ?? []);
  const found = chosen.flatMap(({ findings }) => findings);
  const refusals = found.filter(({ severity }) => severity === 'error');
  const warnings = found.filter(({ severity }) => severity !== 'error');
  if (!isComplete(chosen)) return { step: null, refusals, warnings };
  const restored = actionsOf(chosen).find((action) => action.kind === 'restore' || action.kind === 'restore-test');
  const planned: PlannedStep = {
    name,
    title: step.title ?? `${KIND_TITLE[actionOf(step)]} ${name}`,
    after: step.after ?? [],
    retries: step.retries ?? 0,
    // What the person has not chosen need not be possible.
    main: isComplete(main) ? actionsOf(main) : [{ kind: 'left-out', instead: actionOf(step) }],
    alternative: other !== null && isComplete(other) ? actionsOf(other) : null,
    choice,
    estimatedMs: restored === undefined ? null : (request.targets.get(restored.target)?.restoreMs ?? null),
  };
  return { step: planned, refusals, warnings };
}

/** The longest way through the steps by the measured restores; null when one was never measured. */
function longestWay(steps: readonly PlannedStep[]): number | null {
  const byName = new Map(steps.map((step) => [step.name, step]));
  const ends = new Map<string, number>();
  const endOf = (name: string): number => {
    const known = ends.get(name);
    if (known !== undefined) return known;
    const step = byName.get(name);
    const end = Math.max(0, ...(step?.after ?? []).map(endOf)) + (step?.estimatedMs ?? 0);
    ends.set(name, end);
    return end;
  };
  const restores = steps.filter(({ main }) => main.some(({ kind }) => kind === 'restore' || kind === 'restore-test'));
  if (restores.length === 0 || restores.some(({ estimatedMs }) => estimatedMs === null)) return null;
  return Math.max(...steps.map(({ name }) => endOf(name)));
}

const skewFindings = ({ members, lagging }: RecoverySet): Finding[] =>
  members
    .filter(({ target }) => lagging.includes(target))
    .map(({ target, point, lagMs }) =>
      makeFinding('RUNBOOK_SKEW', { kind: 'target', name: target }, { at: point.at, lag: formatLag(lagMs) }),
    );
const formatLag = (ms: number): string => (ms < 1000 ? `${ms} ms` : formatDuration(ms));

function contactsOf({ runbook, contacts }: RunbookRequest): RunbookPlan['contacts'] {
  return (runbook.contacts ?? []).flatMap((name) => {
    const contact = contacts[name];
    if (contact === undefined) return [];
    const { description = null, email = [], channels = [] } = contact;
    return [{ name, description, email: [...email], channels: [...channels] }];
  });
}

/** What consent covers of an action. The end of a log moves on: the newest instant is consented to as such. */
const hashed = (action: PlannedAction): object => {
  if (action.kind !== 'restore' && action.kind !== 'restore-test') return action;
  return action.point.basis === 'log' ? { ...action, point: action.point.backupId } : action;
};
const hashedStep = ({ estimatedMs: _, main, alternative, ...step }: PlannedStep): object => ({
  ...step,
  main: main.map(hashed),
  alternative: alternative?.map(hashed) ?? null,
});

/** Each finding once: several steps may need one host. */
const unique = (findings: readonly Finding[]): Finding[] => [
  ...new Map(findings.map((finding) => [findingKey(finding), finding])).values(),
];

/**
 * Decides everything that a run of a runbook does: the point of each restore, the skew between them, what is missing. Its hash covers what is
 * carried out, so that consent is given to exactly that. Throws BAD_INPUT for an alternative that the runbook does not have.
 */
export function planRunbook(request: RunbookRequest): RunbookPlan {
  const { name, runbook, revision, mode, instantMs, alternatives, digest } = request;
  for (const step of alternatives)
    if (runbook.steps[step]?.alternative === undefined)
      throw new Failure('BAD_INPUT', `runbook "${name}" has no step "${step}" with an alternative`);
  const planned = Object.entries(runbook.steps).map(([step, content]) => planStep(step, content, request));
  const steps = planned.flatMap(({ step }) => step ?? []);
  const instant = instantMs === null ? null : new Date(instantMs).toISOString();
  const set = recoverySetOf(steps, instant, runbook.objectives?.skew ?? 0);
  const rtoMs = runbook.objectives?.rto ?? null;
  const estimatedMs = longestWay(steps);
  const slow =
    rtoMs !== null && estimatedMs !== null && estimatedMs > rtoMs
      ? [
          makeFinding('RUNBOOK_RTO_ESTIMATE', null, {
            estimate: formatDuration(estimatedMs),
            rto: formatDuration(rtoMs),
          }),
        ]
      : [];
  const decided = { runbook: name, revision, mode, steps: steps.map(hashedStep) };
  return {
    hash: digest(JSON.stringify(decided)),
    runbook: name,
    revision,
    mode,
    steps,
    set,
    contacts: contactsOf(request),
    rtoMs,
    estimatedMs,
    refusals: unique(planned.flatMap(({ refusals }) => refusals)),
    warnings: unique([...planned.flatMap(({ warnings }) => warnings), ...skewFindings(set), ...slow]),
  };
}
