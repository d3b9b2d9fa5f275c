import type { JobSpec, PlannedAction, PlannedStep, RunbookRun, RunStep, StepChoice } from '@lastgood/protocol';
import { Bug } from '../failure.ts';
import { deriveUuid } from '../schedules/derived-id.ts';

/** A job that a run needs now, and where. */
export interface RunJob {
  readonly step: string;
  readonly jobId: string;
  readonly environment: string;
  readonly host: string;
  readonly spec: JobSpec;
}

export function plannedStepOf(run: RunbookRun, name: string): PlannedStep {
  const found = run.plan.steps.find((step) => step.name === name);
  if (found === undefined) throw new Bug(`run ${run.runId} has no step "${name}"`);
  return found;
}
export const actionsOf = ({ main, alternative }: PlannedStep, choice: StepChoice): readonly PlannedAction[] =>
  choice === 'main' ? main : (alternative ?? []);

/** The id of a job is derived: after a crash the same try of a step is the same job, so it runs at most once. */
export const runJobId = (
  runId: string,
  step: string,
  { choice, index, phase, tries }: { choice: StepChoice; index: number; phase: 'plan' | 'work'; tries: number },
): string => deriveUuid(runId, `${step} ${choice} ${index} ${phase} ${tries}`);

function specOf(action: PlannedAction, phase: 'plan' | 'work', planHash: string | null): JobSpec {
  const target = 'target' in action ? (action.target.split('/')[2] ?? '') : '';
  switch (action.kind) {
    case 'restore':
      if (phase === 'plan') return { command: 'plan', target, request: action.request };
      if (planHash === null) throw new Bug('a restore without a plan');
      return { command: 'restore', target, request: action.request, planHash };
    case 'restore-test':
      return { command: 'verify', target, backupId: action.backupId, level: action.level };
    case 'check':
    case 'hook':
      return { command: action.kind, target: action.name };
    default:
      throw new Bug(`no job for "${action.kind}"`);
  }
}

function jobOf(run: RunbookRun, { name, status }: RunStep): RunJob[] {
  if (status.state !== 'running') return [];
  const action = actionsOf(plannedStepOf(run, name), status.choice)[status.index];
  if (action === undefined) throw new Bug(`step "${name}" has no action ${status.index}`);
  const place = 'target' in action ? action.target : 'host' in action ? action.host : '';
  const [environment = '', host = ''] = place.split('/');
  return [{ step: name, jobId: status.jobId, environment, host, spec: specOf(action, status.phase, status.planHash) }];
}

/** The jobs that have to exist for the state of a run. Each follows from the state alone, so that a crash loses and repeats nothing. */
export const jobsOfRun = (run: RunbookRun): RunJob[] => run.steps.flatMap((step) => jobOf(run, step));
