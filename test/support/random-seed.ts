import fc from 'fast-check';

/**
 * Property tests take the same examples in every run, so that a change is judged by itself. LASTGOOD_TEST_SEED searches elsewhere; a
 * counterexample becomes a test of its own.
 */
fc.configureGlobal({ seed: Number(process.env['LASTGOOD_TEST_SEED'] ?? 1) });
