import type {
  Finding,
  JobResult,
  JobState,
  RunbookRun,
  RunStep,
  StepResult,
  StepStatus,
  WireError,
} from '@lastgood/protocol';
import { sha256Schema, wireErrorOf } from '@lastgood/protocol';
import { failureOfRefusals } from '../failure.ts';
import { addEvent, advanceRun, putStep, runningStatus } from './advance-run.ts';
import { actionsOf, plannedStepOf, runJobId } from './run-jobs.ts';

/** How a job of a run has ended. */
export interface EndedJob {
  readonly jobId: string;
  readonly command: string;
  readonly state: JobState;
  readonly error: WireError | null;
  readonly result: JobResult | null;
  readonly durationMs: number | null;
}
type Running = Extract<StepStatus, { state: 'running' }>;
type Problem = { readonly error: WireError; readonly findings: readonly Finding[] };

const withoutError = (command: string, state: JobState): WireError =>
  state === 'canceled'
    ? wireErrorOf('JOB_CANCELED', `the ${command} was canceled`)
    : wireErrorOf('JOB_INTERRUPTED', `the ${command} ended as ${state}`);

/** Why a job did not do what its step is for; null when it did. A check that has not passed fails its step, though its job succeeded. */
function problemOf({ state, error, result, command }: EndedJob): Problem | null {
  if (state === 'succeeded' && result === null)
    return { error: wireErrorOf('PROTOCOL_UNSUPPORTED', `the result of the ${command} cannot be read`), findings: [] };
  if (state !== 'succeeded' || result === null) return { error: error ?? withoutError(command, state), findings: [] };
  switch (result.command) {
    case 'plan': {
      const { refusals, hash } = result.plan;
      // The hash becomes part of the stored run: one that does not fit its schema would make the whole run unreadable.
      if (!sha256Schema.safeParse(hash).success)
        return { error: wireErrorOf('PROTOCOL_UNSUPPORTED', 'the hash of the plan cannot be read'), findings: [] };
      return refusals.length === 0 ? null : { error: failureOfRefusals(refusals).wireError, findings: refusals };
    }
    case 'check':
      return result.passed
        ? null
        : { error: wireErrorOf('CHECK_FAILED', 'the check has not passed'), findings: result.findings };
    case 'verify':
      return result.passed
        ? null
        : {
            error: wireErrorOf('BACKUP_CORRUPT', `the restore test reached level ${result.reached} of ${result.level}`),
            findings: result.findings,
          };
    default:
      return null;
  }
}

function resultOf({ jobId, command, state, result, durationMs }: EndedJob, { choice, index }: Running): StepResult {
  const common = { choice, index, jobId, command, state, durationMs };
  const reached = result?.command === 'restore' ? result.recoveryPoint : null;
  const level = result?.command === 'verify' ? result.reached : null;
  const details = result?.command === 'check' ? result.details : result?.command === 'restore' ? result.counts : [];
  return { ...common, reached, level, details: details.slice(0, 20) };
}

/** What follows a job that did what its step is for: the restore after its plan, the next action, or the end of the step. */
function nextStatus(run: RunbookRun, step: RunStep, status: Running, job: EndedJob, now: number): StepStatus {
  const { choice, index } = status;
  if (job.result?.command === 'plan') {
    const { tries } = step;
    const jobId = runJobId(run.runId, step.name, { choice, index, phase: 'work', tries });
    return { ...status, phase: 'work', jobId, planHash: job.result.plan.hash };
  }
  const hasMore = index + 1 < actionsOf(plannedStepOf(run, step.name), choice).length;
  return hasMore ? runningStatus(run, step, choice, index + 1) : { state: 'succeeded', at: now, by: null };
}

function fail(run: RunbookRun, step: RunStep, { choice, index }: Running, problem: Problem, now: number): RunbookRun {
  const { error, findings } = problem;
  const { name } = step;
  if (run.state === 'aborting' && error.code === 'JOB_CANCELED')
    return putStep(run, { ...step, status: { state: 'canceled', at: now } });
  if (
    run.state !== 'aborting' &&
    error.code === 'JOB_INTERRUPTED' &&
    step.interruptions < plannedStepOf(run, name).retries
  ) {
    const again = { ...step, tries: step.tries + 1, interruptions: step.interruptions + 1 };
    const status = runningStatus(run, again, choice, index);
    return addEvent(putStep(run, { ...again, status }), now, 'retried', { step: name, detail: error.code });
  }
  const status: StepStatus = { state: 'failed', at: now, choice, index, error, findings: findings.slice(0, 20) };
  return addEvent(putStep(run, { ...step, status }), now, 'step-failed', { step: name, detail: error.code });
}

/** Takes the end of a job. One that no step waits for changes nothing. */
export function recordJob(run: RunbookRun, job: EndedJob, now: number): RunbookRun {
  const step = run.steps.find(({ status }) => status.state === 'running' && status.jobId === job.jobId);
  if (step === undefined || step.status.state !== 'running') return run;
  const { status } = step;
  const noted: RunStep = { ...step, results: [...step.results, resultOf(job, status)] };
  const problem = problemOf(job);
  if (problem !== null) return advanceRun(fail(run, noted, status, problem, now), now);
  const isPlan = job.result?.command === 'plan';
  if (run.state === 'aborting' && isPlan)
    return advanceRun(putStep(run, { ...noted, status: { state: 'canceled', at: now } }), now);
  const next = nextStatus(run, noted, status, job, now);
  const put = putStep(run, { ...noted, status: next });
  const told = next.state === 'succeeded' ? addEvent(put, now, 'step-succeeded', { step: step.name }) : put;
  return advanceRun(told, now);
}
