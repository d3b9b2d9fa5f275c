import { chmod, chown, mkdir, mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { removeTree } from './owner-commands.ts';
import { identifyProcess, isSameProcess, type ProcessIdentity, processIdentitySchema } from './process-identity.ts';
import type { Owner } from './store-folders.ts';

const PREFIX = 'lastgood-neo4j-';
const RECORD = 'process.json';
const root = { user: undefined, signal: new AbortController().signal };

export type Settings = Readonly<Record<string, string>>;

/** A file or, without `text`, a folder, that a new home contains. */
export interface HomeEntry {
  readonly path: string;
  readonly text?: string;
}

/** A private home of Neo4j for one command or one scratch server. Removed when disposed; after a crash by `sweepToolHomes`. */
export interface ToolHome extends AsyncDisposable {
  /** Belongs to the user of the command. */
  readonly path: string;
  readonly confFolder: string;
  /** A socket that the user of the command cannot replace. */
  readonly socketPath: string;
  /** Records the server that runs here, so that a sweep ends it. */
  recordProcess(process: ProcessIdentity): Promise<void>;
}

/**
 * Makes a home with its own neo4j.conf: the configuration of the production server may open ports and name files that a tool must not touch.
 * `entries` are more folders and files, parents first. Nothing is written into the home once it belongs to the user, who could put
 * symbolic links there.
 */
export async function makeToolHome(
  base: string,
  user: Owner | undefined,
  settings: Settings,
  entries: readonly HomeEntry[] = [],
): Promise<ToolHome> {
  const agent = await identifyProcess(process.pid);
  const outer = await mkdtemp(join(base, `${PREFIX}${process.pid}-${agent?.startTime ?? '0'}-`));
  const remove = (): Promise<void> => removeTree(root, outer);
  try {
    const path = join(outer, 'home');
    const conf = Object.entries(settings).map(([name, value]) => `${name}=${value}\n`);
    const all: HomeEntry[] = [
      { path: '' },
      { path: 'conf' },
      { path: 'conf/neo4j.conf', text: conf.join('') },
      { path: 'tmp' },
      ...entries,
    ];
    for (const entry of all) {
      const made = join(path, entry.path);
      if (entry.text === undefined) await mkdir(made, { mode: 0o700 });
      else await writeFile(made, entry.text, { mode: 0o600, flag: 'wx' });
    }
    // From the inside to the outside: until the last step only we can reach what is in it.
    if (user !== undefined)
      for (const entry of all.toReversed()) await chown(join(path, entry.path), user.uid, user.gid);
    await chmod(outer, 0o711);
    return {
      path,
      confFolder: join(path, 'conf'),
      socketPath: join(outer, 's'),
      recordProcess: (process) => writeFile(join(outer, RECORD), JSON.stringify(process), { mode: 0o600 }),
      [Symbol.asyncDispose]: remove,
    };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** The server that a crashed agent left running in a home; null when there is none. */
async function findLeftServer(outer: string): Promise<ProcessIdentity | null> {
  const text = await readFile(join(outer, RECORD), 'utf8').catch(() => 'null');
  const { data } = processIdentitySchema.safeParse(parse(text));
  return data !== undefined && (await isSameProcess(data)) ? data : null;
}
function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Removes the homes of agents that are gone, and ends what still runs in them. Returns what it removed. */
export async function sweepToolHomes(base: string): Promise<string[]> {
  const swept: string[] = [];
  for (const name of await readdir(base).catch(() => [])) {
    const [, pid, startTime] = new RegExp(`^${PREFIX}(\\d+)-(\\d+)-`).exec(name) ?? [];
    if (pid === undefined || startTime === undefined) continue;
    if (await isSameProcess({ pid: Number(pid), startTime })) continue;
    const left = await findLeftServer(join(base, name));
    if (left !== null) process.kill(left.pid, 'SIGKILL');
    await removeTree(root, join(base, name));
    swept.push(`scratch folder ${name}`);
  }
  return swept;
}
