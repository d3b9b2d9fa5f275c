import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { Failure } from '@lastgood/core';
import { toolCache } from './tool-cache.ts';

/** The version that scripts/neo4j-programs.mjs installs. */
export const NEO4J_VERSION = '5.26.30';

export interface Neo4jPrograms {
  readonly java: string;
  /** The jars of the server. */
  readonly libFolder: string;
  /** A class-data archive, which halves the time of a start; null where there is none. */
  readonly classArchive: string | null;
}

/** The name of the class-data archive, beside the folder of the jars. */
export const CLASS_ARCHIVE = 'classes.jsa';

/** Flags that Neo4j 5 needs on Java 17 and newer. */
export const NEO4J_JAVA_FLAGS = ['java.nio', 'java.io', 'sun.nio.ch'].map(
  (name) => `--add-opens=java.base/${name}=ALL-UNNAMED`,
);

/** The Neo4j Community that `npm test` installs. Throws TOOL_NOT_FOUND when it, or Java, is missing. */
export function neo4jPrograms(): Neo4jPrograms {
  const folder = join(toolCache(), `neo4j-${NEO4J_VERSION}`);
  const java = (process.env['PATH'] ?? '')
    .split(delimiter)
    .map((path) => join(path, 'java'))
    .find((path) => existsSync(path));
  if (java === undefined || !existsSync(join(folder, 'lib')))
    throw new Failure('TOOL_NOT_FOUND', `no Java, or no Neo4j in ${folder}: run npm test once, which installs both`);
  const classArchive = join(folder, CLASS_ARCHIVE);
  return { java, libFolder: join(folder, 'lib'), classArchive: existsSync(classArchive) ? classArchive : null };
}
