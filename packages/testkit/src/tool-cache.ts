import { homedir } from 'node:os';
import { join } from 'node:path';

/** The folder of the tools that `npm test` fetched, as scripts/tool-cache.mjs names it. */
export function toolCache(): string {
  const named = process.env['XDG_CACHE_HOME'];
  if (named !== undefined && named !== '') return join(named, 'lastgood-test-tools');
  return process.getuid?.() === 0 ? '/var/cache/lastgood-test-tools' : join(homedir(), '.cache', 'lastgood-test-tools');
}
