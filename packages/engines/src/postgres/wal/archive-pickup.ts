import { chmod, lstat, mkdir, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { removeFile, storeFailure, syncFolder, writeFileDurably } from '@lastgood/host';
import { STORED_FOLDER } from './archive-script.ts';
import type { SpooledFile } from './receive-spool.ts';
import { parseWalName } from './segment-name.ts';
import type { SegmentSink } from './segment-sink.ts';
import { type InvalidWal, WalInspector, type WalOrigin } from './wal-inspector.ts';

/** How many stored names the script remembers. PostgreSQL archives a name again after a crash, soon after the first time. */
const REMEMBERED = 256;
/** Temporary files: `.NAME.PID` of our script, `archtemp.NAME.PID.TIME` of `basic_archive`. */
const TEMPORARY = /^(?:\..+\.(\d+)|archtemp\..+\.(\d+)\.\d+)$/;

export interface PickupReport {
  readonly stored: readonly string[];
  /** Files that must not be stored; they stay in the spool. */
  readonly invalid: readonly InvalidWal[];
  /** Files whose name is stored with other bytes; they stay in the spool. */
  readonly conflicts: readonly string[];
  /** Temporary files of processes that are gone. */
  readonly swept: readonly string[];
}

/** Makes the folder of an `archive_command`, for the user that runs PostgreSQL. */
export async function makeArchiveSpool(folder: string, chownTo: (path: string) => Promise<void>): Promise<void> {
  try {
    await mkdir(join(folder, STORED_FOLDER), { recursive: true, mode: 0o755 });
    await chownTo(folder);
    await syncFolder(folder);
  } catch (error) {
    throw storeFailure(error, folder);
  }
}

/** Takes what `archive_command` has put into the spool to the repository. One pass at a time. */
export class ArchivePickup {
  readonly #folder: string;
  readonly #origin: WalOrigin;
  readonly #sink: SegmentSink;
  readonly #inspector: WalInspector;

  constructor(folder: string, origin: WalOrigin, sink: SegmentSink) {
    this.#folder = folder;
    this.#origin = origin;
    this.#sink = sink;
    this.#inspector = new WalInspector(origin);
  }

  /** Stores every complete file, oldest first. Throws what the sink throws: the rest waits for the next pass. */
  async pass(signal: AbortSignal): Promise<PickupReport> {
    const report = { stored: [] as string[], invalid: [] as InvalidWal[], conflicts: [] as string[] };
    const names = await this.#names();
    const swept = await this.#sweep(names);
    for (const file of names.flatMap((name) => this.#fileOf(name))) {
      signal.throwIfAborted();
      const inspected = await this.#inspector.inspect(file);
      if ('problem' in inspected) report.invalid.push(inspected);
      else if ((await this.#sink.append(inspected, signal)) === 'conflict') report.conflicts.push(file.name);
      else {
        // The marker first: a name without file and marker would be taken a second time with any content.
        await this.#remember(file.name, inspected.sha256);
        await removeFile(file.path);
        report.stored.push(file.name);
      }
    }
    if (report.stored.length > 0) await this.#forget();
    return { ...report, swept };
  }

  async #remember(name: string, sha256: string): Promise<void> {
    const marker = join(this.#folder, STORED_FOLDER, name);
    await writeFileDurably(marker, `${sha256}\n`);
    // The user of PostgreSQL reads it. Until it can, its archiver is refused and tries again.
    await chmod(marker, 0o644);
  }

  async #names(): Promise<string[]> {
    const names = await readdir(this.#folder).catch((error: unknown) => {
      throw storeFailure(error, this.#folder);
    });
    // Histories first, then by timeline and position.
    return names.sort((a, b) => Number(b.endsWith('.history')) - Number(a.endsWith('.history')) || (a < b ? -1 : 1));
  }

  #fileOf(name: string): SpooledFile[] {
    const parsed = parseWalName(name, this.#origin.segmentBytes);
    return parsed === null ? [] : [{ name, parsed, path: join(this.#folder, name) }];
  }

  async #sweep(names: readonly string[]): Promise<string[]> {
    const swept: string[] = [];
    for (const name of names) {
      const [, ours, basic] = TEMPORARY.exec(name) ?? [];
      const pid = Number(ours ?? basic);
      if (Number.isNaN(pid) || isRunning(pid)) continue;
      const path = join(this.#folder, name);
      if (!(await lstat(path)).isFile()) continue;
      await removeFile(path);
      swept.push(name);
    }
    return swept;
  }

  /** Removes all but the newest markers, by the order in which they were written. */
  async #forget(): Promise<void> {
    const folder = join(this.#folder, STORED_FOLDER);
    const names = await readdir(folder);
    if (names.length <= REMEMBERED) return;
    const dated = await Promise.all(
      names.map(async (name) => ({ name, at: (await stat(join(folder, name))).mtimeMs })),
    );
    const old = dated.sort((a, b) => b.at - a.at).slice(REMEMBERED);
    for (const { name } of old) await removeFile(join(folder, name));
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
