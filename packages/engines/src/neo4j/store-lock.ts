import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { identifyProcess, type ProcessIdentity } from './process-identity.ts';
import { databasesOf, type StoreFolders, storeOf } from './store-folders.ts';

const LOCKS = '/proc/locks';

/**
 * The process that holds a lock on a file. Neo4j leaves its lock files behind when it ends: only the kernel knows whether one is held. Null
 * when no process of this PID namespace holds it: a server in a container is not seen from another container.
 */
async function findLockHolder(path: string): Promise<ProcessIdentity | null> {
  const file = await stat(path).catch(() => null);
  if (file === null) return null;
  for (const line of (await readFile(LOCKS, 'utf8').catch(() => '')).split('\n')) {
    // 1: POSIX  ADVISORY  WRITE 4476 fe:00:843803 0 EOF
    const [, pid, device, inode] = /^\d+: +\w+ +\w+ +\w+ +(\d+) ([0-9a-f]+:[0-9a-f]+):(\d+) /.exec(line) ?? [];
    if (pid === undefined || Number(inode) !== file.ino) continue;
    // Some file systems (btrfs) report one device to stat and another here: then the open files of the process decide.
    if (device !== deviceOf(file.dev) && !(await hasOpen(Number(pid), file))) continue;
    const holder = await identifyProcess(Number(pid));
    if (holder !== null) return holder;
  }
  return null;
}

function deviceOf(device: number): string {
  const hex = (number: number): string => number.toString(16).padStart(2, '0');
  return `${hex((device >> 8) & 0xfff)}:${hex((device & 0xff) | ((device >> 12) & 0xfff00))}`;
}

async function hasOpen(pid: number, { dev, ino }: { dev: number; ino: number }): Promise<boolean> {
  const folder = `/proc/${pid}/fd`;
  for (const name of await readdir(folder).catch(() => [])) {
    const open = await stat(join(folder, name)).catch(() => null);
    if (open?.dev === dev && open.ino === ino) return true;
  }
  return false;
}

/** The server process that runs on a data folder; null when none does. */
export async function findServerProcess(store: StoreFolders): Promise<ProcessIdentity | null> {
  return await findLockHolder(join(databasesOf(store), 'store_lock'));
}

/** The process that has one database mounted, a server or an admin command; null when the database is free. */
export async function findDatabaseUser(store: StoreFolders, database: string): Promise<ProcessIdentity | null> {
  return await findLockHolder(join(storeOf(store, database), 'database_lock'));
}
