import { setTimeout as delay } from 'node:timers/promises';
import { Bug } from '@lastgood/core';

/** Polls `check` until it returns a value. Throws after `timeoutMs`, which should exceed any normal duration. */
export async function waitFor<T>(
  what: string,
  timeoutMs: number,
  signal: AbortSignal,
  check: () => Promise<T | undefined>,
): Promise<T> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    signal.throwIfAborted();
    const found = await check();
    if (found !== undefined) return found;
    if (performance.now() > end) throw new Bug(`waited ${timeoutMs / 1000} s for ${what}`);
    await delay(50, undefined, { signal });
  }
}
