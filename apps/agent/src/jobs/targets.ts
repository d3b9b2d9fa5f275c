import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import {
  type Engine,
  Failure,
  type GroupPart,
  type Repository,
  type RotationCandidate,
  type Sized,
  type StoredBackup,
  suspectSizes,
} from '@lastgood/core';
import { createPostgresEngine } from '@lastgood/engines/postgres';
import { writeFileDurably } from '@lastgood/host';
import { type BackupSummary, type JobSpec, type TargetRef, uuidSchema, type WireError } from '@lastgood/protocol';
import { createFolderRepository, openFolderRepository, summaryOf } from '@lastgood/repository';
import { z } from 'zod';
import type { AgentConfig, TargetConfig } from '../config/agent-config.ts';
import { readIdentity } from '../config/identity.ts';
import type { Journal } from '../journal/journal.ts';
import { SerialQueue } from '../serial-queue.ts';

/** One target of the agent file with what its names mean on this host. */
export interface Target {
  readonly name: string;
  readonly ref: TargetRef;
  readonly config: TargetConfig;
  readonly engine: Engine;
  readonly graceMs: number;
  /** Opened anew for each job, so that an unmounted disk is noticed before anything is written; IO_ERROR when it does not answer. */
  repository(): Promise<Repository>;
}

const noteSchema = z.object({ path: z.string(), repositoryId: uuidSchema });

/** What is kept of a repository beside the journal: a journal that was lost or put aside must not make a mount point a new repository. */
async function readNote(file: string, path: string): Promise<string | undefined> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw new Failure('DATA_FOLDER_UNSAFE', `${file} cannot be read`, { cause: error });
  }
  try {
    const note = noteSchema.parse(JSON.parse(text));
    return note.path === path ? note.repositoryId : undefined;
  } catch (error) {
    throw new Failure('DATA_FOLDER_UNSAFE', `${file} does not say which repository lies in ${path}`, {
      cause: error,
      remedy: `See that the disk of ${path} is mounted, then remove ${file}.`,
    });
  }
}

const noteOf = (config: Pick<AgentConfig, 'dataDir'>, name: string): string =>
  join(config.dataDir, `repository-${name}.json`);

/** Which repository this host has met under a name of its agent file, as far as its file tells; undefined for one that is still to be made. */
export async function knownRepository(
  config: Pick<AgentConfig, 'dataDir' | 'repositories'>,
  name: string,
): Promise<string | undefined> {
  return await readNote(noteOf(config, name), config.repositories[name]?.path ?? '');
}

/** Refuses REPOSITORY_NOT_MOUNTED when the repository is not the one that was met before. */
export function checkKnown(path: string, known: string | undefined, repository: Pick<Repository, 'id'>): void {
  if (known === undefined || known === repository.id) return;
  throw new Failure(
    'REPOSITORY_NOT_MOUNTED',
    `${path} holds another repository (${repository.id}) than before (${known})`,
  );
}

/**
 * A repository is made once; afterwards a missing marker means that its disk is not there (B5), never that it may be made again.
 * Its id is kept twice, in the journal and in a file of its own.
 */
export async function openRepository(
  config: Pick<AgentConfig, 'dataDir' | 'environment' | 'host' | 'repositories'>,
  name: string,
  journal: Pick<Journal, 'note' | 'remember'>,
): Promise<Repository> {
  const options = config.repositories[name];
  if (options === undefined) throw new Failure('CONFIG_INVALID', `no repository is named "${name}"`);
  const { path, mustBeMount } = options;
  const { installId } = await readIdentity(config);
  const place = { path, mustBeMount, writer: installId };
  const key = `repository:${name}:${path}`;
  const file = noteOf(config, name);
  const inJournal = journal.note(key);
  const inFile =
    inJournal === undefined ? await readNote(file, path) : await readNote(file, path).catch(() => undefined);
  const known = inJournal ?? inFile;
  const repository = known === undefined ? await createFolderRepository(place) : await openFolderRepository(place);
  await repository.check();
  checkKnown(path, known, repository);
  if (inFile === undefined) await writeFileDurably(file, JSON.stringify({ path, repositoryId: repository.id }));
  if (inJournal === undefined) journal.remember(key, repository.id);
  return repository;
}

/** The targets of an agent file, by name; those that `before` has with the same settings stay the same objects. */
export function targetsOf(
  config: AgentConfig,
  journal: Journal,
  openings = new SerialQueue(),
  before?: { readonly config: AgentConfig; readonly targets: ReadonlyMap<string, Target> },
): Map<string, Target> {
  const targets = new Map<string, Target>();
  for (const [name, target] of Object.entries(config.targets)) {
    const settings = [target, config.repositories[target.repository]];
    const old = before?.targets.get(name);
    if (
      old !== undefined &&
      isDeepStrictEqual(settings, [old.config, before?.config.repositories[old.config.repository]])
    ) {
      targets.set(name, old);
      continue;
    }
    targets.set(name, {
      name,
      ref: { environment: config.environment, host: config.host, target: name },
      config: target,
      engine: createPostgresEngine(target.connection),
      graceMs: (config.repositories[target.repository]?.graceHours ?? 24) * 3_600_000,
      repository: () =>
        openings.run(config.repositories[target.repository]?.path ?? target.repository, () =>
          openRepository(config, target.repository, journal),
        ),
    });
  }
  return targets;
}

/** What this host refuses whatever the control plane asks for: unknown targets, and what its own file does not allow. */
export function refusalOf(targets: ReadonlyMap<string, Target>, spec: JobSpec): WireError | null {
  const target = targets.get(spec.target);
  if (target === undefined) return new Failure('NOT_FOUND', `this host has no target "${spec.target}"`).wireError;
  const { allow } = target.config;
  const refuse = (what: string): WireError =>
    new Failure('HOST_LIMIT', `the file of this host does not allow to ${what} "${target.name}"`).wireError;
  if (spec.command === 'restore' && !allow.restore.includes(spec.mode.type))
    return refuse(`restore (${spec.mode.type})`);
  if (spec.command === 'undo' && !allow.restore.includes('swap')) return refuse('undo a restore of');
  if (spec.command === 'rotate' && !spec.dryRun && !allow.rotate) return refuse('rotate');
  return null;
}

/** The groups that a backup belongs to: one for each database, so that a change of the set of databases starts nothing anew. */
export function partsOf({ engine, kind, objects }: StoredBackup['manifest']): GroupPart[] {
  const part = (database: string | null, bytes: number): GroupPart => ({
    group: JSON.stringify([engine, kind, database]),
    database,
    producedBytes: bytes,
  });
  const dumps = objects.filter((object) => object.role === 'dump');
  if (dumps.length > 0) return dumps.map((dump) => part(dump.database, dump.produced.size));
  return [
    part(
      null,
      objects.reduce((sum, object) => sum + object.produced.size, 0),
    ),
  ];
}

/** What a backup of these databases will about take, by the last one of each; 0 for what was never backed up. */
export function expectedBytes(backups: readonly StoredBackup[], databases: readonly string[]): number {
  const stored = new Map<string, number>();
  for (const { manifest } of backups)
    for (const { role, database, stored: bytes } of manifest.objects)
      if (role === 'dump' && database !== null) stored.set(database, bytes.size);
  return [...new Set(databases)].reduce((sum, database) => sum + (stored.get(database) ?? 0), 0);
}

/** What rotation and verdicts judge of a stored backup. */
const judged = ({ verified }: StoredBackup): Pick<Sized, 'state' | 'verifiedLevel'> => ({
  state: verified?.passed === false ? 'bad' : 'good',
  verifiedLevel: verified?.passed === true ? verified.level : null,
});

/** The backups of a target as rotation sees them. */
export const candidatesOf = (backups: readonly StoredBackup[]): RotationCandidate[] =>
  backups.map((backup) => ({
    backupId: backup.manifest.backupId,
    sequence: backup.manifest.sequence,
    finishedAt: backup.manifest.finishedAt,
    ...judged(backup),
    parts: partsOf(backup.manifest),
  }));

/** The summaries of a target's backups, oldest first; a database whose size falls out of line makes a good one suspect. */
export function summariesOf(backups: readonly StoredBackup[], repository: string): BackupSummary[] {
  const groups = Map.groupBy(
    candidatesOf(backups).flatMap((backup) => backup.parts.map((part) => ({ ...backup, ...part }))),
    (member) => member.group,
  );
  const odd = new Set(
    [...groups.values()].flatMap((group) =>
      suspectSizes(group).flatMap((suspect, index) => (suspect ? [group[index]?.backupId] : [])),
    ),
  );
  return backups.map((backup) => {
    const summary = summaryOf(backup, repository);
    return odd.has(summary.backupId) ? { ...summary, state: 'suspect' as const } : summary;
  });
}
