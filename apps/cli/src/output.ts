import { type Failure, toWireError } from '@lastgood/core';
import { ERROR_CATALOG } from '@lastgood/protocol';
import { safeText } from './format/safe-text.ts';

/** A message of several lines: the later ones are indented, so that none can pass for a line of ours. */
const harmless = (text: string): string => text.split('\n').map(safeText).join('\n  ');

/** Where answers go: tables and lines for people, JSON documents for scripts. */
export interface Output {
  readonly json: boolean;
  /** The answer of the command. Each entry of `lines` is one line: what would end or redraw it is shown, never obeyed. */
  answer(value: unknown, lines: () => readonly string[]): void;
  /** What happens meanwhile; never on standard output, unless as JSON lines. */
  note(text: string): void;
  /** A line that replaces the one before on a terminal. Elsewhere it is a line of its own when `stage` is another than before. */
  status(text: string, stage: string): void;
}

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
    answer(value, lines) {
      clear();
      // JSON leaves control characters above U+007F and marks that reorder text. As \\u escapes they are the same text to JSON.
      stdout.write(`${json ? safeText(JSON.stringify(value)) : lines().map(safeText).join('\n')}\n`);
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

/** Says what went wrong and what to do about it; gives the exit status of its code. */
export function reportFailure(error: unknown, json: boolean): number {
  const wire = toWireError(error);
  if (json) process.stdout.write(`${safeText(JSON.stringify({ error: wire }))}\n`);
  else process.stderr.write(`error ${wire.code}: ${harmless(wire.message)}\nwhat to do: ${harmless(wire.remedy)}\n`);
  if (wire.code === 'BUG' && process.env['LASTGOOD_DEBUG'] === '1')
    process.stderr.write(`${(error as Failure).stack ?? ''}\n`);
  return ERROR_CATALOG[wire.code].exit;
}
