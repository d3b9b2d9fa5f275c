import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { root } from '@lastgood/testkit';
import { describe, expect, test } from 'vitest';

const files = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], { cwd: root })
  .toString()
  .split('\0')
  .filter((path) => path !== '' && existsSync(join(root, path)));
const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const sources = files.filter((path) => /\.(ts|mjs)$/.test(path));
const shipped = sources.filter((path) => /^(apps|packages)\/[^/]+\/src\//.test(path));
const pages = files.filter((path) => path.endsWith('.md'));

/** What each part may import of ours. A part that no row names may be imported by nobody. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  'packages/protocol': [],
  'packages/core': ['protocol'],
  'packages/host': ['protocol', 'core'],
  'packages/repository': ['protocol', 'core', 'host'],
  'packages/engines': ['protocol', 'core', 'host'],
  'packages/testkit': ['protocol', 'core', 'host'],
  'apps/agent': ['protocol', 'core', 'host', 'repository', 'engines'],
  'apps/control': ['protocol', 'core', 'host'],
  'apps/cli': ['protocol', 'core'],
};
const partOf = (path: string): string => path.split('/').slice(0, 2).join('/');
const importsOf = (path: string): string[] =>
  [...read(path).matchAll(/(?:^(?:import|export)\b[^'"]*?from\s*|^import\s*|\bimport\()'([^']+)'/gm)].map(
    (found) => found[1] ?? '',
  );

describe('boundaries', () => {
  test('every part imports only what stands before it in the line', () => {
    const wrong = shipped.flatMap((path) =>
      importsOf(path)
        .filter((name) => name.startsWith('@lastgood/'))
        .filter((name) => !MAY_IMPORT[partOf(path)]?.includes(name.split('/')[1] ?? ''))
        .map((name) => `${path} imports ${name}`),
    );
    expect(wrong).toEqual([]);
  });

  test('every part has its row', () => {
    const parts = new Set(shipped.map(partOf));
    expect([...parts].toSorted()).toEqual(Object.keys(MAY_IMPORT).toSorted());
  });

  test('a part is reached through its one door', () => {
    const wrong = sources.flatMap((path) =>
      importsOf(path)
        .filter((name) => name.startsWith('.'))
        .map((name) => join(dirname(path), name))
        .filter((target) => /^(apps|packages)\//.test(target) && partOf(target) !== partOf(path))
        .map((target) => `${path} reaches into ${target}`),
    );
    expect(wrong).toEqual([]);
  });

  test('core and protocol touch no machine, no clock and no chance', () => {
    const wrong = shipped
      .filter((path) => /^packages\/(core|protocol)\//.test(path))
      .filter((path) =>
        /^import (?!type).*'node:|Date\.now|new Date\(\)|Math\.random|process\.[a-z]|setTimeout|performance\./m.test(
          read(path),
        ),
      );
    expect(wrong).toEqual([]);
  });

  test('only packages/host starts tools, and only the catalog and the journal know SQLite', () => {
    const importers = (name: string): string[] => shipped.filter((path) => importsOf(path).includes(name));
    expect(importers('execa')).toEqual(['packages/host/src/run-tool.ts']);
    // The command line starts its own daemons in the foreground.
    expect(importers('node:child_process')).toEqual([
      'apps/cli/src/commands/daemons.ts',
      'packages/testkit/src/running-process.ts',
    ]);
    for (const path of [...importers('better-sqlite3'), ...importers('drizzle-orm')])
      expect(path).toMatch(/^apps\/(control\/src\/catalog|agent\/src\/journal)\//);
  });
});

describe('sizes and words', () => {
  test('a file has at most 400 lines', () => {
    const long = sources.filter((path) => read(path).split('\n').length > 401);
    expect(long).toEqual([]);
  });

  test('a function of what is shipped has at most 70 lines', () => {
    const long = shipped.flatMap((path) => {
      const lines = read(path).split('\n');
      return lines.flatMap((line, start) => {
        const opened =
          /^( *)(?:export )?(?:async )?(?:function\b|(?:static |readonly |override )*(?:async )?[#\w]+\().*\{$/.exec(
            line,
          );
        if (opened === null || /^ *(?:if|for|while|switch|catch)\b/.test(line)) return [];
        const end = lines.findIndex((other, index) => index > start && other.startsWith(`${opened[1]}}`));
        return end - start > 70 ? [`${path}:${start + 1} (${end - start} lines)`] : [];
      });
    });
    expect(long).toEqual([]);
  });

  test('nothing is thrown but failures and bugs, nothing is left to do, nothing is skipped without a reason', () => {
    const wrong = shipped.filter((path) =>
      /throw new Error\(|\bTODO\b|\bFIXME\b|\bXXX\b|console\.log\(/.test(read(path)),
    );
    expect(wrong).toEqual([]);
    const tests = sources.filter((path) => path.endsWith('.test.ts') && path !== 'test/tidy.test.ts');
    expect(
      tests.filter((path) => /\.(?:skip|only|todo)\(|@ts-(?:ignore|expect-error|nocheck)/.test(read(path))),
    ).toEqual([]);
  });

  test('a lint rule is only set aside with its reason', () => {
    const wrong = sources.filter(
      (path) => path !== 'test/tidy.test.ts' && /biome-ignore [^:\n]+(?::\s*)?$/m.test(read(path)),
    );
    expect(wrong).toEqual([]);
  });

  test('no path of one machine and no address of a registry is committed', () => {
    const wrong = files
      .filter((path) => path !== 'test/tidy.test.ts' && !path.endsWith('.png'))
      .filter((path) => /\/home\/[a-z]|\/work\/|\/Users\/|"resolved": "http/.test(read(path)));
    expect(wrong).toEqual([]);
  });
});

describe('documents', () => {
  test('every package says in its first line what it is', () => {
    for (const part of Object.keys(MAY_IMPORT))
      expect(read(`${part}/README.md`).split('\n')[0], part).toMatch(/^[A-Z`].{20,}[.:]$|^[A-Z`].{20,}$/);
  });

  test('every link between pages leads somewhere', () => {
    const dead = pages.flatMap((page) =>
      [...read(page).matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)]
        .map((found) => found[1] ?? '')
        .filter((target) => !/^[a-z]+:/.test(target))
        .filter((target) => !existsSync(join(root, dirname(page), target)))
        .map((target) => `${page} → ${target}`),
    );
    expect(dead).toEqual([]);
  });

  test('every path of the repository that a page names exists', () => {
    const named = pages
      .filter((page) => page !== 'CHANGELOG.md')
      .flatMap((page) =>
        [...read(page).matchAll(/(?<![\w/.-])((?:apps|packages|docs|test|bench|scripts)\/[\w./-]*\w)/g)].map(
          (found) => [page, found[1] ?? ''],
        ),
      );
    expect(named.filter(([, path]) => !existsSync(join(root, path ?? '')))).toEqual([]);
  });

  test('every fault that docs/testing.md promises is named in the title of a test', () => {
    const promised = [...read('docs/testing.md').matchAll(/^\| ((?:[A-K]\d+ )+)\|/gm)].flatMap((row) =>
      (row[1] ?? '').trim().split(' '),
    );
    expect(promised.length).toBeGreaterThan(50);
    const titles = sources
      .filter((path) => path.endsWith('.test.ts'))
      .flatMap((path) => read(path).match(/['`"][^'`"\n]*\b[A-K]\d+\b[^'`"\n]*['`"]/g) ?? [])
      .join('\n');
    expect(promised.filter((id) => !new RegExp(`\\b${id}\\b`).test(titles))).toEqual([]);
  });

  test('every decision is in the index', () => {
    const decisions = files.filter((path) => /^docs\/decisions\/\d{4}/.test(path)).map((path) => path.split('/')[2]);
    const index = read('docs/decisions/README.md');
    expect(decisions.filter((name) => !index.includes(`(${name})`))).toEqual([]);
  });

  test('versions are exact', () => {
    const manifests = files.filter((path) => /(^|\/)package\.json$/.test(path));
    const loose = manifests.flatMap((path) => {
      const {
        dependencies = {},
        devDependencies = {},
        optionalDependencies = {},
      } = JSON.parse(read(path)) as Record<string, Record<string, string>>;
      return Object.entries({ ...dependencies, ...devDependencies, ...optionalDependencies })
        .filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version))
        .filter(([name]) => !name.startsWith('@lastgood/'))
        .map(([name, version]) => `${path}: ${name} ${version}`);
    });
    expect(loose).toEqual([]);
  });
});
