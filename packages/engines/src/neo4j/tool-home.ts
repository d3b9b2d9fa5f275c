import { chown, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { identifyProcess, isSameProcess, type ProcessIdentity } from './process-identity.ts';
import type { Owner } from './store-folders.ts';

const PREFIX = 'lastgood-neo4j-';
const CHILD = 'process.json';
const identitySchema = z.object({ pid: z.int().positive(), startTime: z.string() });

export type Settings = Readonly<Record<string, string>>;

/** A private home of Neo4j for one command or one scratch server. Removed when disposed; after a crash by `sweepToolHomes`. */
export interface ToolHome extends AsyncDisposable {
  readonly path: string;
  readonly confFolder: string;
  /** Records the server that runs here, so that a sweep ends it. */
  recordProcess(process: ProcessIdentity): Promise<void>;
}

/** Makes a home with its own neo4j.conf: the configuration of the production server may open ports and name files that a tool must not touch. */
export async function makeToolHome(base: string, user: Owner | undefined, settings: Settings): Promise<ToolHome> {
  const agent = await identifyProcess(process.pid);
  const path = await mkdtemp(join(base, `${PREFIX}${process.pid}-${agent?.startTime ?? '0'}-`));
  const confFolder = join(path, 'conf');
  const remove = (): Promise<void> => rm(path, { recursive: true, force: true, maxRetries: 3 });
  try {
    const lines = Object.entries(settings).map(([name, value]) => `${name}=${value}\n`);
    const conf = join(confFolder, 'neo4j.conf');
    const temporary = join(path, 'tmp');
    for (const folder of [confFolder, temporary]) await mkdir(folder, { mode: 0o700 });
    await writeFile(conf, lines.join(''), { mode: 0o600 });
    if (user !== undefined)
      for (const made of [path, confFolder, temporary, conf]) await chown(made, user.uid, user.gid);
    return {
      path,
      confFolder,
      recordProcess: (process) => writeFile(join(path, CHILD), JSON.stringify(process), { mode: 0o600 }),
      [Symbol.asyncDispose]: remove,
    };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** The process that a crashed agent left in a home, when it still runs. Its own user could have written the file: the folder must be its own. */
async function leftProcess(path: string): Promise<ProcessIdentity | null> {
  const text = await readFile(join(path, CHILD), 'utf8').catch(() => 'null');
  const { data } = identitySchema.safeParse(parse(text));
  if (data === undefined || !(await isSameProcess(data))) return null;
  const command = await readFile(`/proc/${data.pid}/cmdline`, 'utf8').catch(() => '');
  return command.split('\0').includes(`--home-dir=${path}`) ? data : null;
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
    const path = join(base, name);
    const left = await leftProcess(path);
    if (left !== null) process.kill(left.pid, 'SIGKILL');
    await rm(path, { recursive: true, force: true, maxRetries: 3 });
    swept.push(`scratch folder ${name}`);
  }
  return swept;
}
