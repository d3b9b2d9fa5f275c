import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** The path of the browser for tests; undefined when there is none. `npm test` installs it on Debian. */
export function findBrowser(): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  return folders.map((folder) => join(folder, 'chromium-headless-shell')).find((path) => existsSync(path));
}
