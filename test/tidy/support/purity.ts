import type { ESTree } from 'rolldown/utils';
import { importsOf } from './imports.ts';
import type { SourceFile } from './source-file.ts';

const MACHINE = new Set(['process', 'performance', 'crypto']);
const TIMERS = new Set(['setTimeout', 'setInterval', 'setImmediate', 'fetch']);
const CALLS = new Set(['Date.now', 'Math.random']);

const nameOf = (node: ESTree.Node): string => (node.type === 'Identifier' ? node.name : '');

function describeImpurity(node: ESTree.Node): string | undefined {
  if (node.type === 'MemberExpression') {
    const owner = nameOf(node.object);
    const full = `${owner}.${nameOf(node.property)}`;
    return MACHINE.has(owner) || CALLS.has(full) ? full : undefined;
  }
  if (node.type === 'CallExpression') return TIMERS.has(nameOf(node.callee)) ? nameOf(node.callee) : undefined;
  if (node.type === 'NewExpression')
    return nameOf(node.callee) === 'Date' && node.arguments.length === 0 ? 'new Date()' : undefined;
  return undefined;
}

/** Uses of the machine, the clock, timers and randomness in a file that must be pure. Types of Node are allowed. */
export function findImpurities(file: SourceFile): string[] {
  const modules = importsOf(file)
    .filter(({ name, isTypeOnly }) => name.startsWith('node:') && !isTypeOnly)
    .map(({ name, line }) => `${file.path}:${line} imports ${name}`);
  const uses = file.nodes.flatMap(({ node }) => {
    const use = describeImpurity(node);
    return use === undefined ? [] : [`${file.path}:${file.lineAt(node.start)} uses ${use}`];
  });
  return [...modules, ...uses];
}
