import { type Clock, toWireError } from '@lastgood/core';
import type { Log } from '../log.ts';
import { post } from './post.ts';
import { readSecretLines } from './secret-file.ts';

export interface DeadManSwitchOptions {
  readonly urlFile: string;
  readonly everyMs: number;
  /** Whether the planner runs and the catalog can be written. While it is false nothing is sent: that is the alert. */
  isHealthy(): boolean;
  /** Resolves after a time, rejects when aborted (`setTimeout` of node:timers/promises). */
  wait(ms: number, signal: AbortSignal): Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Calls an external monitor at regular intervals, until it is aborted. The monitor alerts when the calls stop: the one alert that this
 * process cannot send itself.
 */
export async function runDeadManSwitch(options: DeadManSwitchOptions, signal: AbortSignal): Promise<void> {
  const { urlFile, everyMs, clock, log } = options;
  while (!signal.aborted) {
    if (options.isHealthy()) {
      try {
        const [url] = await readSecretLines(urlFile);
        const result = await post({ url, body: '', headers: {} }, clock.now(), signal);
        if (result.outcome !== 'sent') log.warn({ cause: result.cause }, 'the dead-man switch could not be reached');
      } catch (error) {
        log.error({ error: toWireError(error) }, 'the dead-man switch could not be called');
      }
    }
    await options.wait(everyMs, signal).catch(() => undefined);
  }
}
