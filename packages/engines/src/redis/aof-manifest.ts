import { Failure } from '@lastgood/core';
import { quoteWord, splitWords } from './quoted-words.ts';

export type AofFileType = 'base' | 'incremental' | 'history';
const LETTERS = { b: 'base', i: 'incremental', h: 'history' } as const satisfies Record<string, AofFileType>;

export interface AofFileEntry {
  readonly name: string;
  readonly sequence: number;
  readonly type: AofFileType;
  /** What newer versions say beside, such as `startoffset 0`; kept as it is. */
  readonly rest: readonly string[];
}

const invalid = (what: string): Failure =>
  new Failure('TOOL_FAILED', `the manifest of the append-only files is invalid: ${what}`, {
    remedy: 'Check the append-only folder of the server with redis-check-aof.',
  });

/** Reads a manifest (`appendonly.aof.manifest`). Fails with TOOL_FAILED on what the server would refuse as well. */
export function parseAofManifest(text: string): AofFileEntry[] {
  const entries = text
    .split('\n')
    .filter((line) => line.trim() !== '' && !line.startsWith('#'))
    .map(parseLine);
  if (entries.length === 0) throw invalid('it lists no file');
  if (entries.filter(({ type }) => type === 'base').length > 1) throw invalid('it lists two base files');
  const increments = entries.filter(({ type }) => type === 'incremental');
  if (increments.some(({ sequence }, index) => sequence <= (increments[index - 1]?.sequence ?? 0)))
    throw invalid('the sequence numbers of its incremental files do not ascend');
  return entries;
}

function parseLine(line: string, index: number): AofFileEntry {
  const words = splitWords(line);
  if (words === null || words.length < 6 || words.length % 2 !== 0) throw invalid(`line ${index + 1} is malformed`);
  const fields = new Map<string, string>();
  const rest: string[] = [];
  for (let at = 0; at < words.length; at += 2) {
    const [name = '', value = ''] = words.slice(at, at + 2);
    if (['file', 'seq', 'type'].includes(name)) fields.set(name, value);
    else rest.push(name, value);
  }
  const name = fields.get('file') ?? '';
  const sequence = Number(fields.get('seq'));
  const letter = fields.get('type') ?? '';
  if (name === '' || name === '.' || name === '..' || /[/\0]/.test(name))
    throw invalid(`line ${index + 1} does not name a file of the folder`);
  if (name.includes('\ufffd')) throw invalid(`line ${index + 1} names a file whose name is not UTF-8`);
  if (!Number.isSafeInteger(sequence) || sequence < 1) throw invalid(`line ${index + 1} has no sequence number`);
  if (!(letter === 'b' || letter === 'i' || letter === 'h')) throw invalid(`line ${index + 1} has an unknown type`);
  return { name, sequence, type: LETTERS[letter], rest };
}

/** Writes a manifest as the server does. */
export function formatAofManifest(entries: readonly AofFileEntry[]): string {
  return entries
    .map(({ name, sequence, type, rest }) => {
      const words = ['file', quoteWord(name), 'seq', String(sequence), 'type', type.slice(0, 1)];
      return `${[...words, ...rest.map(quoteWord)].join(' ')}\n`;
    })
    .join('');
}

/** The files that hold the data. Those of type `history` are waiting for their removal. */
export const dataFiles = (entries: readonly AofFileEntry[]): AofFileEntry[] =>
  entries.filter(({ type }) => type !== 'history');

/** The manifest of a set that consists of one RDB file alone: how a snapshot becomes the data of a server with `appendonly yes`. */
export function seedManifest(appendFilename: string): { readonly base: string; readonly manifest: string } {
  const base = `${appendFilename}.1.base.rdb`;
  return { base, manifest: formatAofManifest([{ name: base, sequence: 1, type: 'base', rest: [] }]) };
}
