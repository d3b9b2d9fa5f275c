import { createWriteStream } from 'node:fs';
import { chown, link, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ArtifactSource, EngineContext } from '@lastgood/core';
import type { Sandbox } from '@lastgood/host';
import type { ManifestObject } from '@lastgood/protocol';
import type { RedisConnection } from './connection-schema.ts';
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
}
interface Unpacking {
  readonly connection: RedisConnection;
  readonly source: ArtifactSource;
  readonly context: EngineContext;
  /** What reads the files. */
  readonly sandbox: Sandbox;
}

async function unpack({ source, context }: Unpacking, folder: string): Promise<UnpackedBackup> {
  const { signal } = context;
  const write = async (object: ManifestObject, path: string): Promise<void> => {
    const file = createWriteStream(path, { flags: 'wx', mode: 0o600 });
    await streamThrough([source.open(object, signal), file], signal, 'the restore test');
  };
  if (methodOf(source.manifest) === 'rdb') {
    const checked = join(folder, SCRATCH_FILES.rdb);
    await write(rdbObjectOf(source.manifest), checked);
    return { kind: 'rdb', folder, setFolder: null, names: [SCRATCH_FILES.rdb], checked };
  }
  const { manifest, members } = await readStoredSet(source, signal);
  const setFolder = SCRATCH_FILES.appendFolder;
  await mkdir(join(folder, setFolder), { mode: 0o700 });
  for (const { name, object } of members) await write(object, join(folder, setFolder, name));
  const manifestName = `${SCRATCH_FILES.appendFilename}.manifest`;
  const checked = join(folder, setFolder, manifestName);
  await writeFile(checked, manifest, { flag: 'wx', mode: 0o600 });
  return { kind: 'aof', folder, setFolder, names: [...members.map(({ name }) => name), manifestName], checked };
}

const pathsOf = ({ folder, setFolder, names }: UnpackedBackup): string[] => {
  const parent = setFolder === null ? folder : join(folder, setFolder);
  return [folder, parent, ...names.map((name) => join(parent, name))];
};

/** Unpacks a backup for the user of the sandbox while `work` runs. */
export async function withUnpacked<T>(
  unpacking: Unpacking,
  work: (unpacked: UnpackedBackup) => Promise<T>,
): Promise<T> {
  const {
    connection,
    sandbox: { user },
  } = unpacking;
  const folder = await makeScratchFolder(connection);
  try {
    const unpacked = await unpack(unpacking, folder);
    if (user !== null) for (const path of pathsOf(unpacked)) await chown(path, user.uid, user.gid);
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
