import { randomBytes } from 'node:crypto';
import { readlink } from 'node:fs/promises';
import { Failure, type RestoreTestLimits } from '@lastgood/core';
import { cleanEnvironment } from '../clean-environment.ts';
import { cancellationOf } from '../poll-until.ts';
import { runTool, type ToolCall, ToolFailure } from '../run-tool.ts';
import {
  defaultEnding,
  type Ending,
  endProcesses,
  type FoundProcess,
  findProcesses,
  startTimeOf,
  variableOf,
} from './processes.ts';
import { launcherOf, type SandboxView } from './sandbox-script.ts';
import { leaseUid, processesOf, stillRunning, sweepUids } from './uid-lease.ts';
import { findScratchUser, type UnixUser } from './unix-user.ts';

const PROBE_MS = 30_000;
/** Marks every process of a restore test that does not take it out of its environment. */
const MARK = 'LASTGOOD_SANDBOX';
const UNUSED = { uid: 65_534, gid: 65_534 };

/**
 * What keeps restored code from the rest of the host. `namespaces`: a user of its own, and namespaces that end as a whole. `user-namespace`: the
 * namespaces, with the user of the agent. `none`: a process like any other; `missing` says what the host refused.
 */
export type Containment =
  | { readonly kind: 'namespaces' | 'user-namespace' }
  | { readonly kind: 'none'; readonly missing: string };

export interface SandboxRequest {
  readonly limits: RestoreTestLimits;
  /** Who runs the commands when the agent is root and cannot contain them. */
  readonly scratchUser: string;
  /** False for what runs no code of the backup: it is contained where that is possible, and needs no consent. */
  readonly needsConsent: boolean;
  readonly signal: AbortSignal;
}

/** Where the code of one backup runs. */
export interface Sandbox {
  readonly containment: Containment['kind'];
  /** Owns the files of the commands; null: the user of this process. */
  readonly user: UnixUser | null;
  /** The same call, to be run inside. It sees its folders, system programs and what is readable, has no network and a clean environment. */
  contain(call: ToolCall, view: Omit<SandboxView, 'cwd'>): ToolCall;
}

const isRoot = (): boolean => process.getuid?.() === 0;
const own = (): UnixUser => ({ uid: process.getuid?.() ?? UNUSED.uid, gid: process.getgid?.() ?? UNUSED.gid });

/** Runs commands like any other, as `user` where the agent is root. */
export const uncontainedSandbox = (user: UnixUser | null): Sandbox => ({
  containment: 'none',
  user,
  contain: (call) => (user === null ? call : { ...call, user }),
});

/** Finds out what this host can do, by trying it. */
export async function findContainment(signal: AbortSignal): Promise<Containment> {
  if (process.platform !== 'linux') return { kind: 'none', missing: 'it has no Linux namespaces' };
  const kind = isRoot() ? 'root' : 'user';
  try {
    const launcher = launcherOf(kind, isRoot() ? UNUSED : own(), { folders: [], readable: [], cwd: '/' });
    await runTool({ file: 'true', args: [], launcher, signal, timeoutMs: PROBE_MS, cwd: '/' });
    return { kind: kind === 'root' ? 'namespaces' : 'user-namespace' };
  } catch (error) {
    if (signal.aborted) throw cancellationOf(signal, 'the restore test');
    if (!(error instanceof Failure)) throw error;
    const reason = error instanceof ToolFailure ? error.message.replace(/^.*?: /, '') : error.message;
    return { kind: 'none', missing: `${kind === 'root' ? 'namespaces' : 'user namespaces'} are refused (${reason})` };
  }
}

const refusal = (missing: string): Failure =>
  new Failure('RESTORE_TEST_UNCONTAINED', `this host cannot contain restored code: ${missing}`);

/** The PID namespace of this process: process ids mean nothing in another one. */
const ownNamespace = async (): Promise<string> =>
  (await readlink('/proc/self/ns/pid').catch(() => '')).replace(/\D/g, '');

/** The mark of the restore tests of this process. */
const ownMark = async (): Promise<string> =>
  `${await ownNamespace()}-${process.pid}-${(await startTimeOf(process.pid)) ?? '0'}`;

const markedProcesses = (accepts: (mark: string) => Promise<boolean>): Promise<FoundProcess[]> =>
  findProcesses(async (pid) => {
    const mark = await variableOf(pid, MARK);
    return mark !== undefined && (await accepts(mark));
  });

/**
 * Runs `work` with a sandbox of its own. Afterwards every process in it is killed, and the call fails with RESTORE_TEST_STILL_RUNNING while
 * one is left, whatever `work` has found. Throws RESTORE_TEST_UNCONTAINED when this host has no sandbox and the agent file does not consent to that.
 */
export async function withSandbox<T>(
  { limits, scratchUser, needsConsent, signal }: SandboxRequest,
  work: (sandbox: Sandbox) => Promise<T>,
  ending: Ending = defaultEnding,
): Promise<T> {
  const containment = await findContainment(signal);
  if (containment.kind === 'none' && needsConsent && !limits.allowUncontained) throw refusal(containment.missing);
  await using lease = containment.kind === 'namespaces' ? await leaseUid(limits.uids, ending) : null;
  const uid = lease?.uid ?? null;
  const user =
    uid !== null
      ? { uid, gid: uid }
      : containment.kind === 'none' && isRoot()
        ? await findScratchUser(scratchUser, signal)
        : null;
  const mark = `${await ownMark()}-${randomBytes(8).toString('hex')}`;
  const find = (): Promise<FoundProcess[]> =>
    uid === null ? markedProcesses(async (found) => found === mark) : processesOf(uid);
  const sandbox: Sandbox = {
    containment: containment.kind,
    user,
    contain: (call, view) => ({
      ...call,
      env: { ...cleanEnvironment(), HOME: '/tmp', USER: 'scratch', LOGNAME: 'scratch', ...call.env, [MARK]: mark },
      ...(user === null ? {} : { user }),
      ...(containment.kind === 'none'
        ? {}
        : {
            launcher: launcherOf(containment.kind === 'namespaces' ? 'root' : 'user', user ?? own(), {
              folders: view.folders,
              readable: [...view.readable, ...limits.readable],
              cwd: call.cwd ?? '/',
            }),
          }),
    }),
  };
  const outcome = await work(sandbox).then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  const left = await endProcesses(find, ending);
  if (left.length > 0) throw stillRunning(left);
  if ('error' in outcome) throw outcome.error;
  return outcome.value;
}

/**
 * Ends the processes of restore tests whose agent is gone. Returns what it has ended. Throws RESTORE_TEST_STILL_RUNNING when one cannot be
 * ended.
 */
export async function sweepSandboxes(limits: RestoreTestLimits, ending: Ending = defaultEnding): Promise<string[]> {
  if (process.platform !== 'linux') return [];
  const swept = isRoot() ? await sweepUids(limits.uids, ending) : [];
  const here = await ownNamespace();
  const find = (): Promise<FoundProcess[]> =>
    markedProcesses(async (mark) => {
      const [namespace, pid, start] = mark.split('-');
      return namespace === here && (await startTimeOf(Number(pid))) !== start;
    });
  const found = await find();
  const left = await endProcesses(find, ending);
  if (left.length > 0) throw stillRunning(left);
  return found.length === 0 ? swept : [...swept, `${found.length} processes of an interrupted restore test`];
}
