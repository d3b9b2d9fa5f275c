import { constants } from 'node:fs';
import { type FileHandle, open, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { Bug, Failure } from '@lastgood/core';
import { removeFile, storeFailure, syncFolder, writeFileDurably } from '@lastgood/host';
import type { Lsn } from './lsn.ts';
import { historyName, parseWalName, partialName, segmentName, segmentStart, type WalName } from './segment-name.ts';

/** The mark of the segment that is being received. */
const OPEN = '.open';

export interface SpooledFile {
  readonly name: string;
  readonly parsed: WalName;
  readonly path: string;
}

interface OpenSegment {
  readonly file: FileHandle;
  readonly path: string;
  readonly timeline: number;
  readonly number: number;
}

/** Histories come first: a segment of a timeline is of no use without them. */
const inOrder = (a: SpooledFile, b: SpooledFile): number => rank(a) - rank(b) || (a.name < b.name ? -1 : 1);
const rank = ({ parsed }: SpooledFile): number => (parsed.kind === 'history' ? 0 : 1);

/**
 * The folder of a receiver: complete segments that wait for the repository, and the one that is being received. A name without `.open`
 * is complete and durable. One receiver at a time.
 */
export class ReceiveSpool {
  readonly #folder: string;
  readonly #segmentBytes: number;
  #open: OpenSegment | undefined;

  constructor(folder: string, segmentBytes: number) {
    this.#folder = folder;
    this.#segmentBytes = segmentBytes;
  }

  /** The complete files, in the order in which they are to be stored. */
  async files(): Promise<readonly SpooledFile[]> {
    const names = await readdir(this.#folder).catch((error: unknown) => {
      throw storeFailure(error, this.#folder);
    });
    return names
      .flatMap((name) => {
        const parsed = parseWalName(name, this.#segmentBytes);
        return parsed === null ? [] : [{ name, parsed, path: join(this.#folder, name) }];
      })
      .sort(inOrder);
  }

  /**
   * Prepares for a receiver that starts at a segment. An open segment of this place is kept and written over; one of another timeline
   * may hold what no server has any more, so it becomes a partial segment. Returns those.
   */
  async recover(timeline: number, number: number): Promise<readonly SpooledFile[]> {
    const partials: SpooledFile[] = [];
    for (const name of await readdir(this.#folder)) {
      if (name.endsWith('.history.partial')) await removeFile(join(this.#folder, name));
      if (!name.endsWith(OPEN)) continue;
      const parsed = parseWalName(name.slice(0, -OPEN.length), this.#segmentBytes);
      if (parsed?.kind !== 'segment') continue;
      if (parsed.timeline === timeline && parsed.number === number) continue;
      if (parsed.timeline === timeline) await removeFile(join(this.#folder, name));
      else partials.push(...(await this.#setAside(name, parsed.timeline, parsed.number)));
    }
    return partials;
  }

  /** Begins to receive a segment. A file that exists from before keeps its bytes until they are written over. */
  async begin(timeline: number, number: number): Promise<void> {
    if (this.#open !== undefined) throw new Bug('two segments are received at once');
    const path = join(this.#folder, `${segmentName(timeline, number, this.#segmentBytes)}${OPEN}`);
    try {
      const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
      this.#open = { file: await open(path, flags, 0o600), path, timeline, number };
    } catch (error) {
      throw storeFailure(error, path);
    }
    await syncFolder(this.#folder);
  }

  /** Writes bytes of the open segment. Bytes below `protectedEnd` must be those that are there: DATABASE_ERROR when they differ. */
  async write(at: Lsn, bytes: Buffer, protectedEnd: Lsn): Promise<void> {
    const { file, path, number } = this.#current();
    const offset = Number(at - segmentStart(number, this.#segmentBytes));
    try {
      const guarded = Number(protectedEnd > at ? protectedEnd - at : 0n);
      if (guarded > 0) await this.#compare(file, offset, bytes.subarray(0, guarded));
      let done = 0;
      while (done < bytes.length)
        done += (await file.write(bytes, done, bytes.length - done, offset + done)).bytesWritten;
    } catch (error) {
      throw storeFailure(error, path);
    }
  }

  async #compare(file: FileHandle, offset: number, bytes: Buffer): Promise<void> {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(bytes.length), 0, bytes.length, offset);
    if (bytesRead > 0 && !buffer.subarray(0, bytesRead).equals(bytes.subarray(0, bytesRead)))
      throw new Failure('DATABASE_ERROR', 'the server sends other WAL than it sent before at the same position', {
        remedy:
          'The server was set back or replaced. Keep the spool folder, and take a new base backup of this server.',
      });
  }

  /** Makes what was written of the open segment durable. */
  async sync(): Promise<void> {
    const current = this.#open;
    if (current === undefined) return;
    await current.file.datasync().catch((error: unknown) => {
      throw storeFailure(error, current.path);
    });
  }

  /** Ends the open segment, which is full: durable, then under its final name. */
  async complete(): Promise<SpooledFile> {
    const { timeline, number } = this.#current();
    return await this.#publish(segmentName(timeline, number, this.#segmentBytes));
  }

  /** Ends the open segment of a timeline that was left. Its rest is zeros, as PostgreSQL expects. */
  async completePartial(): Promise<SpooledFile | null> {
    if (this.#open === undefined) return null;
    const { file, timeline, number } = this.#open;
    await file.truncate(this.#segmentBytes);
    return await this.#publish(partialName(timeline, number, this.#segmentBytes));
  }

  async #publish(name: string): Promise<SpooledFile> {
    const { file, path } = this.#current();
    const final = join(this.#folder, name);
    try {
      await file.datasync();
      await file.close();
      this.#open = undefined;
      await rename(path, final);
    } catch (error) {
      throw storeFailure(error, path);
    }
    await syncFolder(this.#folder);
    return this.#spooled(name);
  }

  async addHistory(timeline: number, content: string): Promise<SpooledFile> {
    const name = historyName(timeline);
    await writeFileDurably(join(this.#folder, name), content);
    return this.#spooled(name);
  }

  /** Forgets a file that is stored. */
  async remove(file: SpooledFile): Promise<void> {
    await removeFile(file.path);
  }

  /** Closes the open segment as it is; the next receiver continues it. */
  async close(): Promise<void> {
    const current = this.#open;
    this.#open = undefined;
    await current?.file.close();
  }

  async #setAside(name: string, timeline: number, number: number): Promise<readonly SpooledFile[]> {
    const path = join(this.#folder, name);
    const partial = partialName(timeline, number, this.#segmentBytes);
    const file = await open(path, constants.O_RDWR | constants.O_NOFOLLOW);
    try {
      const isEmpty = (await file.stat()).size === 0;
      if (!isEmpty) {
        await file.truncate(this.#segmentBytes);
        await file.sync();
        await rename(path, join(this.#folder, partial));
        await syncFolder(this.#folder);
        return [this.#spooled(partial)];
      }
    } finally {
      await file.close();
    }
    await removeFile(path);
    return [];
  }

  #spooled(name: string): SpooledFile {
    const parsed = parseWalName(name, this.#segmentBytes);
    if (parsed === null) throw new Bug(`not a WAL file: ${name}`);
    return { name, parsed, path: join(this.#folder, name) };
  }
  #current(): OpenSegment {
    if (this.#open === undefined) throw new Bug('no segment is being received');
    return this.#open;
  }
}
