import Table from 'cli-table3';
import { safeText } from './safe-text.ts';

const GAP = 2;
/** No column is made narrower than this; an id of a job or backup is never broken, it is there to be copied. */
const LEAST_COLUMN = 12;
const ID = /^[0-9a-f]{8}-[0-9a-f]{4}-/;
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

/** The width of each column within `available`: the widest gives way first. */
export function fitColumns(natural: readonly number[], fixed: readonly boolean[], available: number): number[] {
  const widths = [...natural];
  const total = (): number => widths.reduce((sum, width) => sum + width, 0) + GAP * (widths.length - 1);
  while (total() > available) {
    const widest = widths.reduce(
      (best, width, index) =>
        !fixed[index] && width > LEAST_COLUMN && width > (widths[best] ?? LEAST_COLUMN) ? index : best,
      -1,
    );
    if (widest < 0) break;
    widths[widest] = (widths[widest] ?? 0) - 1;
  }
  return widths;
}

/** The lines of a plain table without frames; every cell is made harmless. `nothing` is said when there are no rows. */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  nothing: string,
  terminalColumns: number | undefined = process.stdout.isTTY ? process.stdout.columns : undefined,
): string[] {
  if (rows.length === 0) return [nothing];
  const parts = ['top', 'bottom', 'left', 'right'].flatMap((side) => [
    side,
    `${side}-mid`,
    `${side}-left`,
    `${side}-right`,
  ]);
  const chars = Object.fromEntries([...parts, 'mid', 'mid-mid'].map((part) => [part, '']));
  const cells = rows.map((row) => row.map(safeText));
  const natural = head.map((name, index) =>
    Math.max(...[name, ...cells.map((row) => row[index] ?? '')].map(textWidth)),
  );
  const fixed = head.map((_, index) => cells.some((row) => ID.test(row[index] ?? '')));
  const drawn = new Table({
    head: head.map((name) => name.toUpperCase()),
    chars: { ...chars, middle: ' '.repeat(GAP) },
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
    ...(terminalColumns === undefined
      ? {}
      : { colWidths: fitColumns(natural, fixed, terminalColumns), wordWrap: true, wrapOnWordBoundary: false }),
  });
  for (const row of cells) drawn.push(row);
  return drawn
    .toString()
    .split('\n')
    .map((line) => line.trimEnd());
}
