import type { Clock } from '@lastgood/core';

export const systemClock: Clock = { now: () => Date.now(), monotonic: () => performance.now() };
