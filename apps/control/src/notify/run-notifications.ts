import { setTimeout as delay } from 'node:timers/promises';
import type { Clock } from '@lastgood/core';
import type { Log } from '../log.ts';
import type { Planner } from '../planner/planner.ts';
import { runDeadManSwitch } from './dead-man-switch.ts';
import type { NotifyConfig } from './notify-config.ts';
import type { OutboxRunner } from './outbox-runner.ts';

/** Resolves after a time, rejects when aborted. */
export const wait = (ms: number, signal: AbortSignal): Promise<void> => delay(ms, undefined, { signal, ref: false });

/** A planner that has not ticked for so long stands still. */
const STILL_MS = 5 * 60_000;

export interface NotificationParts {
  readonly outbox: OutboxRunner;
  readonly planner: Planner;
  readonly notify: NotifyConfig;
  readonly clock: Clock;
  readonly log: Log;
}

/** Delivers what the outbox holds and calls the external monitor, until it is stopped. */
export function runNotifications({ outbox, planner, notify, clock, log }: NotificationParts): {
  stop(): Promise<void>;
} {
  const stopping = new AbortController();
  const { signal } = stopping;
  const tasks = [outbox.run(signal)];
  if (notify.deadManSwitch !== undefined) {
    const { urlFile, every } = notify.deadManSwitch;
    const isHealthy = (): boolean => clock.now() - planner.lastTickMs < STILL_MS;
    tasks.push(runDeadManSwitch({ urlFile, everyMs: every, isHealthy, wait, clock, log }, signal));
  }
  return {
    stop: async () => {
      stopping.abort();
      await Promise.all(tasks);
    },
  };
}
