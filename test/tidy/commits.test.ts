import { expect, test } from 'vitest';
import { findBadSubjects } from './support/commits.ts';
import { runGit } from './support/repository.ts';

/** The last commit before the rule. In a clone without it, every commit of the clone is checked. */
const BASE = '7980766';

/** `BASE..HEAD` when the clone has the base. */
function newCommits(): string {
  try {
    runGit('merge-base', '--is-ancestor', BASE, 'HEAD');
    return `${BASE}..HEAD`;
  } catch {
    return 'HEAD';
  }
}

test('the subject of a commit reads "area: imperative summary" in at most 72 characters', () => {
  const commits = runGit('log', '--no-merges', '--format=%h%x09%s', newCommits())
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => ({ hash: line.split('\t')[0] ?? '', subject: line.split('\t').slice(1).join('\t') }));
  expect(findBadSubjects(commits)).toEqual([]);
});
