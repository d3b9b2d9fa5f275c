import { expect, test } from 'vitest';
import {
  findDeadUrls,
  findDeepImports,
  findForbiddenImports,
  findImportCycles,
  type ImportTable,
  importsOf,
  partOf,
} from './support/imports.ts';
import { findImpurities } from './support/purity.ts';
import { exists, shipped, sources } from './support/repository.ts';

/** What each part may import of the others. A part that no row names may be imported by none. */
const MAY_IMPORT: ImportTable = {
  'packages/protocol': [],
  'packages/core': ['protocol'],
  'packages/host': ['protocol', 'core'],
  'packages/repository': ['protocol', 'core', 'host'],
  'packages/engines': ['protocol', 'core', 'host'],
  'packages/testkit': ['protocol', 'core', 'host'],
  'apps/agent': ['protocol', 'core', 'host', 'repository', 'engines'],
  'apps/control': ['protocol', 'core', 'host'],
  'apps/cli': ['protocol', 'core'],
  'apps/web': ['protocol', 'core'],
};

/** Products and their tools. Only the registry of packages/engines knows them. */
const ENGINE_NAME = /postgres|neo4j|redis|valkey|\bpg_[a-z]+|\bpsql\b/i;

const importersOf = (name: string): string[] =>
  shipped.filter((file) => importsOf(file).some((each) => each.name === name)).map(({ path }) => path);

test('every app and package imports only what the table allows', () => {
  expect(shipped.flatMap((file) => findForbiddenImports(file, MAY_IMPORT))).toEqual([]);
});

test('every app and package has a row in the table', () => {
  const parts = new Set(shipped.map(({ path }) => partOf(path)));
  expect([...parts].toSorted()).toEqual(Object.keys(MAY_IMPORT).toSorted());
});

test('apps and packages are imported by their exports, never by a path into them', () => {
  expect(sources.flatMap(findDeepImports)).toEqual([]);
});

test('every file that a source names relative to itself exists', () => {
  expect(sources.flatMap((file) => findDeadUrls(file, exists))).toEqual([]);
});

test('no file imports itself through others, types included', () => {
  expect(findImportCycles(shipped)).toEqual([]);
});

test('core and protocol use no machine, no clock, no timer and no randomness', () => {
  const pure = shipped.filter(({ path }) => /^packages\/(core|protocol)\//.test(path));
  expect(pure.flatMap(findImpurities)).toEqual([]);
});

test('only packages/host runs tools', () => {
  expect(importersOf('execa')).toEqual(['packages/host/src/run-tool.ts']);
  // The command line starts the control plane and the agent in the foreground. Tests start and kill whole processes.
  expect(importersOf('node:child_process')).toEqual([
    'apps/cli/src/commands/daemons.ts',
    'packages/testkit/src/running-process.ts',
  ]);
});

test('only the catalog and the journal use SQLite', () => {
  const importers = [...importersOf('better-sqlite3'), ...importersOf('drizzle-orm')];
  expect(importers.filter((path) => !/^apps\/(control\/src\/catalog|agent\/src\/journal)\//.test(path))).toEqual([]);
});

test('no app and no package but packages/engines names an engine', () => {
  const free = /^(?:apps\/[^/]+|packages\/(?:protocol|core|host|repository))\/src\//;
  const named = shipped
    .filter(({ path }) => free.test(path))
    .flatMap(({ path, text }) =>
      text
        .split('\n')
        .flatMap((line, index) => (ENGINE_NAME.test(line) ? [`${path}:${index + 1} ${line.trim()}`] : [])),
    );
  expect(named).toEqual([]);
});
