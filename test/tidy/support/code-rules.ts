import type { ESTree } from 'rolldown/utils';
import type { SourceFile } from './source-file.ts';

const BUILT_IN_ERRORS = new Set(['Error', 'TypeError', 'RangeError', 'SyntaxError', 'EvalError', 'AggregateError']);
const SKIPS = new Set(['skip', 'only', 'todo']);

const nameOf = (node: ESTree.Node): string => (node.type === 'Identifier' ? node.name : '');

const report = (file: SourceFile, offset: number, what: string): string =>
  `${file.path}:${file.lineAt(offset)} ${what}`;

const reportNodes = (file: SourceFile, describe: (node: ESTree.Node) => string | undefined): string[] =>
  file.nodes.flatMap(({ node }) => {
    const what = describe(node);
    return what === undefined ? [] : [report(file, node.start, what)];
  });

function describeForbidden(node: ESTree.Node): string | undefined {
  switch (node.type) {
    case 'TSAnyKeyword':
      return 'any';
    case 'TSNonNullExpression':
      return 'non-null assertion';
    case 'ThrowStatement': {
      const thrown = node.argument.type === 'NewExpression' ? nameOf(node.argument.callee) : '';
      return BUILT_IN_ERRORS.has(thrown) ? `throws ${thrown} instead of Failure or Bug` : undefined;
    }
    case 'MemberExpression':
      return nameOf(node.object) === 'console' && nameOf(node.property) === 'log' ? 'console.log' : undefined;
    default:
      return undefined;
  }
}

/** What shipped code must not hold: `any`, non-null assertions, thrown errors without a code, and console.log. */
export const findForbiddenCode = (file: SourceFile): string[] => reportNodes(file, describeForbidden);

/** `test` of `test.each(rows)`, `test.skip.for(rows)` and the like. */
function rootOf(node: ESTree.Node): string {
  if (node.type === 'MemberExpression') return rootOf(node.object);
  return node.type === 'CallExpression' ? rootOf(node.callee) : nameOf(node);
}

const isTestCall = (node: ESTree.Node): boolean => ['test', 'it', 'describe'].includes(rootOf(node));

const isReason = (node: ESTree.Node): boolean =>
  node.type === 'TemplateLiteral' ||
  (node.type === 'Literal' && typeof node.value === 'string') ||
  (node.type === 'MemberExpression' && nameOf(node.property) === 'reason');

/** True for a `skip()` of the test context that is neither `skip(reason)` nor `skip(condition, reason)`. */
const skipsWithoutReason = ({ callee, arguments: given }: ESTree.CallExpression): boolean =>
  nameOf(callee.type === 'MemberExpression' ? callee.property : callee) === 'skip' &&
  given.length < 2 &&
  !given.some((each) => each.type === 'SpreadElement' || isReason(each));

function describeSkip(node: ESTree.Node): string | undefined {
  if (node.type === 'MemberExpression')
    return SKIPS.has(nameOf(node.property)) && isTestCall(node) ? `.${nameOf(node.property)} on a test` : undefined;
  if (node.type !== 'CallExpression') return undefined;
  if (skipsWithoutReason(node) && !isTestCall(node.callee)) return 'skips a test without a reason';
  const options = isTestCall(node.callee)
    ? node.arguments.flatMap((each) => (each.type === 'ObjectExpression' ? each.properties : []))
    : [];
  const option = options.find((each) => each.type === 'Property' && SKIPS.has(nameOf(each.key)));
  return option?.type === 'Property' ? `the option ${nameOf(option.key)} of a test` : undefined;
}

/** Tests that never run, or that keep the others from running. A skip that depends on the machine must say why. */
export const findSkippedTests = (file: SourceFile): string[] => reportNodes(file, describeSkip);

const COMMENT_RULES: readonly { readonly pattern: RegExp; readonly what: string }[] = [
  { pattern: /\b(?:TODO|FIXME|XXX)\b(?!.*#\d)/, what: 'work left to do without the number of an issue' },
  { pattern: /@ts-(?:ignore|expect-error|nocheck)/, what: 'a type error set aside' },
  { pattern: /biome-ignore (?:[^:\n]+$|[^:\n]+:\s*$)/m, what: 'a lint rule set aside without its reason' },
];

/** Comments that leave something undone or unexplained. */
export const findUnfinishedComments = (file: SourceFile): string[] =>
  file.comments.flatMap(({ start, value }) =>
    COMMENT_RULES.filter(({ pattern }) => pattern.test(value)).map(({ what }) => report(file, start, what)),
  );
