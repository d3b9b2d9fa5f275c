const HEX = /^[0-9a-fA-F]{2}$/;
const ESCAPES: Readonly<Record<string, number>> = { n: 0x0a, r: 0x0d, t: 0x09, b: 0x08, a: 0x07 };
const BACKSLASH = 0x5c;
const QUOTE = 0x22;
const SPACE = /\s/;

/**
 * Splits a line of a configuration, an ACL file or an AOF manifest into words as the server does: blanks separate, double quotes allow
 * escapes, single quotes allow only \'. Returns null for a line that the server refuses: open quotes, or text right behind closing ones.
 */
export function splitWords(line: string): string[] | null {
  const words: string[] = [];
  let at = 0;
  for (;;) {
    while (at < line.length && SPACE.test(line[at] ?? '')) at += 1;
    if (at >= line.length) return words;
    const word = readWord(line, at);
    if (word === null) return null;
    words.push(word.text);
    at = word.end;
  }
}

interface Word {
  readonly text: string;
  readonly end: number;
}

function readWord(line: string, start: number): Word | null {
  const bytes: Buffer[] = [];
  let at = start;
  while (at < line.length && !SPACE.test(line[at] ?? '')) {
    const char = line[at] ?? '';
    if (char !== '"' && char !== "'") {
      bytes.push(Buffer.from(char));
      at += 1;
      continue;
    }
    const quoted = char === '"' ? readDoubleQuoted(line, at + 1, bytes) : readSingleQuoted(line, at + 1, bytes);
    if (quoted === null || (quoted < line.length && !SPACE.test(line[quoted] ?? ''))) return null;
    at = quoted;
  }
  return { text: Buffer.concat(bytes).toString('utf8'), end: at };
}

/** Returns the place behind the closing quote; null when there is none. */
function readDoubleQuoted(line: string, start: number, bytes: Buffer[]): number | null {
  for (let at = start; at < line.length; at += 1) {
    const char = line[at] ?? '';
    if (char === '"') return at + 1;
    const next = line[at + 1];
    if (char !== '\\' || next === undefined) {
      bytes.push(Buffer.from(char));
      continue;
    }
    const hex = line.slice(at + 2, at + 4);
    if (next === 'x' && HEX.test(hex)) {
      bytes.push(Buffer.from(hex, 'hex'));
      at += 3;
      continue;
    }
    const escaped = ESCAPES[next];
    bytes.push(escaped === undefined ? Buffer.from(next) : Buffer.from([escaped]));
    at += 1;
  }
  return null;
}

function readSingleQuoted(line: string, start: number, bytes: Buffer[]): number | null {
  for (let at = start; at < line.length; at += 1) {
    if (line[at] === "'") return at + 1;
    const isEscaped = line[at] === '\\' && line[at + 1] === "'";
    if (isEscaped) at += 1;
    bytes.push(Buffer.from(line[at] ?? ''));
  }
  return null;
}

/** A word as the server writes it: in quotes, with escapes, when it holds anything but plain characters. */
export function quoteWord(word: string): string {
  if (/^[!#-&(-[\]-~]+$/.test(word)) return word;
  let quoted = '"';
  for (const byte of Buffer.from(word)) {
    const name = Object.entries(ESCAPES).find(([, value]) => value === byte)?.[0];
    if (name !== undefined) quoted += `\\${name}`;
    else if (byte === QUOTE || byte === BACKSLASH) quoted += `\\${String.fromCharCode(byte)}`;
    else if (byte >= 0x20 && byte < 0x7f) quoted += String.fromCharCode(byte);
    else quoted += `\\x${byte.toString(16).padStart(2, '0')}`;
  }
  return `${quoted}"`;
}
