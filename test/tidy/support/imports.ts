import { dirname, join } from 'node:path';
import type { ESTree } from 'rolldown/utils';
import type { SourceFile } from './source-file.ts';

export interface Import {
  readonly name: string;
  readonly line: number;
  /** True when nothing is loaded at run time. */
  readonly isTypeOnly: boolean;
}

/** What each part may import of the others. */
export type ImportTable = Readonly<Record<string, readonly string[]>>;

/** The app or package that a file belongs to. */
export const partOf = (path: string): string => path.split('/').slice(0, 2).join('/');

function readImport(node: ESTree.Node): { readonly source: ESTree.Node; readonly isTypeOnly: boolean } | undefined {
  switch (node.type) {
    case 'ImportDeclaration':
      return { source: node.source, isTypeOnly: node.importKind === 'type' };
    case 'ExportAllDeclaration':
      return { source: node.source, isTypeOnly: node.exportKind === 'type' };
    case 'ExportNamedDeclaration':
      return node.source === null ? undefined : { source: node.source, isTypeOnly: node.exportKind === 'type' };
    case 'ImportExpression':
      return { source: node.source, isTypeOnly: false };
    case 'TSImportType':
      return { source: node.source, isTypeOnly: true };
    default:
      return undefined;
  }
}

/** Everything that a file imports or exports again, with `import()` and the types of `import('...')`. */
export function importsOf(file: SourceFile): Import[] {
  return file.nodes.flatMap(({ node }) => {
    const found = readImport(node);
    if (found?.source.type !== 'Literal' || typeof found.source.value !== 'string') return [];
    return [{ name: found.source.value, line: file.lineAt(node.start), isTypeOnly: found.isTypeOnly }];
  });
}

/** Imports between parts that the table does not allow. A part without a row may import none. */
export const findForbiddenImports = (file: SourceFile, table: ImportTable): string[] =>
  importsOf(file)
    .filter(({ name }) => name.startsWith('@lastgood/'))
    .filter(({ name }) => table[partOf(file.path)]?.includes(name.split('/')[1] ?? '') !== true)
    .map(({ name, line }) => `${file.path}:${line} imports ${name}`);

/** Relative imports that leave their part, past the `exports` of the other one. */
export const findDeepImports = (file: SourceFile): string[] =>
  importsOf(file)
    .filter(({ name }) => name.startsWith('.'))
    .map(({ name, line }) => ({ target: join(dirname(file.path), name), line }))
    .filter(({ target }) => /^(apps|packages)\//.test(target) && partOf(target) !== partOf(file.path))
    .map(({ target, line }) => `${file.path}:${line} reaches into ${target}`);

/** Files that do not exist and that a file names as `new URL('...', import.meta.url)`. No compiler checks these. */
export const findDeadUrls = (file: SourceFile, exists: (path: string) => boolean): string[] =>
  file.nodes.flatMap(({ node }) => {
    if (node.type !== 'NewExpression' || node.callee.type !== 'Identifier' || node.callee.name !== 'URL') return [];
    const [name, base] = node.arguments;
    if (name?.type !== 'Literal' || typeof name.value !== 'string' || base?.type !== 'MemberExpression') return [];
    const target = join(dirname(file.path), name.value);
    return exists(target) ? [] : [`${file.path}:${file.lineAt(node.start)} names ${target}`];
  });

/** For every file, the given files that it imports by relative paths, as values or as types. */
function buildGraph(files: readonly SourceFile[]): Map<string, readonly string[]> {
  const known = new Set(files.map(({ path }) => path));
  return new Map(
    files.map((file) => {
      const targets = importsOf(file).map(({ name }) => join(dirname(file.path), name));
      return [file.path, targets.filter((target) => known.has(target))];
    }),
  );
}

/** Everything that `start` imports, directly or through other files. */
function reachableFrom(start: string, graph: ReadonlyMap<string, readonly string[]>): Set<string> {
  const reached = new Set<string>();
  const open = [...(graph.get(start) ?? [])];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (reached.has(next)) continue;
    reached.add(next);
    open.push(...(graph.get(next) ?? []));
  }
  return reached;
}

/**
 * Groups of files that import each other in a circle, also by type-only imports: each group as its sorted paths, joined by ` ↔ `.
 * Groups have no file in common.
 */
export function findImportCycles(files: readonly SourceFile[]): string[] {
  const graph = buildGraph(files);
  const reach = new Map([...graph.keys()].map((path) => [path, reachableFrom(path, graph)]));
  const isOnCircle = (from: string, to: string): boolean =>
    reach.get(from)?.has(to) === true && reach.get(to)?.has(from) === true;
  const inCycle = [...graph.keys()].filter((path) => isOnCircle(path, path));
  const groups = inCycle.map((path) => inCycle.filter((other) => isOnCircle(path, other)));
  return [...new Set(groups.map((group) => group.toSorted().join(' ↔ ')))].toSorted();
}
