import { LineCounter, parseDocument, visit } from 'yaml';
import type { z } from 'zod';

/** What is wrong with a configuration file, at a path of its content. */
export interface ConfigProblem {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}
/** The same with its place in the text, both from 1. */
export interface LocatedProblem {
  readonly line: number;
  readonly column: number;
  /** The path as text, `policies.critical.backup.0.cron`; empty for the whole file. */
  readonly path: string;
  readonly message: string;
}

/** The problems that a schema found. Unknown keys are problems of their own, each at its place. */
export const problemsOfIssues = (issues: readonly z.core.$ZodIssue[]): ConfigProblem[] =>
  issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => ({ path: [...issue.path, key], message: 'unknown key' }))
      : [{ path: issue.path, message: issue.message }],
  );

/** A YAML document that remembers where each of its values stands. */
export class YamlText {
  /** Problems of the YAML itself: bad syntax, keys that occur twice, aliases. Nothing else is checked while there are any. */
  readonly problems: readonly LocatedProblem[];
  /** The content as plain values; null when there are problems. */
  readonly content: unknown;
  readonly #document: ReturnType<typeof parseDocument>;
  readonly #lines = new LineCounter();

  constructor(text: string) {
    this.#document = parseDocument(text, { lineCounter: this.#lines, uniqueKeys: true });
    this.problems = [
      ...[...this.#document.errors, ...this.#document.warnings].map((error) =>
        this.#at(
          error.pos[0],
          '',
          error.message.split('\n')[0]?.replace(/ at line \d+, column \d+:$/, '') ?? error.code,
        ),
      ),
      ...this.#findAliases(),
    ];
    this.content = this.problems.length > 0 ? null : this.#document.toJS();
  }

  /** Where a problem stands: its own place, or that of the nearest value above it. */
  locate({ path, message }: ConfigProblem): LocatedProblem {
    return this.#at(this.#offsetOf(path), path.map(String).join('.'), message);
  }

  /** Aliases make a small file expand without limit. */
  #findAliases(): LocatedProblem[] {
    const found: LocatedProblem[] = [];
    visit(this.#document, {
      Alias: (_key, node) => {
        found.push(this.#at(node.range?.[0] ?? 0, '', 'aliases are not supported'));
      },
    });
    return found;
  }
  #at(offset: number, path: string, message: string): LocatedProblem {
    const { line, col } = this.#lines.linePos(offset);
    return { line, column: col, path, message };
  }
  #offsetOf(path: readonly PropertyKey[]): number {
    for (let length = path.length; length > 0; length -= 1) {
      const node: unknown = this.#document.getIn(path.slice(0, length), true);
      if (typeof node === 'object' && node !== null && 'range' in node && Array.isArray(node.range))
        return Number(node.range[0]);
    }
    return 0;
  }
}

/** One line per problem, in the order of the file: `file:line:column path message`. */
export const formatProblems = (file: string, problems: readonly LocatedProblem[]): string =>
  problems
    .toSorted((a, b) => a.line - b.line || a.column - b.column)
    .map(({ line, column, path, message }) => [`${file}:${line}:${column}`, path, message].filter(Boolean).join(' '))
    .join('\n');
