import { constants } from 'node:fs';
import { chown, type FileHandle, lchown, mkdir, open, symlink } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import { Failure } from '@lastgood/core';
import { removeFile, storeFailure } from '@lastgood/host';
import { parseTablespaceMap, TABLESPACE_MAP } from '../physical/tablespace-map.ts';
import { TarParser } from '../physical/tar-parser.ts';

export interface UnixUser {
  readonly uid: number;
  readonly gid: number;
}
/** One archive of a base backup, with the bytes that PostgreSQL sent. */
export interface StoredArchive {
  readonly tablespaceOid: string | null;
  /** The path on the source; null for the data folder. */
  readonly location: string | null;
  readonly content: AsyncIterable<Buffer>;
}
export interface UnpackOptions {
  /** Private and empty; becomes the data folder. */
  readonly dataFolder: string;
  /** Where the folder of a tablespace is made; it must not exist. */
  tablespaceFolder(oid: string): string;
  /** Who owns the files; null for ourselves. */
  readonly owner: UnixUser | null;
  /** Entries that are refused above this sum: an archive must not fill the disk. */
  readonly limitBytes: number;
  readonly signal: AbortSignal;
  onBytes(bytes: number): void;
}

/**
 * Signal files of a backup would start a standby or a recovery that nobody planned, and a process id would name a process of this host.
 */
const REMOVED = [TABLESPACE_MAP, 'standby.signal', 'recovery.signal', 'postmaster.pid', 'postmaster.opts'];

/**
 * Unpacks a base backup. Nothing is written outside its folders: links of the archives are left out, and the links of tablespaces are
 * made anew. Afterwards `tablespace_map` is gone; on the original host it would link the live tablespaces into the copy.
 * Errors: BACKUP_CORRUPT, NO_SPACE, IO_ERROR.
 */
export async function unpackServer(
  archives: AsyncIterable<StoredArchive>,
  options: UnpackOptions,
): Promise<{ readonly tablespaces: readonly string[] }> {
  const writer = new Unpacker(options);
  const linked: string[] = [];
  for await (const { tablespaceOid, location, content } of archives) {
    if (tablespaceOid === null) await writer.unpack(options.dataFolder, content);
    else if (location !== null && !isAbsolute(location))
      // A tablespace inside the data folder stays there.
      await writer.unpack(join(options.dataFolder, 'pg_tblspc', tablespaceOid), content);
    else {
      await writer.unpack(options.tablespaceFolder(tablespaceOid), content);
      linked.push(tablespaceOid);
    }
  }
  await writer.link(linked);
  return { tablespaces: linked };
}

class Unpacker {
  readonly #options: UnpackOptions;
  readonly #folders = new Set<string>();
  #left: number;

  constructor(options: UnpackOptions) {
    this.#options = options;
    this.#left = options.limitBytes;
  }

  async unpack(folder: string, content: AsyncIterable<Buffer>): Promise<void> {
    await this.#makeFolder(folder);
    const parser = new TarParser();
    let file: FileHandle | undefined;
    let path = folder;
    try {
      for await (const chunk of content) {
        this.#options.signal.throwIfAborted();
        for (const event of parser.push(chunk))
          if (event.kind === 'entry') {
            const { entry } = event;
            path = join(folder, entry.path);
            if (entry.type === 'directory') await this.#makeFolder(path);
            if (entry.type === 'file') file = await this.#create(path, entry.sizeBytes);
          } else if (event.kind === 'data') await file?.writeFile(event.bytes);
          else {
            await file?.close();
            file = undefined;
          }
        this.#options.onBytes(chunk.length);
      }
      parser.finish();
    } catch (error) {
      throw this.#options.signal.aborted ? this.#options.signal.reason : storeFailure(error, path);
    } finally {
      await file?.close();
    }
  }

  async #create(path: string, sizeBytes: number): Promise<FileHandle> {
    this.#left -= sizeBytes;
    if (this.#left < 0)
      throw new Failure(
        'BACKUP_CORRUPT',
        `the archives of the backup hold more than ${this.#options.limitBytes} bytes`,
      );
    await this.#makeFolder(dirname(path));
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const file = await open(path, flags, 0o600);
    if (this.#options.owner !== null) await file.chown(this.#options.owner.uid, this.#options.owner.gid);
    return file;
  }

  async #makeFolder(path: string): Promise<void> {
    if (this.#folders.has(path)) return;
    const first = await mkdir(path, { recursive: true, mode: 0o700 });
    const { owner } = this.#options;
    if (first !== undefined && owner !== null)
      for (let made = path; made.startsWith(first); made = dirname(made)) await chown(made, owner.uid, owner.gid);
    this.#folders.add(path);
  }

  /** Makes the links of the tablespaces, and compares them with the list in the backup. */
  async link(oids: readonly string[]): Promise<void> {
    const { dataFolder, owner } = this.#options;
    const map = join(dataFolder, TABLESPACE_MAP);
    const mapped = parseTablespaceMap(await readOptional(map)).map(({ oid }) => oid);
    const missing = mapped.filter((oid) => !oids.includes(oid));
    if (missing.length > 0)
      throw new Failure('BACKUP_CORRUPT', `the backup has no archive of the tablespaces ${missing.join(', ')}`);
    await this.#makeFolder(join(dataFolder, 'pg_tblspc'));
    for (const oid of oids) await symlink(this.#options.tablespaceFolder(oid), join(dataFolder, 'pg_tblspc', oid));
    if (owner !== null) for (const oid of oids) await lchown(join(dataFolder, 'pg_tblspc', oid), owner.uid, owner.gid);
    for (const name of REMOVED) await removeFile(join(dataFolder, name));
  }
}

async function readOptional(path: string): Promise<string> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw storeFailure(error, path);
  });
  if (file === undefined) return '';
  try {
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}
