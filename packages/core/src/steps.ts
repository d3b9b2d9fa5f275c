import type { Compensation, StepRequest } from '@lastgood/protocol';
import { Bug } from './failure.ts';

/**
 * Changes the outside world on behalf of a job (stops a service, freezes a process, renames a database), so that no crash leaves
 * it changed. Each step is journaled before its effect. If the job does not succeed, its steps are taken back in reverse order;
 * after a crash of the agent that happens at its next start, by the handler of the compensation's kind, which gets nothing but
 * the params. The effect may or may not have happened then, and the handler may be called again: it must be idempotent.
 */
export interface StepRunner {
  /** Carries out one step. It stays when the job succeeds. */
  run<T>(step: StepRequest, effect: () => Promise<T>): Promise<T>;
  /** Carries out a step that lasts for `work` alone, and takes it back afterwards in any case. */
  during<T>(
    step: StepRequest & { readonly compensation: Compensation },
    effect: () => Promise<void>,
    work: () => Promise<T>,
  ): Promise<T>;
}

const refuse = (): never => {
  throw new Bug('nothing outside may be changed here');
};
/** For calls that belong to no job, such as probes. */
export const noSteps: StepRunner = { run: async () => refuse(), during: async () => refuse() };
