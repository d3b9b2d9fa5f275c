const BLOCK = 512;
const LARGEST_PAX = 64 * 1024;
const MOST_NAMES = 100_000;

export type TarFault = 'tar-checksum' | 'tar-header' | 'unsafe-path';

/** What a tar stream holds, without its contents. */
export interface TarListing {
  readonly files: number;
  readonly bytes: number;
  /** Size of each file by its path, without `./`; only of the first 100,000 files. */
  readonly sizes: ReadonlyMap<string, number>;
}

/**
 * Walks a tar stream in constant memory: checks the checksum of each header and counts the files. Reads the PAX records `path` and `size`,
 * which Neo4j writes for long names and for files of 8 GiB and more. The first fault ends the walk.
 */
export class TarWalker {
  readonly #sizes = new Map<string, number>();
  readonly #header = Buffer.alloc(BLOCK);
  #filled = 0;
  #skip = 0;
  #pax: { readonly data: Buffer; filled: number } | null = null;
  #paxRecords: ReadonlyMap<string, string> = new Map();
  #zeroBlocks = 0;
  #files = 0;
  #bytes = 0;
  fault: TarFault | null = null;

  /** True when the two empty blocks were read that end every tar stream. */
  get isComplete(): boolean {
    return this.#zeroBlocks >= 2 && this.#filled === 0;
  }
  get listing(): TarListing {
    return { files: this.#files, bytes: this.#bytes, sizes: this.#sizes };
  }

  push(chunk: Buffer): void {
    for (let at = 0; at < chunk.length && this.fault === null; ) {
      if (this.#skip > 0) at += this.#skipBody(chunk, at);
      else at += this.#fillHeader(chunk, at);
    }
  }

  #skipBody(chunk: Buffer, at: number): number {
    const length = Math.min(this.#skip, chunk.length - at);
    const pax = this.#pax;
    if (pax !== null) {
      pax.filled += chunk.copy(pax.data, pax.filled, at, Math.min(at + length, at + pax.data.length - pax.filled));
      if (this.#skip === length) this.#endPax(pax.data);
    }
    this.#skip -= length;
    return length;
  }

  #fillHeader(chunk: Buffer, at: number): number {
    const length = chunk.copy(this.#header, this.#filled, at);
    this.#filled += length;
    if (this.#filled === BLOCK) {
      this.#filled = 0;
      this.#readHeader();
    }
    return length;
  }

  #readHeader(): void {
    const header = this.#header;
    if (header.every((byte) => byte === 0)) {
      this.#zeroBlocks += 1;
      return;
    }
    // After the end only padding may follow.
    if (this.#zeroBlocks > 0) return this.#fail('tar-header');
    let sum = 0;
    for (const [index, byte] of header.entries()) sum += index >= 148 && index < 156 ? 32 : byte;
    if (sum !== octal(header, 148, 8)) return this.#fail('tar-checksum');
    const size = Number(this.#paxRecords.get('size') ?? sizeOf(header));
    if (!Number.isSafeInteger(size) || size < 0) return this.#fail('tar-header');
    this.#skip = Math.ceil(size / BLOCK) * BLOCK;
    const type = String.fromCharCode(header[156] ?? 0);
    if (type === 'x') {
      if (size > LARGEST_PAX) return this.#fail('tar-header');
      this.#pax = { data: Buffer.alloc(size), filled: 0 };
      return;
    }
    if (type === '0' || type === '\0') this.#addFile(this.#paxRecords.get('path') ?? nameOf(header), size);
    this.#paxRecords = new Map();
  }

  #addFile(path: string, size: number): void {
    const name = path.replace(/^(?:\.\/)+/, '');
    if (name === '' || name.startsWith('/') || name.split('/').includes('..')) return this.#fail('unsafe-path');
    this.#files += 1;
    this.#bytes += size;
    if (this.#sizes.size < MOST_NAMES) this.#sizes.set(name, size);
  }

  #endPax(data: Buffer): void {
    this.#pax = null;
    const records = new Map<string, string>();
    for (let at = 0; at < data.length; ) {
      const space = data.indexOf(0x20, at);
      const length = Number(data.toString('latin1', at, space));
      if (space < 0 || !Number.isInteger(length) || length < 5 || at + length > data.length)
        return this.#fail('tar-header');
      const record = data.toString('utf8', space + 1, at + length - 1);
      const equals = record.indexOf('=');
      records.set(record.slice(0, equals), record.slice(equals + 1));
      at += length;
    }
    this.#paxRecords = records;
  }

  #fail(fault: TarFault): void {
    this.fault ??= fault;
  }
}

const text = (header: Buffer, at: number, length: number): string =>
  header.toString('utf8', at, at + length).replace(/\0.*$/s, '');
const octal = (header: Buffer, at: number, length: number): number =>
  Number.parseInt(text(header, at, length).trim() || '0', 8);
/** Octal digits, or a binary number behind a set highest bit. */
const sizeOf = (header: Buffer): number =>
  ((header[124] ?? 0) & 0x80) === 0 ? octal(header, 124, 12) : Number(header.readBigUInt64BE(128));
const nameOf = (header: Buffer): string => {
  const prefix = text(header, 345, 155);
  return prefix === '' ? text(header, 0, 100) : `${prefix}/${text(header, 0, 100)}`;
};
