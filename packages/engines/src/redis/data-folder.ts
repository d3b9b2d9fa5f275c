import { constants, type Stats } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { Failure } from '@lastgood/core';
import { publishFile } from '@lastgood/host';

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants;
const PRIVATE_FOLDER = 0o700;

export interface Ownership {
  readonly uid: number;
  readonly gid: number;
  readonly fileMode: number;
  readonly folderMode: number;
}

/**
 * An open folder below which names are looked up: the agent may be root, and the user of the server owns the folder and could put a link
 * in the place of any folder in it. On Linux paths go through the open folder, whatever happens to its name meanwhile.
 */
export class DataFolder implements AsyncDisposable {
  readonly path: string;
  readonly #handle: FileHandle;
  private constructor(path: string, handle: FileHandle) {
    this.path = path;
    this.#handle = handle;
  }

  /** The data folder of a server, which may itself be reached by a link. */
  static async open(path: string): Promise<DataFolder> {
    return new DataFolder(path, await openFolder(path, path, 0));
  }
  /** A folder in this one, which must be one and no link. */
  async child(name: string): Promise<DataFolder> {
    const path = join(this.path, name);
    return new DataFolder(path, await openFolder(this.at(name), path, O_NOFOLLOW));
  }

  /** The path of a name in this folder, for calls of the file system. */
  at(name: string): string {
    // Behind the link in /proc stands a folder: the dot keeps calls that follow no links from refusing it.
    return process.platform === 'linux' ? `/proc/self/fd/${this.#handle.fd}/./${name}` : join(this.path, name);
  }

  async names(): Promise<string[]> {
    return await this.#call('', readdir(this.at('')));
  }
  /** Null when there is none. */
  async find(name: string): Promise<Stats | null> {
    return await lstat(this.at(name)).catch((error: unknown) => {
      if (codeOf(error) === 'ENOENT') return null;
      throw this.#failure(name, error);
    });
  }
  async has(name: string): Promise<boolean> {
    return (await this.find(name)) !== null;
  }

  /** Makes a folder for the agent alone, unless it is there. */
  async makeFolder(name: string): Promise<void> {
    await mkdir(this.at(name), { mode: PRIVATE_FOLDER }).catch((error: unknown) => {
      if (codeOf(error) !== 'EEXIST') throw this.#failure(name, error);
    });
  }
  async publish(name: string, write: (sink: Writable) => Promise<void>): Promise<void> {
    await rm(this.at(`${name}.partial`), { force: true });
    await publishFile(this.at(name), write).catch((error: unknown) => {
      // An error of the file system names the path as it was looked up; one of the source passes.
      if (error instanceof Failure && error.cause !== undefined) throw this.#failure(name, error.cause);
      throw error;
    });
  }
  /** Gives a file or folder to the user of the server. */
  async give(name: string, { uid, gid, fileMode, folderMode }: Ownership): Promise<void> {
    try {
      const handle = await open(this.at(name), O_RDONLY | O_NOFOLLOW);
      try {
        const isFolder = (await handle.stat()).isDirectory();
        if (process.getuid?.() === 0) await handle.chown(uid, gid);
        await handle.chmod(isFolder ? folderMode : fileMode);
        await handle.sync();
      } finally {
        await handle.close();
      }
    } catch (error) {
      throw this.#failure(name, error);
    }
  }
  /** Moves an entry to another folder of the same file system. It must not be there yet. */
  async move(name: string, target: DataFolder, newName = name): Promise<void> {
    if (await target.has(newName))
      throw new Failure('TARGET_NOT_EMPTY', `${join(target.path, newName)} is in the way of ${join(this.path, name)}`, {
        remedy: 'Find out what made it, move it away, then repeat the job.',
      });
    await this.#call(name, rename(this.at(name), target.at(newName)));
  }
  async rename(name: string, newName: string): Promise<void> {
    await this.move(name, this, newName);
    await this.sync();
  }
  /** Removes an empty folder. */
  async removeEmpty(name: string): Promise<void> {
    await this.#call(name, rmdir(this.at(name)));
  }
  async remove(name: string): Promise<void> {
    await this.#call(name, rm(this.at(name), { recursive: true, force: true }));
  }
  /** Makes the names in this folder durable. */
  async sync(): Promise<void> {
    await this.#call('', this.#handle.sync());
  }
  async #call<T>(name: string, work: Promise<T>): Promise<T> {
    return await work.catch((error: unknown) => {
      throw this.#failure(name, error);
    });
  }
  #failure(name: string, error: unknown): Failure {
    return folderFailure(join(this.path, name), error);
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close();
  }
}

const codeOf = (error: unknown): string => (error instanceof Error && 'code' in error ? String(error.code) : '');

const REMEDY = 'Check the file system of the data folder, and that the agent may write there.';

function folderFailure(path: string, error: unknown): Failure {
  if (error instanceof Failure) return error;
  const code = codeOf(error);
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new Failure('NO_SPACE', `no space left for ${path}`, {
      cause: error,
      remedy: 'Free space in the data folder of the server.',
    });
  if (code === 'ELOOP' || code === 'ENOTDIR')
    return new Failure('DATA_FOLDER_UNSAFE', `${path} is a link or a file where a folder should be`, {
      cause: error,
      remedy: 'Find out what put it there, remove it, then repeat the job.',
    });
  return new Failure('IO_ERROR', `${path}: ${code === '' ? 'unknown error' : code}`, { cause: error, remedy: REMEDY });
}

async function openFolder(path: string, name: string, flags: number): Promise<FileHandle> {
  return await open(path, O_RDONLY | O_DIRECTORY | flags).catch((error: unknown) => {
    throw folderFailure(name, error);
  });
}
