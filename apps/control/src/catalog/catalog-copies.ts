import { createReadStream } from 'node:fs';
import { chmod, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type Clock, Failure, toWireError } from '@lastgood/core';
import { makePrivateFolder, publishFile, removeFile, syncFolder } from '@lastgood/host';
import type { Log } from '../log.ts';
import type { Catalog } from './catalog.ts';
import { checkCatalogFile } from './sqlite-catalog.ts';

const HOUR_MS = 3_600_000;
/** A copy is made when the newest is this old. */
const COPY_EVERY_MS = 24 * HOUR_MS;
/** After a failure it is tried again. */
const RETRY_MS = HOUR_MS;
const KEPT = 7;
const NAME = /^catalog-(\d{4}-\d\d-\d\d)T(\d\d)(\d\d)(\d\d)Z\.sqlite$/;
const PARTIAL = 'catalog.partial';

const nameAt = (ms: number): string => `catalog-${new Date(ms).toISOString().slice(0, 19).replaceAll(':', '')}Z.sqlite`;
function timeOf(name: string): number | null {
  const found = NAME.exec(name);
  return found === null ? null : Date.parse(`${found[1]}T${found[2]}:${found[3]}:${found[4]}Z`);
}

export interface CatalogCopiesParts {
  readonly catalog: Pick<Catalog, 'copyTo'>;
  readonly folder: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** Copies of the catalog in a folder, one a day, the newest seven. Each is checked before it counts. */
export class CatalogCopies {
  readonly #parts: CatalogCopiesParts;
  #newestMs: number | null;
  #retryAtMs = Number.NEGATIVE_INFINITY;

  private constructor(parts: CatalogCopiesParts, newestMs: number | null) {
    this.#parts = parts;
    this.#newestMs = newestMs;
  }

  /** Throws DATA_FOLDER_UNSAFE when others can read or write the folder. */
  static async open(parts: CatalogCopiesParts): Promise<CatalogCopies> {
    await makePrivateFolder(parts.folder);
    await rm(join(parts.folder, PARTIAL), { force: true });
    const times = (await readdir(parts.folder)).flatMap((name) => timeOf(name) ?? []);
    return new CatalogCopies(parts, times.length === 0 ? null : Math.max(...times));
  }

  /** When the newest copy was made; null without one. */
  get newestMs(): number | null {
    return this.#newestMs;
  }

  /** Makes a copy when one is due. A failure is logged, and `newestMs` shows it. */
  async step(nowMs: number): Promise<void> {
    const { clock, log } = this.#parts;
    // A clock that was set back must not keep copies from being made.
    const isDue = this.#newestMs === null || Math.abs(nowMs - this.#newestMs) >= COPY_EVERY_MS;
    if (!isDue || clock.monotonic() < this.#retryAtMs) return;
    try {
      await this.#copy(nowMs);
      this.#newestMs = nowMs;
    } catch (error) {
      this.#retryAtMs = clock.monotonic() + RETRY_MS;
      log.error({ error: toWireError(error) }, 'the catalog could not be copied');
    }
  }

  async #copy(nowMs: number): Promise<void> {
    const { catalog, folder, log } = this.#parts;
    const partial = join(folder, PARTIAL);
    await rm(partial, { force: true });
    await catalog.copyTo(partial);
    await chmod(partial, 0o600);
    checkCatalogFile(partial);
    const path = join(folder, nameAt(nowMs));
    await publishFile(path, (sink) => pipeline(createReadStream(partial), sink));
    await removeFile(partial);
    log.info({ path, bytes: (await stat(path)).size }, 'the catalog was copied');
    const copies = (await readdir(folder)).filter((name) => timeOf(name) !== null).sort();
    for (const name of copies.slice(0, -KEPT)) await removeFile(join(folder, name));
  }
}

/**
 * Puts a copy in the place of the catalog, before it is opened; the replaced files are kept beside it. Throws NOT_FOUND and CATALOG_INVALID,
 * and has changed nothing then.
 */
export async function putBackCopy(copy: string, catalogFile: string, nowMs: number): Promise<void> {
  const found = await stat(copy).catch(() => null);
  if (found?.isFile() !== true)
    throw new Failure('NOT_FOUND', `there is no copy ${copy}`, { remedy: 'Give the path of a copy of the catalog.' });
  const incoming = `${catalogFile}.incoming`;
  await rm(incoming, { force: true });
  await publishFile(incoming, (sink) => pipeline(createReadStream(copy), sink));
  try {
    checkCatalogFile(incoming);
  } catch (error) {
    await removeFile(incoming);
    throw error;
  }
  const suffix = `.replaced-${new Date(nowMs).toISOString()}`;
  // The log first: a catalog must never be opened with the log of another.
  for (const file of [`${catalogFile}-wal`, `${catalogFile}-shm`, catalogFile])
    await rename(file, `${file}${suffix}`).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
    });
  await rename(incoming, catalogFile);
  await syncFolder(dirname(catalogFile));
}
