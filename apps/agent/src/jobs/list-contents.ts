import { type EngineContext, Failure, matchesPattern, type Repository, type StoredBackup } from '@lastgood/core';
import type { JobResult, JobSpec } from '@lastgood/protocol';
import type { Target } from './targets.ts';

type Spec = Extract<JobSpec, { command: 'list-contents' }>;
type Listed = Extract<JobResult, { command: 'list-contents' }>['backups'][number];

/** Of one backup that is listed as a whole. */
const MAX_ITEMS = 2_000;
/** Of each backup when all of a target are searched. */
const MAX_FOUND = 20;
const MAX_BACKUPS = 500;

async function listBackup(
  repository: Repository,
  { manifest }: StoredBackup,
  { name }: Spec,
  most: number,
  { ref, engine }: Target,
  context: EngineContext,
): Promise<Listed> {
  if (engine.listContents === undefined)
    throw new Failure('BAD_INPUT', `backups of ${engine.name} have no list of their contents`);
  const source = await repository.open(ref, manifest.backupId);
  const all = await engine.listContents(source, context);
  const wanted = name === null ? all : all.filter((item) => matchesPattern(item.name, [name, `*.${name}`]));
  return {
    backupId: manifest.backupId,
    recoveryPoint: manifest.recoveryPoint,
    items: wanted.slice(0, most),
    count: wanted.length,
  };
}

/**
 * Lists what backups of a target contain, by what was recorded when they were taken. Reads neither the server nor the bulk of a
 * backup. A backup that cannot be read does not stop the search in the others; it is counted.
 */
export async function listContents(spec: Spec, target: Target, context: EngineContext): Promise<JobResult> {
  const started = context.clock.monotonic();
  const repository = await target.repository();
  const result = (backups: Listed[], unread: number): JobResult => ({
    command: 'list-contents',
    backups,
    unread,
    durationMs: Math.round(context.clock.monotonic() - started),
  });
  if (spec.backupId !== null) {
    const stored = await repository.read(target.ref, spec.backupId);
    return result([await listBackup(repository, stored, spec, MAX_ITEMS, target, context)], 0);
  }
  const { backups, broken } = await repository.list(target.ref);
  const listed: Listed[] = [];
  let unread = broken.length;
  for (const stored of backups.toReversed().slice(0, MAX_BACKUPS)) {
    context.signal.throwIfAborted();
    try {
      const found = await listBackup(repository, stored, spec, MAX_FOUND, target, context);
      if (found.count > 0) listed.push(found);
    } catch (error) {
      context.signal.throwIfAborted();
      if (!(error instanceof Failure)) throw error;
      context.log(`the contents of backup ${stored.manifest.backupId} cannot be listed: ${error.message}`);
      unread += 1;
    }
  }
  return result(listed, unread);
}
