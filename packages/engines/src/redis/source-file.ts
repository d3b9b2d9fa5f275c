import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { Failure } from '@lastgood/core';

const CHUNK = 1024 * 1024;
const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;
const REMEDY =
  'Check the file and its folder on the host of the database, and `dataDir` in the connection of the target.';

/**
 * One file of a server, opened once: what is read is of this file, also after the server has put another one in its place. A link,
 * a pipe or a device is refused, for the agent may be root and the folder belongs to the server.
 */
export class SourceFile implements AsyncDisposable {
  readonly path: string;
  readonly size: number;
  readonly #file: FileHandle;
  readonly #modifiedAt: bigint;

  private constructor(path: string, file: FileHandle, size: bigint, modifiedAt: bigint) {
    this.path = path;
    this.size = Number(size);
    this.#file = file;
    this.#modifiedAt = modifiedAt;
  }

  static async open(path: string): Promise<SourceFile> {
    // Without O_NONBLOCK a pipe would hold us up for ever.
    const file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK).catch((error: unknown) => {
      throw readFailure(path, error);
    });
    const found = await file.stat({ bigint: true });
    if (found.isFile()) return new SourceFile(path, file, found.size, found.mtimeNs);
    await file.close();
    throw new Failure('IO_ERROR', `${path} is not a regular file`, { remedy: REMEDY });
  }

  /** Reads from the start, up to `end` bytes of it, or all that was there when the file was opened. */
  async *#chunks(end: number, signal: AbortSignal): AsyncGenerator<Buffer> {
    for (let at = 0; at < end; ) {
      signal.throwIfAborted();
      const buffer = Buffer.allocUnsafe(Math.min(CHUNK, end - at));
      const { bytesRead } = await this.#file.read(buffer, 0, buffer.length, at).catch((error: unknown) => {
        throw readFailure(this.path, error);
      });
      if (bytesRead === 0) throw new Failure('SOURCE_CHANGED', `${this.path} became shorter`, { remedy: REMEDY });
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  }

  stream(signal: AbortSignal, end = this.size): Readable {
    return Readable.from(this.#chunks(end, signal), { objectMode: false, highWaterMark: CHUNK });
  }

  /** False when the file itself was written to since it was opened. */
  async isUnchanged(): Promise<boolean> {
    const { size, mtimeNs } = await this.#file.stat({ bigint: true });
    return Number(size) === this.size && mtimeNs === this.#modifiedAt;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}

function readFailure(path: string, error: unknown): Failure {
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
  if (code === 'ELOOP') return new Failure('IO_ERROR', `${path} is a symbolic link`, { cause: error, remedy: REMEDY });
  if (code === 'EACCES' || code === 'EPERM')
    return new Failure('IO_ERROR', `the agent may not read ${path}`, {
      cause: error,
      remedy: 'Run the agent as root or as a user that may read the files of the server, or set fileAccess to false.',
    });
  return new Failure('IO_ERROR', `${path} cannot be read (${code})`, { cause: error, remedy: REMEDY });
}
