import { Transform, type TransformCallback, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress, type Gunzip, type ZstdDecompress } from 'node:zlib';
import { type TarFault, TarWalker } from './tar-walker.ts';

const MAGIC_BYTES = 4;
/** The magic of Neo4j, the magic of zstd, and the descriptor of its first frame. */
const HEAD_BYTES = MAGIC_BYTES + 5;
const ZSTD_CHECKSUM_FLAG = 0x04;
/** In front of the tar stream of a zstd archive: `zstd`, version 1, number of files, number of bytes. */
const COUNTS_BYTES = 24;

export type ArchiveFault =
  | TarFault
  /** Neither of the two formats of neo4j-admin. */
  | 'unknown-format'
  | 'truncated'
  /** Does not decompress, or not to what its checksum says. */
  | 'corrupt-stream'
  /** A zstd frame without a checksum: damage could not be seen. neo4j-admin never writes one. */
  | 'no-checksum'
  /** More bytes follow the end, such as the tail of an older file that was overwritten. `load` rejects those. */
  | 'trailing-bytes'
  | 'unknown-version'
  /** The files are not as many, or not as large, as the head of the archive says. */
  | 'count-mismatch'
  /** No store, no transaction log or no checkpoint. */
  | 'store-files-missing';

export interface IntactArchive {
  readonly state: 'intact';
  readonly compression: 'zstd' | 'gzip';
  readonly archiveBytes: number;
  readonly files: number;
  /** Size of the unpacked files. */
  readonly bytes: number;
  readonly transactionLogs: number;
  /** Size of each file by its path; only of the first 100,000. */
  readonly sizes: ReadonlyMap<string, number>;
}
export interface DamagedArchive {
  readonly state: 'damaged';
  readonly fault: ArchiveFault;
}
export type ArchiveReport = IntactArchive | DamagedArchive;

type Decompressor = ZstdDecompress | Gunzip;
interface Body {
  readonly compression: 'zstd' | 'gzip';
  readonly decompressor: Decompressor;
  readonly ended: Promise<void>;
}

const faultOf = (error: unknown): ArchiveFault =>
  error instanceof Error && 'code' in error && error.code === 'Z_BUF_ERROR' ? 'truncated' : 'corrupt-stream';

/**
 * Checks an archive of `neo4j-admin database dump` while it passes by, without Java and in constant memory: the compressed stream to its
 * end with its checksum, each tar header, the counts in its head, and that a store with its logs is in it. The contents of the store
 * files are not checked beyond the checksum of the stream.
 */
class ArchiveCheck {
  readonly #tar = new TarWalker();
  #head = Buffer.alloc(0);
  #body: Body | null = null;
  #counts = Buffer.alloc(0);
  #size = 0;
  #fault: ArchiveFault | null = null;
  #wake: () => void = () => undefined;

  async write(chunk: Buffer): Promise<void> {
    this.#size += chunk.length;
    if (this.#fault !== null) return;
    if (this.#body !== null) return await this.#feed(this.#body, chunk);
    this.#head = Buffer.concat([this.#head, chunk]);
    if (this.#head.length < HEAD_BYTES) return;
    const body = this.#open(this.#head);
    if (body !== null) await this.#feed(body, this.#head.subarray(MAGIC_BYTES));
    this.#head = Buffer.alloc(0);
  }

  async end(): Promise<ArchiveReport> {
    const body = this.#body;
    if (body === null) this.#fault ??= 'truncated';
    else {
      if (this.#fault === null) body.decompressor.end();
      else body.decompressor.destroy();
      await body.ended;
      this.#fault ??= this.#firstFault(body);
    }
    if (this.#fault !== null || body === null) return { state: 'damaged', fault: this.#fault ?? 'truncated' };
    const { files, bytes, sizes } = this.#tar.listing;
    return {
      state: 'intact',
      compression: body.compression,
      archiveBytes: this.#size,
      files,
      bytes,
      transactionLogs: [...sizes.keys()].filter((name) => TRANSACTION_LOG.test(name)).length,
      sizes,
    };
  }

  #open(head: Buffer): Body | null {
    const magic = head.toString('latin1', 0, MAGIC_BYTES);
    if (magic !== 'DZV1' && magic !== 'DGV1') return this.#fail('unknown-format');
    const compression = magic === 'DZV1' ? 'zstd' : 'gzip';
    if (compression === 'zstd' && ((head[HEAD_BYTES - 1] ?? 0) & ZSTD_CHECKSUM_FLAG) === 0)
      return this.#fail('no-checksum');
    const decompressor = compression === 'zstd' ? createZstdDecompress() : createGunzip();
    const ended = new Promise<void>((resolve) => {
      decompressor.once('end', resolve);
      decompressor.once('close', resolve);
      decompressor.once('error', (error) => {
        this.#fault ??= faultOf(error);
        resolve();
        this.#wake();
      });
    });
    decompressor.on('data', (plain: Buffer) => this.#plain(plain, compression));
    this.#body = { compression, decompressor, ended };
    return this.#body;
  }

  /** Resolves when the bytes were decompressed, or cannot be: an archive that is read faster than that does not pile up. */
  async #feed({ decompressor }: Body, chunk: Buffer): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      decompressor.write(chunk, () => resolve());
    });
  }

  #plain(plain: Buffer, compression: Body['compression']): void {
    if (compression === 'gzip') return this.#tar.push(plain);
    const missing = COUNTS_BYTES - this.#counts.length;
    if (missing > 0) this.#counts = Buffer.concat([this.#counts, plain.subarray(0, missing)]);
    if (plain.length > missing) this.#tar.push(missing > 0 ? plain.subarray(missing) : plain);
  }

  #firstFault({ compression, decompressor }: Body): ArchiveFault | null {
    if (this.#tar.fault !== null) return this.#tar.fault;
    if (decompressor.bytesWritten !== this.#size - MAGIC_BYTES) return 'trailing-bytes';
    if (!this.#tar.isComplete) return 'truncated';
    if (compression === 'zstd') {
      const counts = this.#counts;
      if (counts.length < COUNTS_BYTES || counts.toString('latin1', 0, 4) !== 'zstd' || counts.readInt32BE(4) !== 1)
        return 'unknown-version';
      const { files, bytes } = this.#tar.listing;
      if (counts.readBigInt64BE(8) !== BigInt(files) || counts.readBigInt64BE(16) !== BigInt(bytes))
        return 'count-mismatch';
    }
    return hasStore([...this.#tar.listing.sizes.keys()]) ? null : 'store-files-missing';
  }

  #fail(fault: ArchiveFault): null {
    this.#fault ??= fault;
    return null;
  }
}

const TRANSACTION_LOG = /^neostore\.transaction\.db\.\d+$/;
/** The record formats have a file `neostore`, the block format of Enterprise files `block.…`. */
const hasStore = (names: readonly string[]): boolean =>
  [/^neostore$|^block\./, TRANSACTION_LOG, /^checkpoint\.\d+$/].every((pattern) =>
    names.some((name) => pattern.test(name)),
  );

/** Passes an archive on unchanged and checks it meanwhile. `report()` is valid once the stream has ended; damage is not an error of the stream. */
export class DumpArchiveTee extends Transform {
  readonly #check = new ArchiveCheck();
  #report: ArchiveReport = { state: 'damaged', fault: 'truncated' };

  report(): ArchiveReport {
    return this.#report;
  }
  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.push(chunk);
    this.#check.write(chunk).then(() => done(), done);
  }
  override _flush(done: TransformCallback): void {
    this.#check.end().then((report) => {
      this.#report = report;
      done();
    }, done);
  }
}

/** Reads an archive to its end and checks it. Rejects when it cannot be read; a damaged archive is a report. */
export async function checkDumpArchive(source: NodeJS.ReadableStream, signal: AbortSignal): Promise<ArchiveReport> {
  const check = new ArchiveCheck();
  const sink = new Writable({
    write: (chunk: Buffer, _encoding, done) => void check.write(chunk).then(() => done(), done),
  });
  await pipeline(source, sink, { signal });
  return await check.end();
}
