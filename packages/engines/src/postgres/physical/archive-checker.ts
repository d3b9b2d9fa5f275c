import { createHash, type Hash } from 'node:crypto';
import { Failure } from '@lastgood/core';
import type { Lsn } from '../wal/lsn.ts';
import { BACKUP_LABEL } from './backup-label.ts';
import type { FileDigest } from './backup-manifest.ts';
import { type DamagedPage, hasPages, PageChecker } from './page-checksums.ts';
import { TABLESPACE_MAP } from './tablespace-map.ts';
import { type TarEvent, TarParser } from './tar-parser.ts';

/** Small files whose content is needed after the archive has passed. */
const KEPT = new Set([BACKUP_LABEL, TABLESPACE_MAP]);
const LONGEST_KEPT = 1024 * 1024;
/** More damaged pages are only counted. */
const LISTED_PAGES = 1_000;

/** How pages are checked; null when the cluster has no checksums. */
export interface PageCheckOptions {
  readonly startLsn: Lsn;
  readonly blockBytes: number;
}

/**
 * Reads the tar archives of a base backup while they stream to or from the repository: hashes every file, checks every page. The same
 * code checks a backup when it is taken and when it is verified. Memory: one page, and about 300 bytes per file.
 */
export class ArchiveChecker {
  readonly files = new Map<string, FileDigest>();
  readonly damagedPages: DamagedPage[] = [];
  readonly #kept = new Map<string, Buffer[]>();
  readonly #pages: PageCheckOptions | null;
  #damagedCount = 0;
  #checkedPages = 0;

  constructor(pages: PageCheckOptions | null) {
    this.#pages = pages;
  }

  get damagedPageCount(): number {
    return this.#damagedCount;
  }
  get checkedPageCount(): number {
    return this.#checkedPages;
  }
  /** The text of a small file of the data folder, such as `backup_label`; null when it was not there. */
  text(path: string): string | null {
    const chunks = this.#kept.get(path);
    return chunks === undefined ? null : Buffer.concat(chunks).toString('utf8');
  }

  /** Passes an archive on unchanged and checks it on the way. Throws BACKUP_CORRUPT for an archive that cannot be read. */
  async *check(tablespaceOid: string | null, content: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    const parser = new TarParser();
    const archive = new FilesOfArchive(this, tablespaceOid === null ? '' : `pg_tblspc/${tablespaceOid}/`);
    for await (const chunk of content) {
      for (const event of parser.push(chunk)) archive.on(event);
      yield chunk;
    }
    parser.finish();
  }

  pageChecker(path: string): PageChecker | null {
    if (this.#pages === null || !hasPages(path)) return null;
    return new PageChecker(path, this.#pages.startLsn, this.#pages.blockBytes);
  }
  addPages(damaged: readonly DamagedPage[]): void {
    this.#damagedCount += damaged.length;
    this.damagedPages.push(...damaged.slice(0, Math.max(0, LISTED_PAGES - this.damagedPages.length)));
  }
  addFile(path: string, digest: FileDigest, checkedPages: number): void {
    if (this.files.has(path)) throw new Failure('BACKUP_CORRUPT', `the backup holds the file ${path} twice`);
    this.files.set(path, digest);
    this.#checkedPages += checkedPages;
  }
  keep(path: string, bytes: Buffer): void {
    if (!KEPT.has(path)) return;
    const chunks = this.#kept.get(path) ?? [];
    this.#kept.set(path, chunks);
    if (chunks.reduce((sum, { length }) => sum + length, bytes.length) > LONGEST_KEPT)
      throw new Failure('BACKUP_CORRUPT', `the file ${path} of the backup is too long`);
    chunks.push(Buffer.from(bytes));
  }
}

/** The files of one archive, one after the other. */
class FilesOfArchive {
  readonly #checker: ArchiveChecker;
  readonly #prefix: string;
  #path: string | undefined;
  #size = 0;
  #hash: Hash | undefined;
  #pages: PageChecker | null = null;

  constructor(checker: ArchiveChecker, prefix: string) {
    this.#checker = checker;
    this.#prefix = prefix;
  }

  on(event: TarEvent): void {
    switch (event.kind) {
      case 'entry':
        if (event.entry.type !== 'file') return;
        this.#path = `${this.#prefix}${event.entry.path}`;
        this.#size = 0;
        this.#hash = createHash('sha256');
        this.#pages = this.#checker.pageChecker(this.#path);
        break;
      case 'data':
        this.#size += event.bytes.length;
        this.#hash?.update(event.bytes);
        if (this.#pages !== null) this.#checker.addPages(this.#pages.push(event.bytes));
        if (this.#path !== undefined) this.#checker.keep(this.#path, event.bytes);
        break;
      case 'entry-end':
        if (this.#path === undefined || this.#hash === undefined) return;
        this.#checker.addFile(
          this.#path,
          { sizeBytes: this.#size, sha256: this.#hash.digest('hex') },
          this.#pages?.checked ?? 0,
        );
        this.#path = undefined;
        break;
    }
  }
}
