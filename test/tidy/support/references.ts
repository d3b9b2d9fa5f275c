import type { Prose } from './prose.ts';

/** Ids of faults (A1), measurements (M1), invariants (I1) and delivery rules (R1). L0 is a verification level. */
const ID = /(?<![\w%./+-])(?:fault-)?([A-NR][1-9]\d?)(?!\w)/g;
const TITLE = /^['"`]?((?:fault-)?[A-NR][1-9]\d?(?:, (?:fault-)?[A-NR][1-9]\d?)*): /;

/** The ids that a text names, each with its place. */
export const idsIn = ({ path, text, lineAt }: Prose): { readonly id: string; readonly at: string }[] =>
  [...text.matchAll(ID)].map((found) => ({ id: found[1] ?? '', at: `${path}:${lineAt(found.index)}` }));

/**
 * The ids at the start of a test title, as in `A6, B17: a full disk ...`. A row of a table of cases may be a title too, so any
 * string that begins like this counts.
 */
export function idsOfTitle(title: Prose): { readonly id: string; readonly at: string }[] {
  const head = TITLE.exec(title.text)?.[1];
  return head === undefined ? [] : idsIn({ ...title, text: ` ${head}` });
}

/** The ids that a page defines: each at the start of a row of a table or of an item of a list. */
export const definedIds = (page: string): string[] =>
  [...page.matchAll(/^(?:\| |- )([A-NR][1-9]\d?)(?= )/gm)].map((found) => found[1] ?? '');

/** The ids of docs/faults.md whose status, the last column, is `status`. */
export const idsWithStatus = (page: string, status: string): string[] =>
  page
    .split('\n')
    .filter((row) => row.endsWith(`| ${status} |`))
    .flatMap(definedIds);

/** Ids that are used and not defined. */
export const findUndefinedIds = (
  used: readonly { readonly id: string; readonly at: string }[],
  defined: readonly string[],
): string[] => used.filter(({ id }) => !defined.includes(id)).map(({ id, at }) => `${at} ${id}`);
