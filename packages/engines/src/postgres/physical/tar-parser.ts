import { Failure } from '@lastgood/core';

const BLOCK = 512;
const EMPTY = Buffer.alloc(0);
const TYPES: Readonly<Record<string, TarEntry['type']>> = {
  '0': 'file',
  '\0': 'file',
  '2': 'symlink',
  '5': 'directory',
};

export interface TarEntry {
  /** Relative, without `.` and `..`, without a slash at its end. */
  readonly path: string;
  readonly type: 'file' | 'directory' | 'symlink';
  readonly sizeBytes: number;
}
export type TarEvent =
  | { readonly kind: 'entry'; readonly entry: TarEntry }
  /** A view of the pushed bytes. */
  | { readonly kind: 'data'; readonly bytes: Buffer }
  | { readonly kind: 'entry-end' };

const corrupt = (what: string): Failure =>
  new Failure('BACKUP_CORRUPT', `a tar archive of the backup is damaged: ${what}`);

/** Octal digits, or for sizes from 8 GiB on a base-256 number. */
function numberAt(header: Buffer, start: number, length: number): number {
  const field = header.subarray(start, start + length);
  if (((field[0] ?? 0) & 0x80) !== 0) {
    if (field.subarray(0, length - 6).some((byte, index) => byte !== (index === 0 ? 0x80 : 0)))
      throw corrupt('a number is too large');
    return field.readUIntBE(length - 6, 6);
  }
  const text = field
    .toString('latin1')
    .replace(/[\0 ]+$/, '')
    .trimStart();
  if (!/^[0-7]+$/.test(text)) throw corrupt('a number of a header cannot be read');
  return Number.parseInt(text, 8);
}
const textAt = (header: Buffer, start: number, length: number): string => {
  const field = header.subarray(start, start + length);
  const end = field.indexOf(0);
  return field.toString('utf8', 0, end < 0 ? length : end);
};

/** The path of an entry, or a refusal: nothing of an archive may be written outside the folder it is unpacked into. */
function safePath(raw: string): string {
  // PostgreSQL puts "./" before two folders of pg_wal.
  const path = raw.replace(/^\.\//, '').replace(/\/$/, '');
  const isUnsafe = path === '' || path.split('/').some((part) => part === '' || part === '.' || part === '..');
  if (isUnsafe) throw corrupt(`it names the unsafe path ${JSON.stringify(raw.slice(0, 200))}`);
  return path;
}

function entryOf(header: Buffer): TarEntry {
  let sum = 0;
  for (let index = 0; index < BLOCK; index += 1) sum += index >= 148 && index < 156 ? 0x20 : (header[index] ?? 0);
  if (sum !== numberAt(header, 148, 8)) throw corrupt('the checksum of a header is wrong');
  const type = TYPES[String.fromCharCode(header[156] ?? 0)];
  if (type === undefined) throw corrupt('it holds an entry that is not a file, a folder or a symbolic link');
  const prefix = textAt(header, 345, 155);
  const name = textAt(header, 0, 100);
  const path = safePath(prefix === '' ? name : `${prefix}/${name}`);
  const sizeBytes = numberAt(header, 124, 12);
  if (type !== 'file' && sizeBytes !== 0) throw corrupt('a folder or link has content');
  return { path, type, sizeBytes };
}

/**
 * Reads tar archives as PostgreSQL writes them (ustar, no extensions), piece by piece, and refuses everything else. Strict where
 * general libraries are lenient: hard links, devices, absolute paths and `..` are BACKUP_CORRUPT. Holds at most one header.
 */
export class TarParser {
  #header = EMPTY;
  /** Bytes of content that are left of the current entry, then of padding. */
  #content = 0;
  #padding = 0;
  #inEntry = false;
  #isEnded = false;

  *push(chunk: Buffer): Generator<TarEvent> {
    let rest = chunk;
    while (rest.length > 0) {
      if (this.#content > 0) {
        const bytes = rest.subarray(0, this.#content);
        this.#content -= bytes.length;
        rest = rest.subarray(bytes.length);
        yield { kind: 'data', bytes };
        if (this.#content === 0) yield* this.#endEntry();
      } else if (this.#padding > 0) {
        const skipped = Math.min(this.#padding, rest.length);
        this.#padding -= skipped;
        rest = rest.subarray(skipped);
      } else {
        const needed = rest.subarray(0, BLOCK - this.#header.length);
        rest = rest.subarray(needed.length);
        this.#header = Buffer.concat([this.#header, needed]);
        if (this.#header.length === BLOCK) yield* this.#readHeader();
      }
    }
  }

  *#readHeader(): Generator<TarEvent> {
    const header = this.#header;
    this.#header = EMPTY;
    const isZero = header.every((byte) => byte === 0);
    if (this.#isEnded && !isZero) throw corrupt('data follows its end');
    if (isZero) {
      this.#isEnded = true;
      return;
    }
    const entry = entryOf(header);
    this.#inEntry = true;
    this.#content = entry.sizeBytes;
    this.#padding = (BLOCK - (entry.sizeBytes % BLOCK)) % BLOCK;
    yield { kind: 'entry', entry };
    if (this.#content === 0) yield* this.#endEntry();
  }

  *#endEntry(): Generator<TarEvent> {
    this.#inEntry = false;
    yield { kind: 'entry-end' };
  }

  /** Throws BACKUP_CORRUPT when the archive ended inside an entry. Before PostgreSQL 15 the closing zero blocks are missing. */
  finish(): void {
    if (this.#inEntry || this.#padding > 0 || this.#header.length > 0) throw corrupt('it is cut off');
  }
}
