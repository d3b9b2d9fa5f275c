import { quoteWord, splitWords } from './quoted-words.ts';

export type ConfigKind = 'config' | 'acl';
/** A secret that was left out of a stored file. */
export interface LeftOut {
  /** Of the original file; counts from 1. */
  readonly line: number;
  readonly directive: string;
  /** The user whose passwords they are, or the renamed command; null for the others. */
  readonly subject: string | null;
}
export interface RedactedFile {
  readonly text: string;
  readonly leftOut: readonly LeftOut[];
}
interface RedactedLine {
  readonly text: string;
  readonly directive: string;
  readonly subject: string | null;
}

/** Directives whose names sound like secrets and hold none. */
const HARMLESS = new Set(['tls-auth-clients', 'tls-auth-clients-user', 'masteruser', 'primaryuser']);
const SECRET = /pass|auth|secret|token|credential/;
/** A password, its hash, or the removal of either, in the rules of a user. */
const isPasswordRule = (rule: string): boolean => /^[><#!]/.test(rule);

/** A user without passwords cannot log in until one is set. Words of an ACL file are separated by blanks and never quoted. */
function redactUser(words: readonly string[], kind: ConfigKind): RedactedLine | null {
  if (!words.some(isPasswordRule)) return null;
  const kept = words.filter((word) => !isPasswordRule(word));
  const text = kept.map(kind === 'acl' ? String : quoteWord).join(' ');
  return { text, directive: 'user', subject: words[1] ?? null };
}

/** A line without its secret; null for a line without one. */
function redactLine(line: string, kind: ConfigKind): RedactedLine | null {
  const words = kind === 'acl' ? line.trim().split(/\s+/) : splitWords(line);
  if (words === null) return { text: '# left out: a malformed line', directive: 'malformed line', subject: null };
  const [first = '', second = '', third = ''] = words;
  const directive = first.toLowerCase();
  if (directive.startsWith('#')) return null;
  const omit = (name: string, subject: string | null): RedactedLine => ({
    text: `# left out: ${name}${subject === null ? '' : ` ${quoteWord(subject)}`}`,
    directive: name,
    subject,
  });
  if (directive === 'user') return redactUser(words, kind);
  // The new name of a command is what keeps others from using it.
  if (directive === 'rename-command') return third === '' ? null : omit(directive, second);
  // Modules get secrets as arguments.
  if (directive === 'loadmodule' && words.length > 2)
    return { ...omit(directive, second), text: `# left out: arguments\nloadmodule ${quoteWord(second)}` };
  if (directive === 'sentinel') return SECRET.test(second) ? omit(`${directive} ${second}`, null) : null;
  if (!SECRET.test(directive) || HARMLESS.has(directive) || second === '') return null;
  return omit(directive, null);
}

/**
 * Removes the secrets from a configuration file or an ACL file, and lists them without their values. What remains is a valid file. A
 * directive with an unknown name is taken for a secret when its name sounds like one.
 */
export function redactConfig(text: string, kind: ConfigKind): RedactedFile {
  const leftOut: LeftOut[] = [];
  const lines = text.split(/\r?\n/).map((line, index) => {
    const redacted = redactLine(line, kind);
    if (redacted === null) return line;
    leftOut.push({ line: index + 1, directive: redacted.directive, subject: redacted.subject });
    return redacted.text;
  });
  return { text: lines.join('\n'), leftOut };
}
