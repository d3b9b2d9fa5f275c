import type { Fingerprint } from './fingerprint.ts';

/** A parameter of a library: `cron.database_name`. */
const PARAMETER = /^[a-z_][a-z0-9_]*\.[a-z0-9_.]+$/i;

export interface Preloads {
  /** What a scratch server preloads, in the order of the source. */
  readonly loaded: readonly string[];
  /** What the source preloads and the scratch server does not. */
  readonly missing: readonly string[];
  /** Parameters of libraries, by name. */
  readonly settings: ReadonlyMap<string, string>;
}

/** `shared_preload_libraries` as a list. A name with a path or quotes counts by its last part. */
export const librariesOf = (setting: string): string[] =>
  setting
    .split(',')
    .map((name) => name.trim().replaceAll('"', '').replace(/^.*\//, '').replace(/\.so$/, ''))
    .filter((name) => name !== '');

/** Which libraries of the source a scratch server loads: those that the agent file trusts. The databases are of one server. */
export function choosePreloads(fingerprints: readonly Fingerprint[], trusted: readonly string[]): Preloads {
  const wanted = new Set(
    fingerprints.flatMap(({ settings }) => librariesOf(settings['shared_preload_libraries'] ?? '')),
  );
  const loaded = [...wanted].filter((name) => trusted.includes(name));
  const settings = new Map(
    loaded.length === 0 ? [] : fingerprints.flatMap(({ librarySettings }) => Object.entries(librarySettings)),
  );
  for (const name of settings.keys()) if (!PARAMETER.test(name)) settings.delete(name);
  return { loaded, missing: [...wanted].filter((name) => !trusted.includes(name)), settings };
}
