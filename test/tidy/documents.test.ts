import { expect, test } from 'vitest';
import { findDeadLinks, findDeadPaths, findLooseVersions, findPrivatePaths } from './support/documents.ts';
import { partOf } from './support/imports.ts';
import { exists, files, pages, readText, shipped } from './support/repository.ts';

test('the first line of the README of every app and package says what it is', () => {
  const parts = [...new Set(shipped.map(({ path }) => partOf(path)))];
  const firstLines = parts.map((part) => [part, readText(`${part}/README.md`).split('\n')[0] ?? '']);
  expect(firstLines.filter(([, line]) => !/^[A-Z`].{20,}$/.test(line ?? ''))).toEqual([]);
});

test('every link between pages leads to a file', () => {
  expect(pages.flatMap((page) => findDeadLinks(page, readText(page), exists))).toEqual([]);
});

test('every path of the repository that a page names exists', () => {
  const current = pages.filter((page) => page !== 'CHANGELOG.md');
  expect(current.flatMap((page) => findDeadPaths(page, readText(page), exists))).toEqual([]);
});

test('every decision is in the index', () => {
  const decisions = files.filter((path) => /^docs\/decisions\/\d{4}/.test(path)).map((path) => path.split('/')[2]);
  const index = readText('docs/decisions/README.md');
  expect(decisions.filter((name) => !index.includes(`(${name})`))).toEqual([]);
});

test('dependencies have exact versions', () => {
  const manifests = files.filter((path) => /(^|\/)package\.json$/.test(path));
  expect(manifests.flatMap((path) => findLooseVersions(path, readText(path)))).toEqual([]);
});

test('no path of one machine and no address of a registry is committed', () => {
  const texts = files.filter((path) => !path.endsWith('.png'));
  expect(texts.flatMap((path) => findPrivatePaths(path, readText(path)))).toEqual([]);
});
