// Where test tools that no package of the system brings are kept between runs. Works on Node 18.
import { homedir } from 'node:os';
import { join } from 'node:path';

/**
 * The folder of the tools. For root it is not the home folder: servers of the tests run as another user, who cannot reach it.
 * packages/testkit looks into the same folder.
 */
export function toolCache() {
  const named = process.env['XDG_CACHE_HOME'];
  if (named !== undefined && named !== '') return join(named, 'lastgood-test-tools');
  return process.getuid?.() === 0 ? '/var/cache/lastgood-test-tools' : join(homedir(), '.cache', 'lastgood-test-tools');
}
