import { matchesGlob } from 'node:path';
import type { BannedWord } from './banned-words.ts';
import type { Prose } from './prose.ts';

/** Returns a check that lists the banned words of a text, as `path:line word → instead`. */
export function banWords(banned: readonly BannedWord[]): (prose: Prose) => string[] {
  const rules = banned.map(({ pattern, instead }) => ({
    pattern: new RegExp(pattern.source.replaceAll(' ', '\\s+'), 'gi'),
    instead,
  }));
  return ({ path, text, lineAt }) =>
    rules.flatMap(({ pattern, instead }) =>
      [...text.matchAll(pattern)].map(
        (hit) => `${path}:${lineAt(hit.index)} ${hit[0].replace(/\s+/g, ' ')} → ${instead}`,
      ),
    );
}

/** True when one of the globs matches the path. `**` stands for any folders, `*` for a part of a name. */
export const matchesAny = (path: string, globs: readonly string[]): boolean =>
  globs.some((glob) => matchesGlob(path, glob));
