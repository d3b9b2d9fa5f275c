import { splitWords } from './quoted-words.ts';
import type { Settings } from './server-facts.ts';

/** Settings that decide which files a server loads when it starts, with the values that hold without a line for them. */
const DEFAULTS = {
  appendonly: 'no',
  appendfilename: 'appendonly.aof',
  appenddirname: 'appendonlydir',
  dbfilename: 'dump.rdb',
} as const;
export type LoadSetting = keyof typeof DEFAULTS;

/**
 * Settings that were changed while the server runs (CONFIG SET) and not written to its configuration: after a restart it would load other
 * files than it writes now. `files` are the texts of the configuration file and of those that it includes; where they disagree, the
 * setting counts as changed as well.
 */
export function unpersistedSettings(settings: Settings, files: readonly string[]): LoadSetting[] {
  const lines = files.flatMap((text) => text.split('\n').map(splitWords));
  return (Object.keys(DEFAULTS) as LoadSetting[]).filter((name) => {
    const values = lines.filter((words) => words?.[0]?.toLowerCase() === name).map((words) => words?.[1] ?? '');
    const persisted = values.length === 0 ? [DEFAULTS[name]] : values;
    return persisted.some((value) => !isEqual(name, value, settings[name] ?? DEFAULTS[name]));
  });
}

/** Switches are written in any case. */
const isEqual = (name: LoadSetting, a: string, b: string): boolean =>
  name === 'appendonly' ? a.toLowerCase() === b.toLowerCase() : a === b;
