import { type ESTree, type ParseResult, parseSync } from 'rolldown/utils';

export interface SyntaxNode {
  readonly node: ESTree.Node;
  readonly parent: ESTree.Node | undefined;
}

export interface SourceComment {
  readonly start: number;
  readonly end: number;
  /** The text between the comment marks. */
  readonly value: string;
}

export const isNode = (value: unknown): value is ESTree.Node =>
  typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string';

function collectNodes(node: ESTree.Node, parent: ESTree.Node | undefined, found: SyntaxNode[]): void {
  found.push({ node, parent });
  for (const [key, value] of Object.entries(node)) {
    if (key === 'parent') continue;
    for (const child of Array.isArray(value) ? value : [value]) if (isNode(child)) collectNodes(child, node, found);
  }
}

/** Returns a function that maps an offset of the text to the number of its line. */
export function indexLines(text: string): (offset: number) => number {
  const starts = [0];
  for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) starts.push(at + 1);
  return (offset) => {
    let [low, high] = [0, starts.length];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if ((starts[middle] ?? 0) <= offset) low = middle;
      else high = middle;
    }
    return low + 1;
  };
}

/** A TypeScript or JavaScript file with its syntax tree. The checks of this folder are functions of it. */
export class SourceFile {
  /** Relative to the root of the repository, with `/`. */
  readonly path: string;
  readonly text: string;
  #parsed: ParseResult | undefined;
  #nodes: readonly SyntaxNode[] | undefined;
  #lineAt: ((offset: number) => number) | undefined;

  constructor(path: string, text: string) {
    this.path = path;
    this.text = text;
  }

  /** Parses on first use. Throws for invalid syntax, so that no check passes over a file that it cannot read. */
  get #syntax(): ParseResult {
    this.#parsed ??= parseSync(this.path, this.text);
    const [error] = this.#parsed.errors;
    if (error !== undefined) throw new Error(`${this.path}: ${error.message}`);
    return this.#parsed;
  }

  get comments(): readonly SourceComment[] {
    return this.#syntax.comments;
  }

  /** Every node of the syntax tree, parents before their children. */
  get nodes(): readonly SyntaxNode[] {
    if (this.#nodes !== undefined) return this.#nodes;
    const nodes: SyntaxNode[] = [];
    collectNodes(this.#syntax.program, undefined, nodes);
    this.#nodes = nodes;
    return nodes;
  }

  /** The number, from 1, of the line that holds an offset. */
  lineAt(offset: number): number {
    this.#lineAt ??= indexLines(this.text);
    return this.#lineAt(offset);
  }
}
