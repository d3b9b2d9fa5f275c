import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['{apps,packages}/*/test/**/*.test.ts', 'test/**/*.test.ts'],
    globalSetup: ['test/support/build-dashboard.ts'],
    setupFiles: ['test/support/random-seed.ts'],
    // Real servers start, dump and restore: these bounds only cut off what hangs.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    maxWorkers: 2,
    // The processes that tests start load their modules in half the time.
    env: { NODE_COMPILE_CACHE: join(import.meta.dirname, 'node_modules/.cache/lastgood-modules') },
  },
});
