import { expect, test } from 'vitest';
import { findForbiddenCode, findSkippedTests, findUnfinishedComments } from './support/code-rules.ts';
import { shipped, sources, tests } from './support/repository.ts';

test('shipped code has no any, no non-null assertion and no console.log, and throws only errors with a code', () => {
  expect(shipped.flatMap(findForbiddenCode)).toEqual([]);
});

test('no test is skipped without a reason, and none runs alone', () => {
  expect(tests.flatMap(findSkippedTests)).toEqual([]);
});

test('no comment leaves work without an issue, or sets a rule aside without a reason', () => {
  expect(sources.flatMap(findUnfinishedComments)).toEqual([]);
});
