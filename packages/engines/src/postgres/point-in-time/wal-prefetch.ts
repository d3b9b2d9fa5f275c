import { chmod, chown, mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Bug } from '@lastgood/core';
import { storeFailure } from '@lastgood/host';
import type { PathSegment } from '../wal/continuity.ts';
import { historyName, segmentName } from '../wal/segment-name.ts';
import { ABSENT, FAILED, GIVEN, HISTORIES, PLANNED, READY, restoreScript, WANTED } from './restore-script.ts';
import type { UnixUser } from './unpack.ts';

const POLL_MS = 20;

/** Where a recovery gets WAL from. */
export interface SegmentSource {
  /**
   * Writes the bytes of a stored WAL file to a new file, checked against their SHA-256. A partial segment is filled up with zeros to
   * its full size. Throws when it is missing or damaged.
   */
  fetch(file: PathSegment, to: string, signal: AbortSignal): Promise<void>;
}
export interface PrefetchOptions {
  /** A private folder on the file system of the data folder. */
  readonly folder: string;
  readonly files: readonly PathSegment[];
  /** The text of every history that is stored, by timeline. */
  readonly histories: ReadonlyMap<number, string>;
  readonly segmentBytes: number;
  /** How many segments may wait to be replayed. */
  readonly ahead: number;
  readonly owner: UnixUser | null;
  readonly source: SegmentSource;
}

/** Fetches the WAL of a plan in its order, a little ahead of the replay, for `restoreScript`. */
export class WalPrefetch {
  readonly scriptPath: string;
  readonly #options: PrefetchOptions;
  #fetched = 0;

  constructor(options: PrefetchOptions) {
    this.#options = options;
    this.scriptPath = join(options.folder, 'restore-wal');
  }

  /** Segments that were fetched so far. */
  get fetched(): number {
    return this.#fetched;
  }

  /** Makes the folder and the script; before the server starts. */
  async prepare(): Promise<void> {
    const { folder, files, histories, owner } = this.#options;
    try {
      for (const name of ['', READY, HISTORIES]) await mkdir(join(folder, name), { recursive: true, mode: 0o700 });
      await writeFile(join(folder, PLANNED), files.map((file) => `${this.#nameOf(file)}\n`).join(''));
      for (const name of [GIVEN, ABSENT]) await writeFile(join(folder, name), '');
      for (const [timeline, text] of histories) await writeFile(join(folder, HISTORIES, historyName(timeline)), text);
      await writeFile(this.scriptPath, restoreScript(folder));
      await chmod(this.scriptPath, 0o700);
      if (owner === null) return;
      const names = ['', READY, HISTORIES, PLANNED, GIVEN, ABSENT, 'restore-wal'];
      const all = [...names, ...[...histories.keys()].map((timeline) => join(HISTORIES, historyName(timeline)))];
      for (const name of all) await chown(join(folder, name), owner.uid, owner.gid);
    } catch (error) {
      throw storeFailure(error, folder);
    }
  }

  /** Runs until everything is fetched. When a file cannot be had, the waiting script ends the recovery. */
  async run(signal: AbortSignal): Promise<void> {
    const { folder, files } = this.#options;
    const left = new Map(files.map((file) => [this.#nameOf(file), file]));
    try {
      while (left.size > 0) {
        const name = await this.#next(left, signal);
        const file = left.get(name);
        if (file === undefined) throw new Bug('a file that is not planned was to be fetched');
        left.delete(name);
        await this.#fetch(file, name, signal);
      }
    } catch (error) {
      await writeFile(join(folder, FAILED), '').catch(() => undefined);
      signal.throwIfAborted();
      throw storeFailure(error, folder);
    }
  }

  async #fetch(file: PathSegment, name: string, signal: AbortSignal): Promise<void> {
    const { folder, owner, source } = this.#options;
    const partial = join(folder, `${name}.partial`);
    await source.fetch(file, partial, signal);
    if (owner !== null) await chown(partial, owner.uid, owner.gid);
    await rename(partial, join(folder, READY, name));
    this.#fetched += 1;
  }

  /** The file that the script waits for, or the next in order as soon as there is room. */
  async #next(left: ReadonlyMap<string, PathSegment>, signal: AbortSignal): Promise<string> {
    const { folder, ahead } = this.#options;
    for (;;) {
      const wanted = (await readFile(join(folder, WANTED), 'utf8').catch(() => '')).trim();
      if (left.has(wanted)) return wanted;
      const [first] = left.keys();
      if (first !== undefined && (await readdir(join(folder, READY))).length < ahead) return first;
      await delay(POLL_MS, undefined, { signal });
    }
  }

  /** A partial segment is given to PostgreSQL under its full name: under its own it would not be read. */
  #nameOf({ timeline, number }: PathSegment): string {
    return segmentName(timeline, number, this.#options.segmentBytes);
  }
}
