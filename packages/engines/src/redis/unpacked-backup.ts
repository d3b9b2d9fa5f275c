import { createWriteStream } from 'node:fs';
import { chown, link, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ArtifactSource, EngineContext } from '@lastgood/core';
import type { ManifestObject } from '@lastgood/protocol';
import type { RedisConnection } from './connection-schema.ts';
import { unprivilegedUser } from './scratch-host.ts';
import { makeScratchFolder, SCRATCH_FILES } from './scratch-server.ts';
import { methodOf, rdbObjectOf, readStoredSet } from './stored-backup.ts';
import { streamThrough } from './stream-pipeline.ts';

/** The files of a backup on the disk, under the names that scratch servers load. */
export interface UnpackedBackup {
  readonly kind: 'rdb' | 'aof';
  readonly folder: string;
  /** The folder of the set below `folder`; null for an RDB file. */
  readonly setFolder: string | null;
  /** The names of the files, below `setFolder` or `folder`. */
  readonly names: readonly string[];
  /** What a check tool reads. */
  readonly checked: string;
  /** Who may read them besides the agent; undefined for the agent alone. */
  readonly user: { readonly uid: number; readonly gid: number } | undefined;
}
interface Unpacking {
  readonly connection: RedisConnection;
  readonly source: ArtifactSource;
  readonly context: EngineContext;
}

async function unpack(
  { source, context }: Unpacking,
  folder: string,
  user: UnpackedBackup['user'],
): Promise<UnpackedBackup> {
  const { signal } = context;
  const write = async (object: ManifestObject, path: string): Promise<void> => {
    const file = createWriteStream(path, { flags: 'wx', mode: 0o600 });
    await streamThrough([source.open(object, signal), file], signal, 'the restore test');
  };
  if (methodOf(source.manifest) === 'rdb') {
    const checked = join(folder, SCRATCH_FILES.rdb);
    await write(rdbObjectOf(source.manifest), checked);
    return { kind: 'rdb', folder, setFolder: null, names: [SCRATCH_FILES.rdb], checked, user };
  }
  const { manifest, members } = await readStoredSet(source, signal);
  const setFolder = SCRATCH_FILES.appendFolder;
  await mkdir(join(folder, setFolder), { mode: 0o700 });
  for (const { name, object } of members) await write(object, join(folder, setFolder, name));
  const manifestName = `${SCRATCH_FILES.appendFilename}.manifest`;
  const checked = join(folder, setFolder, manifestName);
  await writeFile(checked, manifest, { flag: 'wx', mode: 0o600 });
  return { kind: 'aof', folder, setFolder, names: [...members.map(({ name }) => name), manifestName], checked, user };
}

const pathsOf = ({ folder, setFolder, names }: UnpackedBackup): string[] => {
  const parent = setFolder === null ? folder : join(folder, setFolder);
  return [folder, parent, ...names.map((name) => join(parent, name))];
};

/** Unpacks a backup for the user that runs scratch servers while `work` runs. */
export async function withUnpacked<T>(
  unpacking: Unpacking,
  work: (unpacked: UnpackedBackup) => Promise<T>,
): Promise<T> {
  const { connection, context } = unpacking;
  const user = await unprivilegedUser(connection.scratchUser, context.signal);
  const folder = await makeScratchFolder(connection);
  try {
    const unpacked = await unpack(unpacking, folder, user);
    if (user !== undefined) for (const path of pathsOf(unpacked)) await chown(path, user.uid, user.gid);
    return await work(unpacked);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Links the files into the data folder of a scratch server. */
export async function linkInto({ folder, setFolder, names }: UnpackedBackup, dataDir: string): Promise<void> {
  if (setFolder !== null) await mkdir(join(dataDir, setFolder), { mode: 0o700 });
  for (const name of names) await link(join(folder, setFolder ?? '.', name), join(dataDir, setFolder ?? '.', name));
}
