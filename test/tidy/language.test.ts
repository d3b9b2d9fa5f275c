import { expect, test } from 'vitest';
import { BANNED } from './support/banned-words.ts';
import { banWords, matchesAny } from './support/language.ts';
import { commentsOf, pageProse, stringsOf } from './support/prose.ts';
import { files, pages, readText, sources } from './support/repository.ts';

/** Files whose language is not finished. Remove a line when its files have no hits; the list is to become empty. */
const NOT_YET: readonly string[] = [];

/** Files that hold banned words on purpose. */
const WORD_LISTS: readonly string[] = ['test/tidy/support/banned-words.ts', 'test/tidy/self-check.test.ts'];

const isChecked = (path: string): boolean => !matchesAny(path, [...NOT_YET, ...WORD_LISTS]);

test('comments, strings, test titles and pages use no banned word', () => {
  const prose = [
    ...sources.filter(({ path }) => isChecked(path)).flatMap((file) => [...commentsOf(file), ...stringsOf(file)]),
    ...pages.filter(isChecked).map((path) => pageProse(path, readText(path))),
  ];
  const hits = prose.flatMap(banWords(BANNED));
  expect(hits, `${hits.length} banned words:\n${hits.join('\n')}\n`).toEqual([]);
});

test('every glob of unfinished files matches a file', () => {
  expect(NOT_YET.filter((glob) => !files.some((path) => matchesAny(path, [glob])))).toEqual([]);
});
