import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';

/** The path of promtool: on the path, or where `npm test` keeps the tools that it fetched. Undefined when there is none. */
export function findPromtool(): string | undefined {
  const cache = process.env['XDG_CACHE_HOME'] || (process.getuid?.() === 0 ? '/var/cache' : join(homedir(), '.cache'));
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), join(cache, 'lastgood-test-tools', 'promtool')];
  return folders.map((folder) => join(folder, 'promtool')).find((path) => existsSync(path));
}
