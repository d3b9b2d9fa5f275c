import Table from 'cli-table3';
import { safeText } from './safe-text.ts';

const GAP = 2;
const graphemes = new Intl.Segmenter('en');

/** Columns of a terminal that a text takes; letters of East Asia and pictures take two. */
export function textWidth(text: string): number {
  let width = 0;
  for (const { segment } of graphemes.segment(text))
    width +=
      /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u.test(
        segment,
      )
        ? 2
        : 1;
  return width;
}

/** The width of each column within `available`: the widest gives way first, none gets narrower than its longest word. */
export function fitColumns(
  natural: readonly number[],
  words: readonly number[],
  available: number,
): number[] | undefined {
  const widths = [...natural];
  const total = (): number => widths.reduce((sum, width) => sum + width, 0) + GAP * (widths.length - 1);
  while (total() > available) {
    const widest = widths.reduce(
      (best, width, index) => (width > (words[index] ?? 0) && width > (widths[best] ?? 0) ? index : best),
      -1,
    );
    if (widest < 0) return undefined;
    widths[widest] = (widths[widest] ?? 0) - 1;
  }
  return widths;
}

/**
 * The lines of a plain table without frames, no wider than the terminal: columns wrap between words, and where even that does
 * not fit, each row becomes a block of its own. Every cell is made harmless. `nothing` is said when there are no rows.
 */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  nothing: string,
  terminalColumns: number | undefined = process.stdout.isTTY ? process.stdout.columns : undefined,
): string[] {
  if (rows.length === 0) return [nothing];
  const cells = rows.map((row) => row.map(safeText));
  const widest = (measure: (text: string) => number): number[] =>
    head.map((name, index) => Math.max(...[name, ...cells.map((row) => row[index] ?? '')].map(measure)));
  const natural = widest(textWidth);
  const words = widest((text) => Math.max(...text.split(' ').map(textWidth)));
  const widths = terminalColumns === undefined ? natural : fitColumns(natural, words, terminalColumns);
  return widths === undefined ? blocks(head, cells) : columns(head, cells, widths);
}

function columns(head: readonly string[], cells: readonly string[][], widths: readonly number[]): string[] {
  const parts = ['top', 'bottom', 'left', 'right'].flatMap((side) => [
    side,
    `${side}-mid`,
    `${side}-left`,
    `${side}-right`,
  ]);
  const chars = Object.fromEntries([...parts, 'mid', 'mid-mid'].map((part) => [part, '']));
  const drawn = new Table({
    head: head.map((name) => name.toUpperCase()),
    chars: { ...chars, middle: ' '.repeat(GAP) },
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
    colWidths: [...widths],
    wordWrap: true,
  });
  for (const row of cells) drawn.push(row);
  return drawn
    .toString()
    .split('\n')
    .map((line) => line.trimEnd());
}

/** One block per row, one line per column. */
function blocks(head: readonly string[], cells: readonly string[][]): string[] {
  const width = Math.max(...head.map(textWidth)) + GAP;
  return cells.flatMap((row, index) => [
    ...(index === 0 ? [] : ['']),
    ...head.map((name, column) => `${name.padEnd(width)}${row[column] ?? ''}`.trimEnd()),
  ]);
}
