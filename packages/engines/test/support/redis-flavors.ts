import { findRedisPrograms, REDIS_FLAVORS, type RedisFlavor, type RedisPrograms } from '@lastgood/testkit';
import { describe } from 'vitest';

const found = new Map<RedisFlavor, RedisPrograms | { readonly reason: string }>();
for (const flavor of REDIS_FLAVORS) found.set(flavor, await findRedisPrograms(flavor));

/** The programs of a flavor; the test is skipped, with the reason, where there are none. */
export function programsOf(flavor: RedisFlavor, skip: (condition: boolean, note?: string) => void): RedisPrograms {
  const programs = found.get(flavor);
  if (programs === undefined || 'reason' in programs) {
    skip(true, programs?.reason);
    throw new Error('unreachable: the test was skipped');
  }
  return programs;
}

/** One block per product and version. */
export const eachFlavor = describe.for([...REDIS_FLAVORS]);
