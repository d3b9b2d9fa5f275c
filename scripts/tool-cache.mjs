// Where programs are kept that tests need and no package of the system installs alone. Works on Node 18.
import { homedir } from 'node:os';
import { join } from 'node:path';

/** The folder of all such programs, kept between runs. For root it is not the home folder, which other users cannot reach. */
export function toolCache() {
  const named = process.env['XDG_CACHE_HOME'];
  if (named !== undefined && named !== '') return join(named, 'lastgood-test-tools');
  return process.getuid?.() === 0 ? '/var/cache/lastgood-test-tools' : join(homedir(), '.cache', 'lastgood-test-tools');
}
