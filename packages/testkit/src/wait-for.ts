import { setTimeout as delay } from 'node:timers/promises';
import { Bug } from '@lastgood/core';

/** Polls `ask` until it returns a value. `timeoutMs` only bounds a failure. */
export async function waitFor<T>(
  what: string,
  timeoutMs: number,
  signal: AbortSignal,
  ask: () => Promise<T | undefined>,
): Promise<T> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    signal.throwIfAborted();
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (performance.now() > end) throw new Bug(`waited ${timeoutMs / 1000} s for ${what}`);
    await delay(50, undefined, { signal });
  }
}
