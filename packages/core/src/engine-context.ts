import type { ProgressPhase } from '@lastgood/protocol';
import type { StepRunner } from './steps.ts';

/** Gives wall time (ms since the epoch) and monotonic time (ms). */
export interface Clock {
  now(): number;
  monotonic(): number;
}
export interface JobProgress {
  readonly phase: ProgressPhase;
  readonly doneBytes: number;
  readonly totalBytes: number | null;
  /** Done and all of what the phase counts beside bytes. */
  readonly doneItems?: number;
  readonly totalItems?: number;
}
/** The environment of one driver call. `workDir` is private (0700); the caller removes it afterwards. */
export interface EngineContext {
  readonly workDir: string;
  readonly signal: AbortSignal;
  readonly clock: Clock;
  /** The way to change anything that a crash must not leave changed. */
  readonly steps: StepRunner;
  progress(progress: JobProgress): void;
  log(message: string): void;
}
