import type { RunbookPlan, RunbookRun, RunStep, StepDecision } from '@lastgood/protocol';
import { Failure } from '../failure.ts';
import { addEvent, advanceRun, endRun, isAtWork, isFulfilled, putStep, runningStatus } from './advance-run.ts';
import { setWithAlternative, unacceptedSkew } from './recovery-set.ts';
import { plannedStepOf } from './run-jobs.ts';

/** How a run is started. */
export interface RunStart {
  readonly runId: string;
  readonly by: string;
  readonly at: number;
  readonly acceptedSkew: readonly string[];
  /** The steps whose approval is given with the start. */
  readonly approved: readonly string[];
}

/** A new run of a plan, with its first steps started. One whose plan is refused has failed; only a drill by schedule is started so. */
export function startRun(plan: RunbookPlan, { runId, by, at, acceptedSkew, approved }: RunStart): RunbookRun {
  const steps = plan.steps.map(
    ({ name }): RunStep => ({
      name,
      tries: 0,
      interruptions: 0,
      startedAt: null,
      status: { state: 'pending' },
      results: [],
    }),
  );
  const run: RunbookRun = {
    runId,
    plan,
    state: 'running',
    startedBy: by,
    startedAt: at,
    endedAt: null,
    acceptedSkew: [...acceptedSkew],
    approved: [...approved],
    steps,
    events: [],
  };
  const started = addEvent(run, at, 'started', { by, detail: plan.hash });
  const [refusal] = plan.refusals;
  return refusal === undefined ? advanceRun(started, at) : endRun(started, 'failed', at, refusal.code);
}

const conflict = (message: string): Failure =>
  new Failure('CONFLICT', message, { remedy: 'Look at the run with `lastgood runbooks status`.' });

function openStep(run: RunbookRun, name: string, isGivenUp: boolean): RunStep {
  if (run.state !== 'running' && !(run.state === 'aborting' && isGivenUp))
    throw conflict(`run ${run.runId} has ended or is being aborted (${run.state})`);
  const step = run.steps.find((each) => each.name === name);
  if (step === undefined)
    throw new Failure('NOT_FOUND', `the run has no step "${name}"`, {
      remedy: `Its steps are: ${run.steps.map((each) => each.name).join(', ')}.`,
    });
  return step;
}

function retry(run: RunbookRun, step: RunStep, by: string, now: number): RunbookRun {
  const { status } = step;
  if (status.state !== 'failed') throw conflict(`step "${step.name}" has not failed; it is ${status.state}`);
  const again = { ...step, tries: step.tries + 1 };
  const put = putStep(run, { ...again, status: runningStatus(run, again, status.choice, status.index) });
  return addEvent(put, now, 'retried', { step: step.name, by });
}

interface SkipDecision {
  readonly reason: string;
  readonly isGivenUp: boolean;
}

/** The targets that a person accepts in a decision, beside those of the start. Throws NOT_CONFIRMED when one that lags is missing. */
function acceptSkew(run: RunbookRun, { name }: RunStep, accepted: readonly string[]): string[] {
  const all = [...new Set([...run.acceptedSkew, ...accepted])];
  const missing = unacceptedSkew(setWithAlternative(run, name), all);
  if (missing.length === 0) return all;
  throw new Failure(
    'NOT_CONFIRMED',
    `with the alternative, these targets lag behind the others: ${missing.join(', ')}`,
    {
      remedy: `Accept them by name: lastgood runbooks resume ${run.runId} --alternative ${name} ${missing.map((target) => `--accept-skew ${target}`).join(' ')}`,
    },
  );
}

interface AlternativeDecision {
  readonly acceptedSkew: readonly string[];
  readonly isGivenUp: boolean;
}

function takeAlternative(
  run: RunbookRun,
  step: RunStep,
  { acceptedSkew, isGivenUp }: AlternativeDecision,
  by: string,
  now: number,
): RunbookRun {
  if (step.status.state !== 'failed' && !(step.status.state === 'running' && isGivenUp))
    throw conflict(`step "${step.name}" has not failed; it is ${step.status.state}`);
  if (plannedStepOf(run, step.name).alternative === null) throw conflict(`step "${step.name}" has no alternative`);
  const all = acceptSkew(run, step, acceptedSkew);
  const again = { ...step, tries: step.tries + 1 };
  const accepted = { ...run, acceptedSkew: all };
  const put = putStep(accepted, { ...again, status: runningStatus(run, again, 'alternative', 0) });
  const added = all.filter((target) => !run.acceptedSkew.includes(target));
  const detail = added.length === 0 ? null : `accepted skew: ${added.join(', ')}`;
  return addEvent(put, now, 'alternative', { step: step.name, by, detail });
}

function skip(run: RunbookRun, step: RunStep, decision: SkipDecision, by: string, now: number): RunbookRun {
  const { reason, isGivenUp } = decision;
  if (isFulfilled(step) || (step.status.state === 'running' && !isGivenUp))
    throw conflict(`step "${step.name}" cannot be skipped; it is ${step.status.state}`);
  requireAnother(run, step, by);
  const put = putStep(run, { ...step, status: { state: 'skipped', at: now, by, reason } });
  return addEvent(put, now, 'skipped', { step: step.name, by, detail: reason });
}

/** A step that another person must approve is decided by another person than the one who has started the run. Throws FORBIDDEN. */
function requireAnother(run: RunbookRun, step: RunStep, by: string): void {
  const [action] = plannedStepOf(run, step.name).main;
  if (action?.kind !== 'approve' || action.by !== 'another' || by !== run.startedBy) return;
  throw new Failure(
    'FORBIDDEN',
    `step "${step.name}" is decided by another person than the one who has started the run`,
    { remedy: 'Ask somebody else to approve or skip it, with a token of their own.' },
  );
}

function approve(run: RunbookRun, step: RunStep, by: string, now: number): RunbookRun {
  if (step.status.state !== 'asking')
    throw conflict(`step "${step.name}" waits for no approval; it is ${step.status.state}`);
  requireAnother(run, step, by);
  const put = putStep(run, { ...step, status: { state: 'succeeded', at: now, by } });
  return addEvent(put, now, 'approved', { step: step.name, by });
}

/**
 * Carries out what a person has decided about a step. A step that runs on a host that is offline can be given up: skipped, also while the run is
 * being aborted, or replaced by its alternative; `isOffline` says that its host is. Throws CONFLICT when the step is not in a state for
 * the decision, NOT_FOUND, FORBIDDEN, NOT_CONFIRMED when an alternative goes further back than was accepted.
 */
export function decideStep(
  run: RunbookRun,
  decision: StepDecision,
  { by, isOffline }: { readonly by: string; readonly isOffline: boolean },
  now: number,
): RunbookRun {
  const isGivenUp = isOffline && (decision.type === 'skip' || decision.type === 'alternative');
  const step = openStep(run, decision.step, isGivenUp && decision.type === 'skip');
  switch (decision.type) {
    case 'retry':
      return advanceRun(retry(run, step, by, now), now);
    case 'alternative':
      return advanceRun(takeAlternative(run, step, { acceptedSkew: decision.acceptedSkew, isGivenUp }, by, now), now);
    case 'skip':
      return advanceRun(skip(run, step, { reason: decision.reason, isGivenUp }, by, now), now);
    case 'approve':
      return advanceRun(approve(run, step, by, now), now);
  }
}

/** Starts nothing more, and ends when the jobs that run have ended. One that is over or being aborted stays as it is. */
export function abortRun(run: RunbookRun, by: string, reason: string, now: number): RunbookRun {
  if (run.state !== 'running') return run;
  const steps = run.steps.map(
    (step): RunStep =>
      isAtWork(step) && step.status.state !== 'running' ? { ...step, status: { state: 'canceled', at: now } } : step,
  );
  return advanceRun(addEvent({ ...run, state: 'aborting', steps }, now, 'aborted', { by, detail: reason }), now);
}
