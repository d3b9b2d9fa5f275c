import { describe, expect, test } from 'vitest';
import { BANNED } from './support/banned-words.ts';
import { findForbiddenCode, findSkippedTests, findUnfinishedComments } from './support/code-rules.ts';
import { findBadSubjects } from './support/commits.ts';
import { findDeadLinks, findDeadPaths, findLooseVersions, findPrivatePaths } from './support/documents.ts';
import { findDeadUrls, findDeepImports, findForbiddenImports, findImportCycles, importsOf } from './support/imports.ts';
import { banWords, matchesAny } from './support/language.ts';
import { commentsOf, pageProse, stringsOf } from './support/prose.ts';
import { findImpurities } from './support/purity.ts';
import { definedIds, findUndefinedIds, idsIn, idsOfTitle, idsWithStatus } from './support/references.ts';
import { findLongFile, findLongFunctions } from './support/sizes.ts';
import { SourceFile } from './support/source-file.ts';

/** The checks must fail for what they forbid, and pass for what is close to it. */
const source = (text: string, path = 'packages/core/src/a.ts'): SourceFile => new SourceFile(path, text);

describe('source files', () => {
  test('a file with a syntax error fails the check', () => {
    expect(() => source('const = 1').nodes).toThrow('packages/core/src/a.ts');
  });

  test('lines are counted from 1, also behind characters outside the basic plane', () => {
    const file = source('// 😀\n\nconst a: any = 1;');
    expect(findForbiddenCode(file)).toEqual(['packages/core/src/a.ts:3 any']);
  });
});

describe('imports', () => {
  test.each([
    ["import { a } from './b.ts';", false],
    ["import type { A } from './b.ts';", true],
    ["import './b.ts';", false],
    ["export * from './b.ts';", false],
    ["export type { A } from './b.ts';", true],
    ["const a = await import('./b.ts');", false],
    ["type A = import('./b.ts').A;", true],
    ["import {\n  a,\n} from './b.ts';", false],
  ])('finds the import of %j', (text, isTypeOnly) => {
    expect(importsOf(source(text))).toEqual([{ name: './b.ts', line: 1, isTypeOnly }]);
  });

  test('does not take a string or a comment for an import', () => {
    expect(importsOf(source("// import './b.ts'\nconst a = `import './b.ts'`; export { a };"))).toEqual([]);
  });

  test('reports an import that the table does not allow, and one of a part without a row', () => {
    const table = { 'packages/core': ['protocol'] };
    expect(findForbiddenImports(source("import '@lastgood/protocol';"), table)).toEqual([]);
    expect(findForbiddenImports(source("import type { A } from '@lastgood/host';"), table)).toEqual([
      'packages/core/src/a.ts:1 imports @lastgood/host',
    ]);
    expect(findForbiddenImports(source("import '@lastgood/protocol';", 'apps/new/src/a.ts'), table)).toHaveLength(1);
  });

  test('reports a relative import into another part', () => {
    expect(findDeepImports(source("import '../../host/src/b.ts';"))).toEqual([
      'packages/core/src/a.ts:1 reaches into packages/host/src/b.ts',
    ]);
    expect(findDeepImports(source("import '../src/b.ts';"))).toEqual([]);
  });

  test('reports a missing file that is named relative to the source', () => {
    const file = source(
      "new URL('child.ts', import.meta.url);\nnew URL('https://example.com');\nnew URL(path, import.meta.url);",
    );
    expect(findDeadUrls(file, () => false)).toEqual(['packages/core/src/a.ts:1 names packages/core/src/child.ts']);
    expect(findDeadUrls(file, (path) => path === 'packages/core/src/child.ts')).toEqual([]);
  });

  test('reports a cycle of three files, two of them by types only, and leaves out who imports the cycle', () => {
    const files = [
      source("import { b } from './b.ts';", 'a.ts'),
      source("import type { C } from './c.ts';", 'b.ts'),
      source("export type A = import('./a.ts').A;", 'c.ts'),
      source("import './a.ts';", 'd.ts'),
      source("import './e.ts';", 'e.ts'),
    ];
    expect(findImportCycles(files)).toEqual(['a.ts ↔ b.ts ↔ c.ts', 'e.ts']);
    expect(findImportCycles(files.slice(1, 4))).toEqual([]);
  });
});

describe('purity', () => {
  test.each([
    "import { readFile } from 'node:fs';",
    'const a = Date.now();',
    'const a = new Date();',
    'const a = Math.random();',
    "const a = process.env['HOME'];",
    'const a = performance.now();',
    'const a = crypto.randomUUID();',
    'setTimeout(() => undefined, 1);',
  ])('reports %j', (text) => {
    expect(findImpurities(source(text))).toHaveLength(1);
  });

  test.each([
    "import type { Readable } from 'node:stream';",
    'const a = new Date(0);',
    '// Date.now()',
    'job.process()',
  ])('allows %j', (text) => {
    expect(findImpurities(source(text))).toEqual([]);
  });
});

describe('sizes', () => {
  const body = (lines: number): string => '\n  a();'.repeat(lines);

  test.each([
    [
      'a function whose signature spans lines',
      `export async function f(\n  a: string,\n): Promise<void> {${body(3)}\n}`,
    ],
    ['a method', `class C {\n  async f(): Promise<void> {${body(5)}\n  }\n}`],
    ['a private method', `class C {\n  #f(): void {${body(5)}\n  }\n}`],
    ['a constructor', `class C {\n  constructor() {${body(5)}\n  }\n}`],
    ['an arrow function', `const f = (): void => {${body(5)}\n};`],
    ['an arrow function without braces', 'const f = () => [\n1,\n2,\n3,\n4,\n5,\n];'],
    ['a method of an object', `const o = {\n  f() {${body(5)}\n  },\n};`],
    ['a function expression', `const f = function () {${body(5)}\n};`],
  ])('reports %s of more lines than the limit', (_, text) => {
    expect(findLongFunctions(source(text), 6)).toHaveLength(1);
    expect(findLongFunctions(source(text), 7)).toEqual([]);
  });

  test('does not count the comment before a function', () => {
    expect(findLongFunctions(source(`/**\n *\n */\nfunction f() {${body(1)}\n}`), 3)).toEqual([]);
  });

  test('reports a file of more lines than the limit', () => {
    expect(findLongFile(source('a\n'.repeat(5)), 4)).toEqual(['packages/core/src/a.ts has 5 lines']);
    expect(findLongFile(source('a\n'.repeat(4)), 4)).toEqual([]);
  });
});

describe('code rules', () => {
  test.each([
    'const a = b as any;',
    'function f(a: any[]) {}',
    'const a = b!.c;',
    "throw new Error('x');",
    "throw new TypeError('x');",
    'console.log(1);',
  ])('reports %j in shipped code', (text) => {
    expect(findForbiddenCode(source(text))).toHaveLength(1);
  });

  test.each(["const a = 'any';", 'const a = !b;', "throw new Failure('CODE', 'x');", 'console.error(1);', '// any'])(
    'allows %j in shipped code',
    (text) => {
      expect(findForbiddenCode(source(text))).toEqual([]);
    },
  );

  test.each([
    "test.skip('x', () => {});",
    "describe.only('x', () => {});",
    "test.todo('x');",
    "test.skip.each([1])('x', () => {});",
    "test('x', { skip: true }, () => {});",
    "test.each([1])('x', { only: true }, () => {});",
    'skip();',
    'context.skip(isSlow);',
  ])('reports the skipped test of %j', (text) => {
    expect(findSkippedTests(source(text))).toHaveLength(1);
  });

  test.each([
    "test.skipIf(!root)('x (needs root)', () => {});",
    "skip(isSlow, 'too slow here');",
    'skip(...lacking);',
    'skip(disk.reason);',
    'reader.skip(1, 2);',
  ])('allows %j', (text) => {
    expect(findSkippedTests(source(text))).toEqual([]);
  });

  test.each([
    '// TODO later',
    '/* FIXME */',
    '// @ts-expect-error',
    '// biome-ignore lint/a/b',
    '// biome-ignore lint/a/b: ',
  ])('reports the comment %j', (text) => {
    expect(findUnfinishedComments(source(text))).toHaveLength(1);
  });

  test.each(['// TODO #12: later', "const a = '// TODO';", '// biome-ignore lint/a/b: the library mutates it'])(
    'allows %j',
    (text) => {
      expect(findUnfinishedComments(source(text))).toEqual([]);
    },
  );
});

describe('language', () => {
  const findBannedWords = banWords(BANNED);
  const hitsOf = (text: string): string[] => findBannedWords(pageProse('a.md', text));

  const bad = [
    'the leavings of a crash',
    'Whoever comes',
    'whomever',
    'henceforth',
    'the part thereof',
    'strangers at the port',
    'the agent is told',
    'it tells of a job',
    'it says of a backup',
    'gone for good',
    'gives a host away',
    'a lure',
    'it looks again',
    'the protocol is not spoken',
    'nothing is heard',
    'what there is',
    'nobody needs it',
    'through its one door',
    'x is no port',
    'we could go back',
    'restore took 5 min',
    'proven',
    'the last proof',
    'the keepers',
    'the floors of the file',
    'there is no room',
    'not in order',
    'the behaviour',
    'cancelled',
    'cancelling',
    'lastgood tokens enrol',
    'the enrolment',
    'an artefact',
    'the colour',
    'the licence',
    'the catalogue',
    'a neighbour',
    'the centre',
    'analysed',
    'serialises',
    'dialled',
    'grey',
    'a judgement',
    'whilst',
    'a defence',
    'learnt',
  ];

  test.each(bad)('reports %j', (text) => {
    expect(hitsOf(text)).toHaveLength(1);
  });

  test('every banned word has an example here', () => {
    const unused = BANNED.filter(
      (word) => bad.flatMap((text) => banWords([word])(pageProse('a.md', text))).length === 0,
    );
    expect(unused).toEqual([]);
  });

  test.each([
    'there is no port',
    'it is no longer open',
    'behavior, canceled, cancellation, enroll, enrolled, enrollment, artifact, color, license, catalog, dialed',
    'give back, throw away',
    'improve, approve, provide',
    'analyses, promise, organization',
  ])('allows %j', (text) => {
    expect(hitsOf(text)).toEqual([]);
  });

  test('finds a phrase that goes over the end of a line, in every kind of text', () => {
    const file = source(
      "/**\n * The agent is\n * no port.\n */\n// gone for\n// good\nconst a = `is no\nport`;\ntest('is told', f);",
    );
    expect([...commentsOf(file), ...stringsOf(file)].flatMap(findBannedWords).toSorted()).toEqual([
      'packages/core/src/a.ts:2 is no → not a, invalid',
      'packages/core/src/a.ts:5 for good → permanently',
      'packages/core/src/a.ts:7 is no → not a, invalid',
      'packages/core/src/a.ts:9 told → reported, sent, received',
    ]);
    expect(hitsOf('| a |\n> gone for\n> good')).toEqual(['a.md:2 for good → permanently']);
  });

  test('does not look at names in code', () => {
    const file = source('const leavings = told(floors);');
    expect([...commentsOf(file), ...stringsOf(file)].flatMap(findBannedWords)).toEqual([]);
  });

  test('globs name folders and single files', () => {
    expect(matchesAny('apps/agent/src/link/link.ts', ['apps/agent/**'])).toBe(true);
    expect(matchesAny('docs/cli.md', ['README.md', 'docs/cli.md'])).toBe(true);
    expect(matchesAny('apps/agents/src/a.ts', ['apps/agent/**'])).toBe(false);
  });
});

describe('documents', () => {
  const exists = (path: string): boolean => path === 'docs/a.md';

  test('reports a link to a missing file', () => {
    const page = '[a](a.md#part) [b](https://example.com)\n[c](../docs/c.md)';
    expect(findDeadLinks('docs/b.md', page, exists)).toEqual(['docs/b.md:2 → ../docs/c.md']);
  });

  test('reports a path of a missing file', () => {
    expect(findDeadPaths('b.md', 'see docs/a.md\nand `packages/core/none.ts`.', exists)).toEqual([
      'b.md:2 → packages/core/none.ts',
    ]);
  });

  test('reports a version that is a range', () => {
    const manifest = { dependencies: { a: '1.2.3', '@lastgood/b': '*' }, devDependencies: { c: '^1.2.3' } };
    expect(findLooseVersions('package.json', JSON.stringify(manifest))).toEqual(['package.json: c ^1.2.3']);
  });

  test('reports a home folder and an address of a registry', () => {
    const text = [['', 'home', 'someone'].join('/'), `"resolved": ${'"https://registry.example"'}`, '/home'].join('\n');
    expect(findPrivatePaths('a', text)).toHaveLength(2);
  });
});

describe('references', () => {
  const page = '| Id | |\n| A1 | kill | tested |\n| A2 | full | planned |\n\n- I1 Good.\n- R12 A noop.';

  test('reads definitions from rows and items, and their status', () => {
    expect(definedIds(page)).toEqual(['A1', 'A2', 'I1', 'R12']);
    expect(idsWithStatus(page, 'tested')).toEqual(['A1']);
    expect(idsWithStatus(page, 'planned')).toEqual(['A2']);
  });

  test('reports an id without a definition, with its place', () => {
    const used = commentsOf(source('// A1\n\nconst a = 1;\n/** Never twice (A99, fault-I1). */')).flatMap(idsIn);
    expect(used.map(({ id }) => id)).toEqual(['A1', 'A99', 'I1']);
    expect(findUndefinedIds(used, definedIds(page))).toEqual(['packages/core/src/a.ts:4 A99']);
  });

  test.each(['UTF8', 'sha256', 'L0', 'x-A1', '%E0%A4%A', 'C99x', 'a/B2/c'])('does not take %j for an id', (text) => {
    expect(idsIn(pageProse('a.md', text))).toEqual([]);
  });

  test.each([
    ["test('A6, B17: a full disk', f);", ['A6', 'B17']],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the text of a test.
    ['test(`R1: after ${n} bytes`, f);', ['R1']],
    ["test.each([['A7: fsync']])('%s', f);", ['A7']],
    ["test('a restore test of level L6', f);", []],
    ["test('the fault A6 is a full disk', f);", []],
  ])('reads the ids at the start of the title in %j', (text, ids) => {
    const found = stringsOf(source(text)).flatMap(idsOfTitle);
    expect(found.map(({ id }) => id)).toEqual(ids);
  });
});

describe('commits', () => {
  test.each([
    'undo names a database',
    'Agent: close the link',
    'agent: Close the link',
    'agent:close the link',
    `agent: ${'x'.repeat(66)}`,
  ])('reports %j', (subject) => {
    expect(findBadSubjects([{ hash: 'abc', subject }])).toHaveLength(1);
  });

  test.each(['agent: close the link', 'agent/link, cli: close it', `agent: ${'x'.repeat(65)}`])(
    'allows %j',
    (subject) => {
      expect(findBadSubjects([{ hash: 'abc', subject }])).toEqual([]);
    },
  );
});
