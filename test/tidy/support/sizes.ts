import type { ESTree } from 'rolldown/utils';
import type { SourceFile, SyntaxNode } from './source-file.ts';

/** The node whose lines count for a function: a method or a property with its name, any other function alone. */
function spanOf({ node, parent }: SyntaxNode): ESTree.Node | undefined {
  switch (node.type) {
    case 'FunctionDeclaration':
    case 'FunctionExpression':
      if (node.body === null) return undefined;
      return parent?.type === 'MethodDefinition' || (parent?.type === 'Property' && parent.method) ? parent : node;
    case 'ArrowFunctionExpression':
      return node;
    default:
      return undefined;
  }
}

/** Functions, methods and arrow functions that span more than `limit` lines, signature and last brace included. */
export const findLongFunctions = (file: SourceFile, limit: number): string[] =>
  file.nodes.flatMap((found) => {
    const span = spanOf(found);
    if (span === undefined) return [];
    const first = file.lineAt(span.start);
    const lines = file.lineAt(span.end - 1) - first + 1;
    return lines > limit ? [`${file.path}:${first} a function of ${lines} lines`] : [];
  });

/** The file itself when it has more than `limit` lines. */
export function findLongFile({ path, text }: SourceFile, limit: number): string[] {
  const lines = text.replace(/\n$/, '').split('\n').length;
  return lines > limit ? [`${path} has ${lines} lines`] : [];
}
