import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { Failure } from '@lastgood/core';
import { type Sandbox, uuidv7, withSandbox } from '@lastgood/host';
import { type AdminContext, checkDatabase, dumpDatabase, loadDatabase } from './admin-tool.ts';
import {
  addDump,
  type BackupRun,
  type DumpedDatabase,
  fingerprintsOf,
  type StoreState,
  type TakenBackup,
} from './backup-run.ts';
import { BoltSession } from './bolt-session.ts';
import { type GraphFingerprint, readFingerprint } from './fingerprint.ts';
import { freezeWhile } from './freeze.ts';
import { flushFileSystem } from './owner-commands.ts';
import { recoverCopy } from './recover-copy.ts';
import { makeScratchStore, startScratchServer } from './scratch-server.ts';
import { waitUntilUsable, whileStopped } from './service-steps.ts';
import { readCleanState } from './stopped-backup.ts';
import { copyStore, prepareCopy } from './store-copy.ts';
import { MANAGED_PREFIX, type StoreFolders } from './store-folders.ts';
import { findServerProcess } from './store-lock.ts';
import { scratchOptionsOf } from './target.ts';

/** Removes a copy of the store. */
export const REMOVE_COPY = 'remove-copy';
/** Continues a frozen server. */
export const THAW_SERVER = 'thaw-server';
/** A copy of the store in the copy folder. */
export const COPY_NAME = new RegExp(`^${MANAGED_PREFIX}copy-[0-9a-f-]{36}$`);
const START_MS = 300_000;

type Copied = Pick<TakenBackup, 'pauseMs' | 'takenAt'>;

/** Copies the store while the server is frozen or stopped, and dumps the copy while the server works again. */
export async function backUpCopy(run: BackupRun, way: 'freeze-copy' | 'stop-copy-start'): Promise<TakenBackup> {
  const { target, admin, context } = run;
  const name = `${MANAGED_PREFIX}copy-${uuidv7(context.clock.now())}`;
  const path = join(target.paths.copyFolder, name);
  let store: StoreFolders = admin.store;
  return await context.steps.during(
    { kind: 'copy-store', params: { name }, compensation: { kind: REMOVE_COPY, params: { name } } },
    async () => {
      store = await prepareCopy(admin, path);
    },
    async () => {
      const copied = way === 'freeze-copy' ? await copyFrozen(run, store) : await copyStopped(run, store);
      const copy = { ...admin, store };
      const states = way === 'freeze-copy' ? await recover(run, copy) : await readStates(run, copy);
      const dumped: DumpedDatabase[] = [];
      for (const state of states) dumped.push(await addDump(run, copy, state));
      const fingerprints = await fingerprintsOf(run, dumped, (state) => countCopy(run, copy, state));
      return { ...copied, dumped, fingerprints };
    },
  );
}

const namesOf = ({ databases }: BackupRun): string[] => databases.map(({ name }) => name);

async function copyStopped(run: BackupRun, store: StoreFolders): Promise<Copied> {
  const { target, admin, context } = run;
  const takenAt = context.clock.now();
  const begun = context.clock.monotonic();
  await whileStopped(target, context, () => copyStore(admin, store, { databases: namesOf(run), mode: 'any' }));
  await waitUntilUsable(target, namesOf(run), context);
  return { takenAt, pauseMs: context.clock.monotonic() - begun };
}

async function copyFrozen(run: BackupRun, store: StoreFolders): Promise<Copied> {
  const { target, admin, context } = run;
  const server = await findServerProcess(admin.store);
  if (server === null) throw new Failure('DATABASE_UNREACHABLE', 'the process of the server was not found');
  // What the server has written before need not be written during the pause.
  await flushFileSystem(admin, admin.store.data);
  const takenAt = context.clock.now();
  const { pauseMs } = await freezeWhile(
    server,
    {
      maxPauseMs: target.connection.maxPauseSeconds * 1_000,
      signal: context.signal,
      onArmed: ({ server: frozen, watchdog }) =>
        context.steps.run(
          {
            kind: 'freeze-server',
            params: {},
            compensation: { kind: THAW_SERVER, params: { server: { ...frozen }, watchdog: { ...watchdog } } },
          },
          async () => undefined,
        ),
    },
    (signal) => copyStore({ ...admin, signal }, store, { databases: namesOf(run), mode: 'reflink' }),
  );
  return { takenAt, pauseMs };
}

/** A copy of a running server is recovered and checked before it counts. */
async function recover(run: BackupRun, copy: AdminContext): Promise<StoreState[]> {
  const states = await recoverCopy(copy, run.databases);
  for (const { name } of states) {
    const { state } = await checkDatabase(copy, name);
    if (state !== 'consistent')
      throw new Failure('TOOL_FAILED', `the copy of database "${name}" is not consistent (${state})`, {
        remedy: 'Take the backup again. If it fails again, check the database itself (neo4j-admin database check).',
      });
  }
  return states;
}

async function readStates(run: BackupRun, copy: AdminContext): Promise<StoreState[]> {
  const states: StoreState[] = [];
  for (const name of namesOf(run)) states.push(await readCleanState(copy, name));
  return states;
}

/** Counts a graph that was changed during the backup: in a scratch server that loads another dump of the copy. */
async function countCopy(run: BackupRun, copy: AdminContext, { name }: StoreState): Promise<GraphFingerprint> {
  const { target, context } = run;
  context.progress({ phase: 'fingerprint', doneBytes: 0, totalBytes: null });
  const { restoreTests: limits, connection } = target;
  // The files are those of the running server: they need no consent where they cannot be contained.
  const request = { limits, scratchUser: connection.scratch.user, needsConsent: false, signal: context.signal };
  return await withSandbox(request, (sandbox) => countInSandbox(run, copy, name, sandbox));
}

async function countInSandbox(
  { target, digests, context }: BackupRun,
  copy: AdminContext,
  name: string,
  sandbox: Sandbox,
): Promise<GraphFingerprint> {
  const options = await scratchOptionsOf(target, sandbox, context.signal);
  await using scratch = await makeScratchStore(options);
  const archive = new PassThrough();
  const loading = loadDatabase(
    { ...copy, user: sandbox.user ?? undefined, sandbox, store: scratch.folders },
    name,
    archive,
  );
  const dumping = dumpDatabase(copy, name, archive).catch((error: unknown) => {
    archive.destroy(error instanceof Error ? error : undefined);
    throw error;
  });
  const failed = (await Promise.allSettled([dumping, loading])).find((each) => each.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  await using server = await startScratchServer(scratch, name, START_MS, options);
  if ((await server.waitUntilMounted(START_MS)) === 'failed')
    throw new Failure('TOOL_FAILED', `a scratch server could not mount the dump of database "${name}"`);
  await using session = await BoltSession.open(server.bolt, context.signal);
  return await readFingerprint(session, name, { digests, queryMs: target.connection.queryMs });
}
