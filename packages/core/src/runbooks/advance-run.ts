import type { PlannedAction, RunbookRun, RunEvent, RunStep, StepChoice, StepStatus } from '@lastgood/protocol';
import { actionsOf, plannedStepOf, runJobId } from './run-jobs.ts';

export const putStep = (run: RunbookRun, step: RunStep): RunbookRun => ({
  ...run,
  steps: run.steps.map((each) => (each.name === step.name ? step : each)),
});
export const addEvent = (
  run: RunbookRun,
  at: number,
  what: RunEvent['what'],
  { step = null, by = null, detail = null }: Partial<Pick<RunEvent, 'step' | 'by' | 'detail'>> = {},
): RunbookRun => ({ ...run, events: [...run.events, { at, step, what, by, detail }] });

const FULFILLED: ReadonlySet<StepStatus['state']> = new Set(['succeeded', 'skipped', 'left-out']);
export const isFulfilled = ({ status }: RunStep): boolean => FULFILLED.has(status.state);
export const isAtWork = ({ status }: RunStep): boolean =>
  status.state === 'running' || status.state === 'waiting' || status.state === 'asking';

/** The status of a job that is now needed. A restore is planned by its agent first. */
export function runningStatus(
  run: RunbookRun,
  { name, tries }: Pick<RunStep, 'name' | 'tries'>,
  choice: StepChoice,
  index: number,
): StepStatus {
  const action = actionsOf(plannedStepOf(run, name), choice)[index];
  const phase = action?.kind === 'restore' ? 'plan' : 'work';
  const jobId = runJobId(run.runId, name, { choice, index, phase, tries });
  return { state: 'running', choice, index, phase, jobId, planHash: null };
}

function approvedAtStart(run: RunbookRun, name: string, action: PlannedAction): boolean {
  return action.kind === 'approve' && action.by === 'anyone' && run.approved.includes(name);
}

/** The status in which a step begins. */
function firstStatus(run: RunbookRun, step: RunStep, now: number): StepStatus {
  const { choice, ...planned } = plannedStepOf(run, step.name);
  const [first] = actionsOf({ ...planned, choice }, choice);
  if (first === undefined || first.kind === 'left-out') return { state: 'left-out', at: now };
  switch (first.kind) {
    case 'wait':
      return { state: 'waiting', until: now + first.ms };
    case 'approve':
      return approvedAtStart(run, step.name, first)
        ? { state: 'succeeded', at: now, by: run.startedBy }
        : { state: 'asking' };
    case 'notify':
      // The message is put into the outbox in the commit that stores this.
      return { state: 'succeeded', at: now, by: null };
    default:
      return runningStatus(run, step, choice, 0);
  }
}

function startStep(run: RunbookRun, step: RunStep, now: number): RunbookRun {
  const begun = { ...step, tries: step.tries + 1, startedAt: now };
  const status = firstStatus(run, begun, now);
  const started = addEvent(putStep(run, { ...begun, status }), now, 'step-started', { step: step.name });
  return status.state === 'succeeded'
    ? addEvent(started, now, 'step-succeeded', { step: step.name, by: status.by })
    : started;
}

const mayStart = (run: RunbookRun, { name, status }: RunStep): boolean =>
  status.state === 'pending' &&
  plannedStepOf(run, name).after.every((before) => run.steps.some((step) => step.name === before && isFulfilled(step)));

const isOver = ({ status }: RunStep, now: number): boolean => status.state === 'waiting' && status.until <= now;

export function endRun(
  run: RunbookRun,
  state: 'succeeded' | 'failed' | 'aborted',
  now: number,
  reason: string = state,
): RunbookRun {
  return addEvent({ ...run, state, endedAt: now }, now, 'ended', { detail: reason });
}

/** Ends a run that has nothing left to do. A failed step of a real run waits for a person; that of a drill ends it. */
function settle(run: RunbookRun, now: number): RunbookRun {
  if (run.steps.some(isAtWork)) return run;
  if (run.state === 'aborting') return endRun(run, 'aborted', now);
  if (run.steps.every(isFulfilled)) return endRun(run, 'succeeded', now);
  return run.plan.mode === 'drill' ? endRun(run, 'failed', now) : run;
}

/** Starts every step that may start, ends waits that are over, and ends the run when all is done. The same run when there is nothing to do. */
export function advanceRun(run: RunbookRun, now: number): RunbookRun {
  if (run.state !== 'running' && run.state !== 'aborting') return run;
  let next = run;
  for (;;) {
    const over = next.steps.find((step) => isOver(step, now));
    const ready = next.state === 'running' ? next.steps.find((step) => mayStart(next, step)) : undefined;
    if (over !== undefined)
      next = addEvent(
        putStep(next, { ...over, status: { state: 'succeeded', at: now, by: null } }),
        now,
        'step-succeeded',
        {
          step: over.name,
        },
      );
    else if (ready !== undefined) next = startStep(next, ready, now);
    else return settle(next, now);
  }
}
