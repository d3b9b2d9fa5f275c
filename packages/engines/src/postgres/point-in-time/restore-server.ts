import { createHash } from 'node:crypto';
import { access, chmod, chown, mkdir, mkdtemp, readFile, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  assertConsented,
  type EngineContext,
  Failure,
  type RecoverySource,
  type RestoreOrder,
  type RestoreResult,
} from '@lastgood/core';
import { storeFailure } from '@lastgood/host';
import {
  type Compensation,
  type Finding,
  findingKey,
  makeFinding,
  makeRefusal,
  type Refusal,
  type RestorePlanSummary,
  type RestoreRequest,
} from '@lastgood/protocol';
import { z } from 'zod';
import type { PostgresConnection } from '../connection-schema.ts';
import { physicalFactsOf } from '../physical/physical-facts.ts';
import { formatInstant } from '../wal/instant.ts';
import { formatLsn } from '../wal/lsn.ts';
import { holdCopy } from './hold-copy.ts';
import { type Observed, type PlannedPoint, planPoint } from './point-of-request.ts';
import { readCopy } from './read-copy.ts';
import { aheadBytes, findServerPrograms, recoverCopy, removeRecoveryFolders, unpackedBytes } from './server-copy.ts';
import type { UnixUser } from './unpack.ts';

/** Takes back the folder of a restore that did not succeed. */
export const REMOVE_COPY = 'postgres.remove-copy';
const COPY_NAME = /^restore-[0-9a-f]{12}$/;
const removeCopyParams = z.object({ folder: z.string(), copy: z.string().regex(COPY_NAME) });
/** The cause of this refusal changes all the time: it is not part of the hash. */
const SPACE_LOW = 'FOLDER_SPACE_LOW';

export interface ServerRestoreParts {
  readonly connection: PostgresConnection;
  /** The folders that a restore may fill, by name. */
  readonly restoreFolders: Readonly<Record<string, string>>;
  readonly observed: Observed;
}
interface ServerPlan {
  readonly summary: RestorePlanSummary;
  readonly point: PlannedPoint;
  readonly path: string;
  /** Who will own the copy; null for ourselves. */
  readonly owner: UnixUser | null;
}

/** Where a restore puts the server, or why it cannot. PostgreSQL refuses root: the owner of the folder runs the copy. */
async function inspectFolder(
  name: string,
  path: string,
  neededBytes: number,
): Promise<{ readonly owner: UnixUser | null; readonly freeBytes: number | null; readonly refusals: Refusal[] }> {
  const subject = null;
  const own = process.getuid?.();
  try {
    const found = await stat(path);
    if (!found.isDirectory()) throw new Failure('IO_ERROR', `${path} is not a folder`);
    const { bavail, bsize } = await statfs(path);
    const freeBytes = bavail * bsize;
    const refusals: Refusal[] = [];
    if (own === 0 && found.uid === 0) refusals.push(makeRefusal('FOLDER_OF_ROOT', subject, { folder: name }));
    if (freeBytes < neededBytes)
      refusals.push(makeRefusal(SPACE_LOW, subject, { needed: neededBytes, free: freeBytes }));
    return { owner: own === 0 ? { uid: found.uid, gid: found.gid } : null, freeBytes, refusals };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return {
      owner: null,
      freeBytes: null,
      refusals: [makeRefusal('FOLDER_UNUSABLE', subject, { folder: name, reason })],
    };
  }
}

/** True for a request that restores a whole server, and so a physical backup. */
export const isServerRestore = ({ scope, into }: RestoreRequest): boolean =>
  scope.kind === 'server' || into.way === 'folder';

/** Plans the restore of a whole server into a folder. Throws BAD_INPUT for another request, and POINT_UNREACHABLE. */
export async function planServerRestore(
  parts: ServerRestoreParts,
  request: RestoreRequest,
  source: RecoverySource,
  context: EngineContext,
): Promise<ServerPlan> {
  const { scope, into, options } = request;
  const [unknown] = Object.keys(options);
  if (unknown !== undefined) throw new Failure('BAD_INPUT', `a restore has no option "${unknown}"`);
  if (scope.kind !== 'server' || into.way !== 'folder')
    throw new Failure('BAD_INPUT', 'a physical backup is restored as a whole server, into a folder', {
      remedy: 'Use --to-folder without --database. Single databases are restored from logical backups.',
    });
  const path = Object.hasOwn(parts.restoreFolders, into.folder) ? parts.restoreFolders[into.folder] : undefined;
  if (path === undefined)
    throw new Failure('BAD_INPUT', `the agent file has no restore folder "${into.folder}"`, {
      remedy: 'Name the folder under `restoreFolders` in the agent file of the host.',
    });
  const point = await planPoint(request.point, source, parts.observed, context);
  const { manifest, plan } = point;
  const facts = physicalFactsOf(manifest);
  const needBytes = unpackedBytes(manifest) + aheadBytes(facts);
  const { owner, freeBytes, refusals } = await inspectFolder(into.folder, path, needBytes);
  await findServerPrograms(parts.connection, facts.majorVersion, context.signal).catch((error: unknown) => {
    if (!(error instanceof Failure) || error.code !== 'TOOL_NOT_FOUND') throw error;
    refusals.push(makeRefusal('PROGRAMS_MISSING', null, { version: String(facts.majorVersion) }));
  });
  const warnings: Finding[] = plan.endsAtGap
    ? [makeFinding('RECOVERY_ENDS_AT_GAP', null, { position: formatLsn(plan.endLsn) })]
    : [];
  // WAL that is stored between plan and restore changes the files that are read, and not what was consented to.
  const decided = {
    request,
    backupId: manifest.backupId,
    manifest: manifest.checksum,
    timeline: plan.timeline,
    owner,
    refusals: refusals.filter(({ code }) => code !== SPACE_LOW).map(findingKey),
  };
  const summary: RestorePlanSummary = {
    hash: createHash('sha256').update(JSON.stringify(decided)).digest('hex'),
    request,
    backupId: manifest.backupId,
    method: manifest.method,
    recoveryPoint: formatInstant(point.reaches),
    into: into.folder,
    confirm: into.folder,
    replaces: [],
    missing: [],
    readBytes: manifest.objects.reduce((sum, { stored }) => sum + stored.size, 0),
    needBytes,
    freeBytes,
    estimatedMs: null,
    details: [
      { label: 'version of the backup', value: manifest.server.version, unit: 'text' },
      { label: 'backup taken', value: manifest.recoveryPoint, unit: 'instant' },
      { label: 'timeline', value: plan.timeline, unit: 'count' },
      { label: 'WAL files to replay', value: plan.files.length, unit: 'count' },
      { label: 'WAL up to', value: formatLsn(plan.endLsn), unit: 'text' },
    ],
    warnings,
    refusals,
  };
  return { summary, point, path, owner };
}

const README = (copy: string, port: string): string => `This folder holds a PostgreSQL server that Lastgood restored.

It is stopped. It does not archive and does not replicate until it is released: the last lines of data/postgresql.auto.conf see to that.
Start it, as the owner of this folder, on a port of its own:

  postgres -D ${copy}/data -c port=${port} -c listen_addresses= -c unix_socket_directories=${copy}

Remove this folder when the server is no longer needed.
`;

/** Debian keeps the configuration outside the data folder: a copy without one gets what it needs to start. */
async function completeConfiguration(data: string, settings: object, owner: UnixUser | null): Promise<void> {
  const files = {
    'postgresql.conf': Object.entries(settings)
      .map(([name, value]) => `${name} = ${value}\n`)
      .join(''),
    'pg_hba.conf': 'local all all peer\n',
    'pg_ident.conf': '',
  };
  for (const [name, content] of Object.entries(files)) {
    const path = join(data, name);
    const isThere = await access(path).then(
      () => true,
      () => false,
    );
    if (isThere) continue;
    await writeFile(path, content, { mode: 0o600 });
    if (owner !== null) await chown(path, owner.uid, owner.gid);
  }
}

/**
 * Restores a server into a new folder below the one that the request names, recovers it to the point, reads it, and leaves it stopped and
 * held: it archives and replicates nothing until it is released. Throws PLAN_CHANGED, and what the recovery throws; then nothing is left.
 */
export async function restoreServer(
  parts: ServerRestoreParts,
  { request, jobId, planHash }: RestoreOrder,
  source: RecoverySource,
  context: EngineContext,
): Promise<RestoreResult> {
  const started = context.clock.monotonic();
  const { summary, point, path, owner } = await planServerRestore(parts, request, source, context);
  assertConsented(summary, planHash);
  const copy = `restore-${jobId.replaceAll('-', '').slice(-12)}`;
  const folder = join(path, copy);
  const params = { folder: summary.into, copy };
  const make = async (): Promise<void> => {
    try {
      await mkdir(folder, { mode: 0o700 });
      if (owner !== null) await chown(folder, owner.uid, owner.gid);
    } catch (error) {
      throw storeFailure(error, folder);
    }
  };
  await context.steps.run({ kind: 'postgres.make-copy', params, compensation: { kind: REMOVE_COPY, params } }, make);
  const { manifest } = point;
  const facts = physicalFactsOf(manifest);
  const { counts, reached } = await recover({ parts, point, folder, owner }, source, context);
  await removeRecoveryFolders(folder);
  await completeConfiguration(join(folder, 'data'), facts.settings, owner);
  await holdCopy(join(folder, 'data'));
  await writeFile(join(folder, 'README'), README(folder, '5433'));
  return {
    command: 'restore',
    backupId: manifest.backupId,
    scope: request.scope,
    recoveryPoint: reached,
    into: `${summary.into}/${copy}`,
    setAsideAs: null,
    warnings: summary.warnings,
    counts: [
      { label: 'databases', value: counts.databases, unit: 'count' },
      { label: 'tables', value: counts.tables, unit: 'count' },
    ],
    durationMs: Math.round(context.clock.monotonic() - started),
  };
}

interface CopyRun {
  readonly parts: ServerRestoreParts;
  readonly point: PlannedPoint;
  readonly folder: string;
  readonly owner: UnixUser | null;
}

/** Recovers the copy, reads what it holds, and ends the recovery, so that it starts as a server of its own. */
async function recover({ parts, point, folder, owner }: CopyRun, source: RecoverySource, context: EngineContext) {
  const { manifest, plan, stored, reaches } = point;
  const { majorVersion } = physicalFactsOf(manifest);
  const socketFolder = await mkdtemp(join(tmpdir(), 'lastgood-socket-'));
  try {
    await chmod(socketFolder, 0o700);
    if (owner !== null) await chown(socketFolder, owner.uid, owner.gid);
    await using server = await recoverCopy({
      backup: await source.open(manifest.backupId),
      plan,
      stored,
      folder,
      socketFolder,
      binDir: await findServerPrograms(parts.connection, majorVersion, context.signal),
      user: owner,
      contain: null,
      isDurable: true,
      connection: parts.connection,
      context,
    });
    context.progress({ phase: 'check', doneBytes: 0, totalBytes: null });
    const { counts } = await readCopy(server.connection, [], false, context.signal);
    await server.promote();
    await server.stop();
    const { lastXactAt } = server.point;
    // What was asked for by time is the state at that time, however long before it the last commit was.
    return { counts, reached: formatInstant(plan.reachesAt ?? lastXactAt ?? reaches) };
  } finally {
    await rm(socketFolder, { recursive: true, force: true });
  }
}

/** Removes the folder of a restore that did not succeed; nothing outside the restore folders of the agent file. */
export async function removeCopy(
  params: Compensation['params'],
  restoreFolders: Readonly<Record<string, string>>,
): Promise<void> {
  const parsed = removeCopyParams.safeParse(params);
  const path =
    parsed.success && Object.hasOwn(restoreFolders, parsed.data.folder)
      ? restoreFolders[parsed.data.folder]
      : undefined;
  if (!parsed.success || path === undefined)
    throw new Failure('CONFIG_INVALID', 'the agent file no longer has the restore folder of an interrupted restore', {
      remedy: 'Add the restore folder to the agent file again, or remove the folder of the restore by hand.',
    });
  const folder = join(path, parsed.data.copy);
  await stopServer(join(folder, 'data'));
  await rm(folder, { recursive: true, force: true });
}

/** A server of an agent that was killed may still write into the folder for a moment. */
async function stopServer(dataFolder: string): Promise<void> {
  const text = await readFile(join(dataFolder, 'postmaster.pid'), 'utf8').catch(() => '');
  const pid = Number(text.split('\n')[0]);
  const [owner, process_] = await Promise.all([
    stat(dataFolder).catch(() => undefined),
    stat(`/proc/${pid}`).catch(() => undefined),
  ]);
  // Restored code can write this file: a process of another user is not ours.
  if (!Number.isInteger(pid) || pid <= 1 || process_ === undefined || process_.uid !== owner?.uid) return;
  const folder = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  if (!folder.split('\0').includes(dataFolder)) return;
  try {
    process.kill(pid, 'SIGQUIT');
  } catch {
    // It has just ended.
  }
}
