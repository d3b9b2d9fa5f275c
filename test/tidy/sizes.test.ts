import { expect, test } from 'vitest';
import { shipped, sources } from './support/repository.ts';
import { findLongFile, findLongFunctions } from './support/sizes.ts';

test('a file has at most 400 lines', () => {
  expect(sources.flatMap((file) => findLongFile(file, 400))).toEqual([]);
});

test('a function of shipped code has at most 70 lines', () => {
  expect(shipped.flatMap((file) => findLongFunctions(file, 70))).toEqual([]);
});
