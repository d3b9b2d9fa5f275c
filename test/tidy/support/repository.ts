import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SourceFile } from './source-file.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));

/** The standard output of git, run at the root of the repository. */
export const runGit = (...args: readonly string[]): string =>
  execFileSync('git', args, { cwd: root, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });

export const exists = (path: string): boolean => existsSync(join(root, path));

/** The text of a file, by its path from the root of the repository. */
export const readText = (path: string): string => readFileSync(join(root, path), 'utf8');

/** Every file of the repository, committed or about to be. */
export const files: readonly string[] = runGit('ls-files', '-z', '--cached', '--others', '--exclude-standard')
  .split('\0')
  .filter((path) => path !== '' && exists(path));

export const isShipped = (path: string): boolean => /^(apps|packages)\/[^/]+\/src\//.test(path);
/** A conformance suite holds tests that the test files of several packages run. */
export const isTest = (path: string): boolean =>
  path.endsWith('.test.ts') || path.startsWith('packages/testkit/src/conformance/');

export const pages = files.filter((path) => path.endsWith('.md'));
export const sources = files
  .filter((path) => /\.(tsx?|mjs)$/.test(path))
  .map((path) => new SourceFile(path, readText(path)));
export const shipped = sources.filter(({ path }) => isShipped(path));
export const tests = sources.filter(({ path }) => isTest(path));
