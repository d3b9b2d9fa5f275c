import { Failure } from '@lastgood/core';

const INT = 5;
const OFFSET = 9;
const BLOCK_DATA = 1;
const BLOCK_LARGE_OBJECTS = 3;
/** Versions of the custom format whose layout is known: PostgreSQL 12 to 18. */
const KNOWN = { major: 1, least: 14, most: 16 };
const damaged = (what: string): Failure =>
  new Failure('TOOL_FAILED', `the output of pg_dump is not an archive: ${what}`);

/** Reads the numbers and texts of an archive; throws SHORT when more bytes must come first. */
const SHORT = Symbol('more bytes are needed');
class Cursor {
  readonly bytes: Buffer;
  at = 0;
  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }
  skip(count: number): number {
    const from = this.at;
    if (from + count > this.bytes.length) throw SHORT;
    this.at += count;
    return from;
  }
  /** A sign byte and four bytes, the least first. */
  int(): number {
    const from = this.skip(INT);
    const value = this.bytes.readUInt32LE(from + 1);
    return this.bytes[from] === 0 ? value : -value;
  }
  text(): string | null {
    const length = this.int();
    if (length < 0) return null;
    const from = this.skip(length);
    return this.bytes.toString('latin1', from, from + length);
  }
}

/**
 * Follows an uncompressed archive of `pg_dump --format=custom` while its bytes pass: the table of contents, then every block of
 * data to its closing mark. An archive that was cut anywhere, even between two blocks, is recognized without reading it again (A3).
 * The contents of rows are not checked: that is the work of verification.
 */
export class ArchiveWalker {
  /** Oids of tables and materialized views of which the archive carries the contents or the order to fill them. */
  readonly tables = new Set<string>();
  /** Set when the layout is not known to us; then nothing else is said. */
  unknownFormat: string | null = null;
  readonly #awaited = new Set<number>();
  #phase: 'head' | 'toc' | 'block' | 'object' | 'chunks' = 'head';
  #rest: Buffer = Buffer.alloc(0);
  #version = 0;
  #entries = 0;
  #skip = 0;
  #inObjects = false;

  push(chunk: Buffer): void {
    if (this.unknownFormat !== null) return;
    if (this.#rest.length === 0 && this.#skip >= chunk.length) {
      this.#skip -= chunk.length;
      return;
    }
    const cursor = new Cursor(this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]));
    let kept = 0;
    try {
      while (this.unknownFormat === null) {
        if (this.#phase === 'chunks') this.#chunks(cursor);
        else this.#step(cursor);
        kept = cursor.at;
      }
    } catch (error) {
      if (error !== SHORT) throw error;
      if (this.#phase === 'chunks') kept = cursor.at;
    }
    this.#rest = Buffer.from(cursor.bytes.subarray(kept));
  }

  /** What the archive lacks at its end, or null when it is whole. */
  missing(): string | null {
    if (this.unknownFormat !== null) return null;
    if (this.#phase === 'head' || this.#phase === 'toc') return 'it ends within its table of contents';
    if (this.#phase !== 'block' || this.#rest.length > 0) return 'it ends within a block of data';
    return this.#awaited.size > 0 ? `${this.#awaited.size} blocks of data of its table of contents are missing` : null;
  }

  /** Everything but the contents of tables; one complete step, or SHORT and nothing changed. */
  #step(cursor: Cursor): void {
    if (this.#phase === 'head') this.#head(cursor);
    else if (this.#phase === 'toc') this.#entry(cursor);
    else if (this.#phase === 'block') {
      const kind = cursor.bytes[cursor.skip(1)];
      const id = cursor.int();
      if (kind !== BLOCK_DATA && kind !== BLOCK_LARGE_OBJECTS) throw damaged(`block of kind ${kind}`);
      if (!this.#awaited.delete(id)) throw damaged(`block ${id} is not in its table of contents`);
      this.#inObjects = kind === BLOCK_LARGE_OBJECTS;
      this.#phase = this.#inObjects ? 'object' : 'chunks';
    } else this.#phase = cursor.int() === 0 ? 'block' : 'chunks';
  }

  /** One table or large object: a length before each piece, 0 after the last. A row is a piece, so this loop is kept bare. */
  #chunks(cursor: Cursor): void {
    const { bytes } = cursor;
    const end = bytes.length;
    let at = cursor.at + this.#skip;
    while (at + INT <= end) {
      if (bytes[at] !== 0) throw damaged('a piece of negative length');
      const length = bytes.readUInt32LE(at + 1);
      at += INT + length;
      if (length > 0) continue;
      this.#phase = this.#inObjects ? 'object' : 'block';
      this.#skip = 0;
      cursor.at = at;
      return;
    }
    this.#skip = Math.max(0, at - end);
    cursor.at = Math.min(at, end);
    throw SHORT;
  }

  #head(cursor: Cursor): void {
    const from = cursor.skip(11);
    const [major = 0, minor = 0, , intSize, offsetSize] = cursor.bytes.subarray(from + 5, from + 10);
    if (cursor.bytes.toString('latin1', from, from + 5) !== 'PGDMP') throw damaged('its first bytes are not PGDMP');
    if (major !== KNOWN.major || minor < KNOWN.least || minor > KNOWN.most || intSize !== 4 || offsetSize !== 8) {
      this.unknownFormat = `${major}.${minor}`;
      return;
    }
    if (minor >= 15) cursor.skip(1);
    else cursor.int();
    for (let field = 0; field < 7; field += 1) cursor.int(); // The time of its creation.
    for (let field = 0; field < 3; field += 1) cursor.text(); // The database and two versions.
    this.#entries = cursor.int();
    if (this.#entries <= 0) throw damaged('its table of contents is empty');
    this.#version = minor;
    this.#phase = 'toc';
  }

  #entry(cursor: Cursor): void {
    const id = cursor.int();
    const hasData = cursor.int() !== 0;
    cursor.text();
    const oid = cursor.text();
    cursor.text();
    const kind = cursor.text();
    cursor.int();
    for (let field = 0; field < 6; field += 1) cursor.text(); // Definition, drop, copy, schema, tablespace, access method.
    if (this.#version >= 16) cursor.int();
    for (let field = 0; field < 2; field += 1) cursor.text(); // Owner, and whether it has oids.
    while (cursor.text() !== null); // What it depends on.
    cursor.skip(OFFSET);
    if (hasData) this.#awaited.add(id);
    if (oid !== null && (kind === 'TABLE DATA' || kind === 'MATERIALIZED VIEW DATA')) this.tables.add(oid);
    this.#entries -= 1;
    if (this.#entries === 0) this.#phase = 'block';
  }
}
