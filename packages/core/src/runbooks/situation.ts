import type { RunbookRun, RunStep } from '@lastgood/protocol';

/** What a run waits for: jobs, an approval, a decision about a failed step, or nothing because it has ended. */
export type Situation = 'working' | 'asking' | 'stopped' | 'ended';

export function situationOf(run: RunbookRun): Situation {
  if (run.endedAt !== null) return 'ended';
  const states = new Set(run.steps.map(({ status }) => status.state));
  if (states.has('running') || states.has('waiting')) return 'working';
  if (states.has('failed')) return 'stopped';
  return states.has('asking') ? 'asking' : 'working';
}

export const failedSteps = ({ steps }: RunbookRun): RunStep[] =>
  steps.filter(({ status }) => status.state === 'failed');

/** How long a step has taken; null before it has begun. */
export function stepMs({ startedAt, status }: RunStep, now: number): number | null {
  if (startedAt === null) return null;
  return 'at' in status ? status.at - startedAt : now - startedAt;
}

/** True while a step or the run itself can still change. */
export const isOpen = ({ state }: RunbookRun): boolean => state === 'running' || state === 'aborting';
