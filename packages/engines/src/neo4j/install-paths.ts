import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { Failure } from '@lastgood/core';
import type { Neo4jConnection } from './connection-schema.ts';
import type { Neo4jRuntime } from './java-call.ts';
import type { StoreFolders } from './store-folders.ts';

/** Where the files of a server are. */
export interface InstallPaths {
  readonly store: StoreFolders;
  readonly confFolder: string;
  readonly pluginsFolder: string;
  readonly libFolder: string;
  readonly copyFolder: string;
  readonly scratchFolder: string;
}

/** The paths of a target: those of the agent file, else where Neo4j puts them by default. */
export function installPathsOf(connection: Neo4jConnection): InstallPaths {
  const { home } = connection;
  const data = connection.dataFolder ?? join(home, 'data');
  return {
    store: { data, transactions: connection.transactionFolder ?? join(data, 'transactions') },
    confFolder: connection.confFolder ?? join(home, 'conf'),
    pluginsFolder: connection.pluginsFolder ?? join(home, 'plugins'),
    libFolder: connection.libFolder ?? join(home, 'lib'),
    copyFolder: connection.copyFolder ?? join(data, 'lastgood'),
    scratchFolder: connection.scratch.folder ?? tmpdir(),
  };
}

/** The Java and the limits that tools and scratch servers of a target run with. Throws TOOL_NOT_FOUND without Java. */
export async function findRuntime(connection: Neo4jConnection): Promise<Neo4jRuntime> {
  const { heapMb, pageCacheMb, threads } = connection.scratch;
  const { libFolder } = installPathsOf(connection);
  return { java: connection.java ?? (await findJava()), libFolder, classArchive: null, heapMb, pageCacheMb, threads };
}

async function findJava(): Promise<string> {
  const homes = [process.env['JAVA_HOME']].filter((home) => home !== undefined && home !== '');
  const folders = [...homes.map((home) => join(home ?? '', 'bin')), ...(process.env['PATH'] ?? '').split(delimiter)];
  for (const folder of folders) {
    const java = join(folder, 'java');
    if (folder.startsWith('/') && (await isExecutable(java))) return java;
  }
  throw new Failure('TOOL_NOT_FOUND', 'no Java on the path', {
    remedy: 'Set `java` of the target to the Java that runs the server.',
  });
}
const isExecutable = (path: string): Promise<boolean> =>
  access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
