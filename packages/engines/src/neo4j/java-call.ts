import { dirname, join } from 'node:path';
import { type Sandbox, type ToolCall, uncontainedSandbox } from '@lastgood/host';
import type { Owner, StoreFolders } from './store-folders.ts';
import type { ToolHome } from './tool-home.ts';

/** The programs of one installation of Neo4j, and how much of the host they may use. */
export interface Neo4jRuntime {
  readonly java: string;
  /** The jars of the server: those of the same version as the store. */
  readonly libFolder: string;
  /** A class-data archive, which shortens starts. Java ignores one that does not fit. */
  readonly classArchive: string | null;
  readonly heapMb: number;
  /** Off-heap memory of the page cache. */
  readonly pageCacheMb: number;
  readonly threads: number;
}

/** What `--add-opens` 5.x needs; packaged launchers take the same from `server.jvm.additional`. */
const OPENS = ['java.nio', 'java.io', 'sun.nio.ch'].map((name) => `--add-opens=java.base/${name}=ALL-UNNAMED`);

/** Options that Java, and launchers around it, would take from the environment of the agent. */
const NO_OPTIONS = { JAVA_TOOL_OPTIONS: undefined, _JAVA_OPTIONS: undefined, JDK_JAVA_OPTIONS: undefined };

/** Whose files a program works with, and where it runs. */
export interface JavaContext {
  /** Who runs it, when the agent is root. */
  readonly user: Owner | undefined;
  /** Contains a program that works on a backup; absent for one that works on the server's own files. */
  readonly sandbox?: Sandbox;
  readonly store: StoreFolders;
}

/**
 * The call of one Java program of Neo4j, in a home of its own. It runs the main class directly: `neo4j-admin` starts a second Java with
 * the options of the production server, such as a heap of 31 GB or a port for monitoring that is in use.
 */
export function javaCall(
  runtime: Neo4jRuntime,
  home: ToolHome,
  { user, sandbox = uncontainedSandbox(user ?? null), store }: JavaContext,
  main: readonly string[],
  limits: Pick<ToolCall, 'signal' | 'timeoutMs'>,
): ToolCall {
  const { java, libFolder, classArchive, heapMb, threads } = runtime;
  const call = {
    ...limits,
    file: java,
    args: [
      `-Xmx${heapMb}m`,
      '-XX:+UseSerialGC',
      '-XX:TieredStopAtLevel=1',
      '-XX:-UsePerfData',
      '-XX:+ExitOnOutOfMemoryError',
      `-XX:ActiveProcessorCount=${threads}`,
      `-XX:ErrorFile=${join(home.path, 'crash.log')}`,
      ...(classArchive === null ? [] : [`-XX:SharedArchiveFile=${classArchive}`, '-Xlog:cds=off']),
      `-Djava.io.tmpdir=${join(home.path, 'tmp')}`,
      '-Dfile.encoding=UTF-8',
      ...OPENS,
      '-cp',
      join(libFolder, '*'),
      ...main,
    ],
    env: { ...NO_OPTIONS, NEO4J_HOME: home.path, NEO4J_CONF: home.confFolder },
    cwd: home.path,
  };
  const readable = [libFolder, ...(classArchive === null ? [] : [classArchive]), ...homeOfJava(java)];
  return sandbox.contain(call, { folders: [home.path, store.data, store.transactions], readable });
}

/** The installation of Java, unless its program is linked from a folder of the system. */
const homeOfJava = (java: string): string[] =>
  (java.startsWith('/') ? [dirname(dirname(java))] : []).filter((folder) => folder !== '/');
