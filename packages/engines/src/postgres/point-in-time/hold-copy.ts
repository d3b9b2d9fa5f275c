import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { storeFailure } from '@lastgood/host';

const BEGIN = '# Lastgood: held until this copy is released';
const END = '# Lastgood: end';
/** Archiving would mix the WAL of the copy into the archive of its source; subscriptions would connect to their publishers. */
const HELD = ["archive_mode = 'off'", 'max_logical_replication_workers = 0'];

/**
 * Keeps a restored server apart from the rest when its owner starts it: by the last lines of `postgresql.auto.conf`, which outrank
 * the other files. Running it twice changes nothing.
 */
export async function holdCopy(dataFolder: string): Promise<void> {
  await edit(dataFolder, (text) => `${withoutHold(text)}${[BEGIN, ...HELD, END].join('\n')}\n`);
}

/** Lets the restored server archive and replicate by its own configuration, from its next start on. */
export async function releaseCopy(dataFolder: string): Promise<void> {
  await edit(dataFolder, withoutHold);
}

function withoutHold(text: string): string {
  const begin = text.indexOf(`${BEGIN}\n`);
  const end = text.indexOf(`${END}\n`, begin);
  const kept = begin < 0 || end < 0 ? text : text.slice(0, begin) + text.slice(end + END.length + 1);
  return kept === '' || kept.endsWith('\n') ? kept : `${kept}\n`;
}

/** Writes in place: the file keeps its owner. The server is not running. */
async function edit(dataFolder: string, change: (text: string) => string): Promise<void> {
  const path = join(dataFolder, 'postgresql.auto.conf');
  try {
    const file = await open(path, constants.O_RDWR | constants.O_NOFOLLOW);
    try {
      const text = change(await file.readFile('utf8'));
      await file.truncate(0);
      await file.write(text, 0);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    throw storeFailure(error, path);
  }
}
