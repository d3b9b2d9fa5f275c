import type { WireError } from '../errors.ts';
import type { JobEvent } from './event.ts';

export type StepParams = JobEvent['result'];

/** How a step is taken back: the handler of this kind gets the params, also in another process. They hold no secrets. */
export interface Compensation {
  readonly kind: string;
  readonly params: StepParams;
}
/** One change of the outside world by a job, as it is journaled before it happens. It holds no secrets. */
export interface StepRequest {
  readonly kind: string;
  readonly params: StepParams;
  /** Null: there is nothing to take back. */
  readonly compensation: Compensation | null;
}
/**
 * A step in the journal. `begun`: its effect may be there. `done`: its effect is there. `compensated`: it was taken back.
 * `failed`: taking it back has failed and is tried again.
 */
export interface JobStep extends StepRequest {
  readonly stepId: string;
  readonly state: 'begun' | 'done' | 'compensated' | 'failed';
  /** Why taking it back failed the last time. */
  readonly error: WireError | null;
}
