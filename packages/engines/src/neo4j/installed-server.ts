import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import type { InstallPaths } from './install-paths.ts';
import type { Edition } from './server-facts.ts';
import { databasesOf, MANAGED_PREFIX } from './store-folders.ts';

const KERNEL_JAR = /^neo4j-kernel-(\d+\.\d+\.\d+\S*)\.jar$/;
const ENTERPRISE_JAR = /^neo4j-enterprise-kernel-.*\.jar$/;
const DEFAULT_DATABASE = 'neo4j';

/** What the files of a server tell about it, for a server that is not running. */
export interface InstalledServer {
  readonly version: string;
  readonly edition: Edition;
  readonly defaultDatabase: string;
}

/** Reads the version and edition from the jars, and the default database from neo4j.conf. Throws TOOL_NOT_FOUND without jars. */
export async function readInstalledServer({ libFolder, confFolder }: InstallPaths): Promise<InstalledServer> {
  const jars = await readdir(libFolder).catch(() => []);
  const version = jars.map((name) => KERNEL_JAR.exec(name)?.[1]).find((found) => found !== undefined);
  if (version === undefined)
    throw new Failure('TOOL_NOT_FOUND', `no jars of a Neo4j server in ${libFolder}`, {
      remedy: 'Correct home or libFolder of the target in the agent file.',
    });
  const conf = await readFile(join(confFolder, 'neo4j.conf'), 'utf8').catch(() => '');
  const named = /^\s*initial\.dbms\.default_database\s*=\s*(\S+)\s*$/m.exec(conf)?.[1];
  return {
    version,
    edition: jars.some((name) => ENTERPRISE_JAR.test(name)) ? 'enterprise' : 'community',
    defaultDatabase: named ?? DEFAULT_DATABASE,
  };
}

/** The names of the databases that have a store. */
export async function listStores({ store }: InstallPaths): Promise<string[]> {
  const entries = await readdir(databasesOf(store), { withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith(MANAGED_PREFIX))
    .map(({ name }) => name)
    .toSorted();
}
