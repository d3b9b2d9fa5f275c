import { join } from 'node:path';
import type { AofFolder } from './aof-set.ts';
import type { Settings } from './server-facts.ts';

/** The names of the files of a server, below `dir` as the agent sees it. */
export interface ServerFiles {
  readonly dir: string;
  readonly rdbName: string;
  readonly appendFolderName: string;
  readonly appendFilename: string;
}

/** Null when the server does not report its data folder. `dataDir`: the same folder under another name, from the agent file. */
export function serverFilesOf(settings: Settings | null, dataDir: string | undefined): ServerFiles | null {
  const dir = dataDir ?? settings?.dir;
  if (settings === null || dir === undefined) return null;
  return {
    dir,
    rdbName: settings.dbfilename ?? 'dump.rdb',
    appendFolderName: settings.appenddirname ?? 'appendonlydir',
    appendFilename: settings.appendfilename ?? 'appendonly.aof',
  };
}

export const rdbPathOf = ({ dir, rdbName }: ServerFiles): string => join(dir, rdbName);
export const aofFolderOf = ({ dir, appendFolderName, appendFilename }: ServerFiles): AofFolder => ({
  path: join(dir, appendFolderName),
  appendFilename,
});
