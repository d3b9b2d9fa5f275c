import { DEFAULT_RESTORE_TESTS, type RestoreTestLimits } from '@lastgood/core';
import { toolCache } from './tool-cache.ts';

/**
 * What the agent files of tests say about restore tests: the servers out of the cache of test tools are readable. Restored code is contained
 * wherever the machine can do it; the consent is for users without rights on machines without user namespaces.
 */
export const testLimits: RestoreTestLimits = {
  ...DEFAULT_RESTORE_TESTS,
  readable: [toolCache()],
  allowUncontained: true,
};
