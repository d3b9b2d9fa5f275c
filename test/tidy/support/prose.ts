import type { SourceFile } from './source-file.ts';
import { indexLines } from './source-file.ts';

/** A piece of text that people read. */
export interface Prose {
  readonly path: string;
  /** With the marks of comments and lists at line starts blanked out, so that a phrase may go over the end of a line. */
  readonly text: string;
  /** The number of the line that holds an offset of the text. */
  lineAt(offset: number): number;
}

/** Blanks the marks of comments, lists and quotes at line starts. Keeps every offset. */
const blankMarks = (text: string): string =>
  text.replace(/^[ \t]*(?:\/\*\*?|\*\/?|\/\/|>)/gm, (mark) => ' '.repeat(mark.length));

/** The comments of a source file. Comments with nothing between them are one text. */
export function commentsOf(file: SourceFile): Prose[] {
  const spans: { start: number; end: number }[] = [];
  for (const { start, end } of file.comments) {
    const last = spans.at(-1);
    if (last !== undefined && file.text.slice(last.end, start).trim() === '') last.end = end;
    else spans.push({ start, end });
  }
  return spans.map(({ start, end }) => ({
    path: file.path,
    text: blankMarks(file.text.slice(start, end)),
    lineAt: (offset) => file.lineAt(start + offset),
  }));
}

/** The string literals of a source file, test titles and the fixed parts of templates among them, as they are written. */
export const stringsOf = (file: SourceFile): Prose[] =>
  file.nodes.flatMap(({ node }) => {
    const isString = node.type === 'TemplateElement' || (node.type === 'Literal' && typeof node.value === 'string');
    if (!isString) return [];
    const text = file.text.slice(node.start, node.end);
    return [{ path: file.path, text, lineAt: (offset) => file.lineAt(node.start + offset) }];
  });

export const pageProse = (path: string, text: string): Prose => ({
  path,
  text: blankMarks(text),
  lineAt: indexLines(text),
});
