import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { Failure } from '@lastgood/core';
import { captureTool, freeBytes, runTool, type Sandbox, type ToolCall } from '@lastgood/host';
import { z } from 'zod';
import { DumpArchiveTee, type IntactArchive } from './dump-archive.ts';
import { javaCall, type Neo4jRuntime } from './java-call.ts';
import type { StoreContext } from './owner-commands.ts';
import type { StoreFolders } from './store-folders.ts';
import { findDatabaseUser } from './store-lock.ts';
import { makeToolHome, type ToolHome } from './tool-home.ts';

const MAIN = 'org.neo4j.cli.AdminTool';
/** `database check`: found inconsistencies, or could not read the store; and could not prepare the check. */
const CHECK_ANSWERS = [1, 70];
const INFO_REFUSED = 1;
/** Less free space than one write of neo4j-admin takes. */
const FULL_BYTES = 1024 * 1024;
const MAX_INFO_BYTES = 1024 * 1024;

/** What every command of neo4j-admin needs. */
export interface AdminContext extends StoreContext {
  readonly runtime: Neo4jRuntime;
  /** Contains the commands that work on a backup; absent for those that work on the server's own files. */
  readonly sandbox?: Sandbox;
  /** Where commands have their homes; `user`, who runs them, must be able to reach it. */
  readonly scratchFolder: string;
  readonly timeoutMs: number;
  /** A command without output for this long has failed. */
  readonly stallMs: number;
}

/** neo4j-admin prints its progress among its messages. */
const redactProgress = (line: string): string | null => (/^(?:Files: |Done: |\.|$)/.test(line) ? null : line);
/** Reports of `check` repeat records, with values of properties. */
const redactAll = (): null => null;

async function makeHome(admin: AdminContext): Promise<ToolHome> {
  const { data, transactions } = admin.store;
  return await makeToolHome(admin.scratchFolder, admin.user, {
    'server.directories.data': data,
    'server.directories.transaction.logs.root': transactions,
    'server.directories.lib': admin.runtime.libFolder,
    'server.memory.pagecache.size': `${admin.runtime.pageCacheMb}m`,
    'db.tx_log.preallocate': 'false',
    'dbms.usage_report.enabled': 'false',
  });
}
function callOf(admin: AdminContext, home: ToolHome, args: readonly string[]): ToolCall {
  const { signal, timeoutMs } = admin;
  return javaCall(admin.runtime, home, admin, [MAIN, ...args], { signal, timeoutMs });
}

async function refuseInUse(admin: AdminContext, database: string): Promise<void> {
  const user = await findDatabaseUser(admin.store, database);
  if (user === null) return;
  throw new Failure('DATABASE_REFUSED', `database "${database}" is in use by process ${user.pid}`, {
    remedy: 'Stop the server first: Neo4j Community cannot dump or check a database that a server has mounted.',
  });
}

/**
 * Dumps one database that no server has mounted into `sink`, and checks the archive on the way. Exit status 0 is not enough:
 * `dump --to-stdout` reports success when its output could not be written. Throws DATABASE_REFUSED when the database is in use.
 */
export async function dumpDatabase(admin: AdminContext, database: string, sink: Writable): Promise<IntactArchive> {
  await refuseInUse(admin, database);
  await using home = await makeHome(admin);
  const tee = new DumpArchiveTee();
  const call = callOf(admin, home, ['database', 'dump', database, '--to-stdout']);
  await runTool({ ...call, stallMs: admin.stallMs, redactStderr: redactProgress }, tee, sink);
  const report = tee.report();
  if (report.state === 'damaged')
    throw new Failure('TOOL_FAILED', `neo4j-admin reported success, but wrote a damaged archive (${report.fault})`);
  return report;
}

/**
 * Loads an archive as a new database, which may be done while the server runs. Never over an existing one: neo4j-admin deletes that before
 * it reads the archive. Throws TARGET_NOT_EMPTY when files of that name exist, and NO_SPACE.
 */
export async function loadDatabase(admin: AdminContext, database: string, archive: Readable): Promise<void> {
  for (const folder of [join(admin.store.data, 'databases', database), join(admin.store.transactions, database)])
    if ((await stat(folder).catch(() => null)) !== null)
      throw new Failure('TARGET_NOT_EMPTY', `cannot load into ${folder}: it exists`);
  await using home = await makeHome(admin);
  const call = callOf(admin, home, ['database', 'load', database, '--from-stdin']);
  try {
    await runTool({ ...call, stdin: archive, stallMs: admin.stallMs, redactStderr: redactProgress });
  } catch (error) {
    throw (await isFull(admin.store)) && error instanceof Failure && error.code === 'TOOL_FAILED'
      ? new Failure('NO_SPACE', `no space left while database "${database}" was loaded`, { cause: error })
      : error;
  }
}

/** neo4j-admin does not say that the disk is full: whether anything is free there does. */
async function isFull({ data, transactions }: StoreFolders): Promise<boolean> {
  const free = await Promise.all([data, transactions].map((folder) => freeBytes(folder)));
  return Math.min(...free) < FULL_BYTES;
}

/** Prints strings for every field; what a database does not have is null or absent. */
const infoSchema = z.object({
  databaseName: z.string(),
  inUse: z.enum(['true', 'false']),
  storeFormat: z.string().nullish(),
  lastCommittedTransaction: z
    .string()
    .regex(/^-?\d+$/)
    .nullish(),
  recoveryRequired: z.enum(['true', 'false']).nullish(),
});
export type StoreInfo =
  | {
      readonly state: 'clean' | 'recovery-required';
      readonly storeFormat: string;
      readonly lastTransaction: number;
    }
  | { readonly state: 'in-use' }
  /** neo4j-admin cannot read the store: files are missing or damaged. */
  | { readonly state: 'unreadable' };

/** What `database info` reports about one database. It decides whether a store is usable: the exit status of a recovery does not. */
export async function readStoreInfo(admin: AdminContext, database: string): Promise<StoreInfo> {
  if ((await findDatabaseUser(admin.store, database)) !== null) return { state: 'in-use' };
  await using home = await makeHome(admin);
  const call = callOf(admin, home, ['database', 'info', database, '--format=json']);
  const { stdout } = await captureTool({ ...call, acceptedExitCodes: [INFO_REFUSED] }, MAX_INFO_BYTES);
  const { data } = infoSchema.safeParse(parse(stdout));
  if (data === undefined) return { state: 'unreadable' };
  if (data.inUse === 'true') return { state: 'in-use' };
  const { storeFormat, lastCommittedTransaction: last, recoveryRequired } = data;
  if (!storeFormat || !last || !recoveryRequired) return { state: 'unreadable' };
  const state = recoveryRequired === 'true' ? 'recovery-required' : 'clean';
  return { state, storeFormat, lastTransaction: Number(last) };
}
function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** What `database check` found. Reports repeat records with their values: only their size leaves this host. */
export type CheckReport =
  | { readonly state: 'consistent' }
  | { readonly state: 'inconsistent'; readonly reportBytes: number }
  /** The check did not happen: the store or the archive could not be read, or needs recovery. */
  | { readonly state: 'not-checked'; readonly exitCode: number };

/** Checks the consistency of one database that no server has mounted. Throws DATABASE_REFUSED when it is in use. */
export async function checkDatabase(admin: AdminContext, database: string): Promise<CheckReport> {
  await refuseInUse(admin, database);
  return await check(admin, [database]);
}

/**
 * Checks the consistency of the archive `<database>.dump` in `folder`, also while the server runs. `temporaryFolder` needs as much space
 * as the unpacked store; the command removes what it put there.
 */
export async function checkArchive(
  admin: AdminContext,
  database: string,
  folder: string,
  temporaryFolder: string,
): Promise<CheckReport> {
  return await check(admin, [database, `--from-path=${folder}`, `--temp-path=${temporaryFolder}`]);
}

async function check(admin: AdminContext, args: readonly string[]): Promise<CheckReport> {
  await using home = await makeHome(admin);
  const { pageCacheMb, threads } = admin.runtime;
  // Without limits it takes 90 % of the free memory and every processor.
  const limits = [`--max-off-heap-memory=${pageCacheMb}m`, `--threads=${threads}`, `--report-path=${home.path}`];
  const call = callOf(admin, home, ['database', 'check', ...args, ...limits]);
  const { exitCode } = await runTool({ ...call, acceptedExitCodes: CHECK_ANSWERS, redactStderr: redactAll });
  if (exitCode === 0) return { state: 'consistent' };
  const reports = (await readdir(home.path)).filter((name) => name.endsWith('.report'));
  const sizes = await Promise.all(reports.map(async (name) => (await stat(join(home.path, name))).size));
  const reportBytes = sizes.reduce((sum, size) => sum + size, 0);
  return reportBytes > 0 ? { state: 'inconsistent', reportBytes } : { state: 'not-checked', exitCode };
}
