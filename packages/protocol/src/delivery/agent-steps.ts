import type { WireError } from '../errors.ts';
import { laneOf } from '../jobs/spec.ts';
import type { JobStep, StepRequest } from '../jobs/step.ts';
import { putAgentJob } from './agent-events.ts';
import type { AgentJob, AgentLedger } from './agent-ledger.ts';

/** The steps that have to be taken back, in the order in which that is done: the newest first. */
export const openSteps = (job: Pick<AgentJob, 'steps'>): JobStep[] =>
  job.steps.filter((step) => step.compensation !== null && step.state !== 'compensated').toReversed();

/** The targets on which an ended job has left steps that are not taken back yet. No job may start there. */
export function blockedTargets(ledger: AgentLedger): ReadonlySet<string> {
  const blocking = [...ledger.jobs.values()].filter((job) => job.state === 'finished' && openSteps(job).length > 0);
  return new Set(blocking.map((job) => laneOf(job.spec)));
}

/**
 * To be journaled before the effect of the step. Only a running attempt can begin one: for any other the ledger stays as it
 * is, and the effect must not happen.
 */
export function beginStep(ledger: AgentLedger, key: string, stepId: string, step: StepRequest): AgentLedger {
  const job = ledger.jobs.get(key);
  if (job?.state !== 'running') return ledger;
  const { kind, params, compensation } = step;
  const begun: JobStep = { stepId, kind, params, compensation, state: 'begun', error: null };
  return putAgentJob(ledger, { ...job, steps: [...job.steps, begun] });
}

function changeStep(
  ledger: AgentLedger,
  key: string,
  stepId: string,
  change: Pick<JobStep, 'state' | 'error'>,
): AgentLedger {
  const job = ledger.jobs.get(key);
  const known = job?.steps.find((step) => step.stepId === stepId);
  if (job === undefined || known === undefined || known.state === 'compensated') return ledger;
  const steps = job.steps.map((step) => (step === known ? { ...step, ...change } : step));
  return putAgentJob(ledger, { ...job, steps });
}

/** The effect of the step is there. */
export const completeStep = (ledger: AgentLedger, key: string, stepId: string): AgentLedger =>
  changeStep(ledger, key, stepId, { state: 'done', error: null });

/** The step was taken back. */
export const compensateStep = (ledger: AgentLedger, key: string, stepId: string): AgentLedger =>
  changeStep(ledger, key, stepId, { state: 'compensated', error: null });

/** Taking the step back has failed; it will be tried again. */
export const failCompensation = (ledger: AgentLedger, key: string, stepId: string, error: WireError): AgentLedger =>
  changeStep(ledger, key, stepId, { state: 'failed', error });
