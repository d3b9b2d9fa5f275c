import {
  type Clock,
  candidatesOf,
  type EngineContext,
  Failure,
  oldestNeededSegments,
  planRotation,
  type Repository,
  type RotationInput,
  type StoredBackup,
  toWireError,
} from '@lastgood/core';
import { engineNamed } from '@lastgood/engines';
import type { CopyRotation, JobResult, JobSpec } from '@lastgood/protocol';
import { lockedIn } from './locked-backups.ts';
import { pruneLogs } from './prune-logs.ts';
import type { CopyRepository, Target } from './targets.ts';

type CopySpec = Extract<JobSpec, { command: 'copy' }>;
type CopyResult = Extract<JobResult, { command: 'copy' }>;
type CopiedInto = CopyResult['copies'][number];

const isGood = ({ verified, restorable }: StoredBackup): boolean => verified?.passed !== false && restorable.ok;

/** A backup with those that it depends on; all good ones for null. Oldest first, so that a copy never lacks what it depends on. */
function chosenBackups(all: readonly StoredBackup[], backupId: string | null): StoredBackup[] {
  if (backupId === null) return all.filter(isGood);
  const wanted = new Set<string>();
  const add = (id: string): void => {
    const found = all.find(({ manifest }) => manifest.backupId === id);
    if (found === undefined) throw new Failure('NOT_FOUND', `backup ${id} is not in the repository`);
    if (!isGood(found)) throw new Failure('BACKUP_CORRUPT', `backup ${id} is bad, and is not copied`);
    wanted.add(id);
    found.manifest.dependsOn.forEach(add);
  };
  add(backupId);
  return all.filter(({ manifest }) => wanted.has(manifest.backupId));
}

/** Copies backups into the other repositories of a target, and reads them back there. One repository that fails does not stop the others. */
export async function copyBackups(spec: CopySpec, target: Target, context: EngineContext): Promise<CopyResult> {
  const started = context.clock.monotonic();
  const destinations = target.copies.filter(({ name }) => spec.repository === null || spec.repository === name);
  if (destinations.length === 0)
    throw new Failure(
      'BAD_INPUT',
      spec.repository === null
        ? `target "${target.name}" has no other repositories`
        : `backups of target "${target.name}" are not copied to a repository "${spec.repository}"`,
      { remedy: 'Name the repository under `copies` of the target in the agent file.' },
    );
  const source = await target.repository();
  const chosen = chosenBackups((await source.list(target.ref)).backups, spec.backupId);
  const copies: CopiedInto[] = [];
  let first: Failure | undefined;
  for (const destination of destinations)
    try {
      copies.push(await copyInto(destination, source, chosen, target, context));
    } catch (error) {
      context.signal.throwIfAborted();
      if (!(error instanceof Failure)) throw error;
      context.log(`copying to "${destination.name}" failed: ${error.message}`);
      first ??= new Failure(error.code, `copying to the repository "${destination.name}" failed: ${error.message}`, {
        cause: error,
        remedy: error.wireError.remedy,
      });
    }
  if (first !== undefined) throw first;
  return { command: 'copy', copies, durationMs: Math.round(context.clock.monotonic() - started) };
}

async function copyInto(
  { name, open }: CopyRepository,
  source: Repository,
  chosen: readonly StoredBackup[],
  { ref, engine }: Target,
  context: EngineContext,
): Promise<CopiedInto> {
  const destination = await open();
  const { backups } = await destination.list(ref);
  const present = new Set(backups.filter(isGood).map(({ manifest }) => manifest.backupId));
  const removed = new Set(await destination.removed(ref));
  const result = { repository: name, copied: [] as string[], presentCount: 0, segmentCount: 0, copiedBytes: 0 };
  for (const { manifest, held } of chosen) {
    const { backupId } = manifest;
    context.signal.throwIfAborted();
    if (removed.has(backupId)) continue;
    if (present.has(backupId)) result.presentCount += 1;
    else {
      const { copiedBytes } = await source.copyTo(destination, ref, backupId, context);
      // Every object was read back.
      const at = new Date(context.clock.now()).toISOString();
      await destination.recordVerified(ref, backupId, { level: 1, at, passed: true });
      result.copied.push(backupId);
      result.copiedBytes += copiedBytes;
    }
    if (held !== null && held.by !== null && held.at !== null)
      await destination.hold(ref, backupId, { reason: held.reason, by: held.by, at: held.at });
  }
  const { stream } = engineNamed(engine.name);
  if (stream !== null) {
    const needed = oldestNeededSegments((await destination.list(ref)).backups.map(({ manifest }) => manifest));
    for (const [streamId, from] of needed)
      result.segmentCount += await source.copyLog(destination, ref, { streamId, from, isKept: stream.isKept }, context);
  }
  return result;
}

/** Removes what interrupted copies left, except objects that the next copy can use. A repository that cannot be read is left for later. */
export async function sweepCopies(target: Target): Promise<string[]> {
  if (target.copies.length === 0) return [];
  const { backups } = await (await target.repository()).list(target.ref);
  const resumable = new Set(backups.filter(isGood).map(({ manifest }) => manifest.backupId));
  const swept: string[] = [];
  for (const { open } of target.copies)
    try {
      swept.push(...(await (await open()).sweep(target.ref, new Set(), resumable)));
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
    }
  return swept;
}

export interface CopyRotationContext {
  readonly context: EngineContext;
  /** What the rotation of the first repository was planned with, apart from the backups. */
  readonly rules: Omit<RotationInput, 'backups' | 'storeNow' | 'removedLastDay' | 'holds'> & {
    readonly holds: readonly string[];
  };
  /** The backups that stay in the first repository: their copies stay as well. */
  readonly kept: ReadonlySet<string>;
}

/** Applies the rules of a rotation to each other repository. A failure of one is part of the result, and does not stop the others. */
export async function rotateCopies(target: Target, rotation: CopyRotationContext): Promise<CopyRotation[]> {
  const results: CopyRotation[] = [];
  for (const copy of target.copies)
    try {
      results.push(await rotateCopy(target, copy, rotation));
    } catch (error) {
      rotation.context.signal.throwIfAborted();
      results.push({ repository: copy.name, removedCount: 0, freedBytes: 0, error: toWireError(error) });
    }
  return results;
}

async function rotateCopy(
  { ref, engine }: Target,
  copy: CopyRepository,
  { context, rules, kept }: CopyRotationContext,
): Promise<CopyRotation> {
  const repository = await copy.open();
  const { backups } = await repository.list(ref);
  const held = backups.flatMap((backup) => (backup.held === null ? [] : [backup.manifest.backupId]));
  const removalLog = copy.removalLog(context.clock);
  const plan = planRotation({
    ...rules,
    backups: candidatesOf(backups),
    holds: new Set([...rules.holds, ...held]),
    storeNow: await repository.storeNow(),
    removedLastDay: removalLog.countLastDay,
  });
  if (plan.refused !== null) throw new Failure('CLOCK_UNTRUSTED', `the clock of "${copy.name}" is not trusted`);
  const { now } = rules;
  let freedBytes = await repository.purge(ref, now, copy.graceMs);
  const going = plan.removals.filter((backupId) => !kept.has(backupId));
  let removedCount = 0;
  for (const backupId of going) {
    context.signal.throwIfAborted();
    removalLog.record();
    // A copy that a kept copy depends on stays.
    if (await removeUnlessNeeded(repository, ref, backupId, now)) removedCount += 1;
  }
  if (copy.graceMs === 0) freedBytes += await repository.purge(ref, now, 0);
  const { stream } = engineNamed(engine.name);
  if (stream !== null) await pruneLogs(repository, ref, stream.isKept);
  const locked = await lockedIn(repository, ref, now, copy.graceMs);
  return {
    repository: copy.name,
    removedCount,
    freedBytes,
    ...(locked === null ? {} : { locked }),
  };
}

async function removeUnlessNeeded(
  repository: Repository,
  ref: Target['ref'],
  backupId: string,
  now: ReturnType<Clock['now']>,
): Promise<boolean> {
  try {
    await repository.remove(ref, backupId, now);
    return true;
  } catch (error) {
    if (error instanceof Failure && error.code === 'BACKUP_NEEDED') return false;
    throw error;
  }
}

/** Runs a change of one backup in every other repository that has it. */
export async function inCopiesOf(
  target: Target,
  backupId: string,
  change: (repository: Repository) => Promise<unknown>,
): Promise<void> {
  for (const copy of target.copies) {
    const repository = await copy.open();
    const found = await repository.read(target.ref, backupId).catch((error: unknown) => {
      if (error instanceof Failure && error.code === 'NOT_FOUND') return undefined;
      throw error;
    });
    if (found !== undefined) await change(repository);
  }
}

/** A repository of a target by name; the first one for undefined. */
export async function repositoryNamed(
  target: Target,
  name: string | undefined,
  options: Parameters<Target['repository']>[0],
): Promise<Repository> {
  if (name === undefined || name === target.config.repository) return await target.repository(options);
  const copy = target.copies.find((each) => each.name === name);
  if (copy === undefined)
    throw new Failure('NOT_FOUND', `target "${target.name}" has no repository "${name}"`, {
      remedy: `Its repositories are: ${[target.config.repository, ...target.copies.map((each) => each.name)].join(', ')}.`,
    });
  return await copy.open(options);
}
