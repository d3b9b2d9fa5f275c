import { type Failure, toWireError } from '@lastgood/core';
import { ERROR_CATALOG } from '@lastgood/protocol';
import { DOCUMENT_VERSION } from './documents.ts';
import { safeText } from './format/safe-text.ts';

/** A message of several lines: the later ones are indented, so that none looks like a line of Lastgood. */
const indented = (text: string): string => text.split('\n').map(safeText).join('\n  ');

/** Where results go: tables and lines for people, JSON documents for scripts. */
export interface Output {
  readonly json: boolean;
  /**
   * Prints the result of the command: with --json the document with its version, otherwise the lines. Control characters in a line
   * are shown, so none can end or redraw it.
   */
  answer(document: object, lines: () => readonly string[]): void;
  /** Prints what happens meanwhile; never on standard output. */
  note(text: string): void;
  /** Prints a line that replaces the one before on a terminal; elsewhere a line of its own if `stage` has changed. */
  status(text: string, stage: string): void;
}

/** JSON leaves control characters above U+007F and marks that reorder text. As \\u escapes they are the same text to JSON. */
const jsonLine = (document: object): string =>
  `${safeText(JSON.stringify({ version: DOCUMENT_VERSION, ...document }))}\n`;

export function terminalOutput(json: boolean): Output {
  const { stdout, stderr } = process;
  let drawn = false;
  const clear = (): void => {
    if (drawn) stderr.write('\r\u001b[K');
    drawn = false;
  };
  let lastStage = '';
  return {
    json,
    answer(document, lines) {
      clear();
      stdout.write(json ? jsonLine(document) : `${lines().map(safeText).join('\n')}\n`);
    },
    note(text) {
      clear();
      if (!json) stderr.write(`${safeText(text)}\n`);
    },
    status(line, stage) {
      if (json) return;
      const text = safeText(line);
      if (stderr.isTTY) {
        clear();
        stderr.write(text.slice(0, Math.max(20, (stderr.columns ?? 80) - 1)));
        drawn = true;
      } else if (stage !== lastStage) stderr.write(`${text}\n`);
      lastStage = stage;
    },
  };
}

/** Prints what failed and what to do about it; returns the exit status of its code. */
export function reportFailure(error: unknown, json: boolean): number {
  const wire = toWireError(error);
  if (json) process.stdout.write(jsonLine({ error: wire }));
  else process.stderr.write(`error ${wire.code}: ${indented(wire.message)}\nwhat to do: ${indented(wire.remedy)}\n`);
  if (wire.code === 'BUG' && process.env['LASTGOOD_DEBUG'] === '1')
    process.stderr.write(`${(error as Failure).stack ?? ''}\n`);
  return ERROR_CATALOG[wire.code].exit;
}
