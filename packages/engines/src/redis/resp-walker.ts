const STAR = 0x2a;
const DOLLAR = 0x24;
const HASH = 0x23;
const CR = 0x0d;
const LF = 0x0a;
const ZERO = 0x30;
const NINE = 0x39;
const EMPTY = Buffer.alloc(0);
/** A header line is a number; an annotation is short. Longer ones are damage. */
const LONGEST_LINE = 1024;
/** Only a command with a name as long as MULTI or EXEC is looked at. */
const NAME_LENGTHS = { least: 4, most: 5 };

export interface RespReport {
  readonly commands: number;
  readonly bytes: number;
  /** The file up to here consists of complete commands and complete transactions. */
  readonly completeBytes: number;
  /** `truncated`: it ends within a command or a transaction. `damaged`: something other than a command follows. */
  readonly state: 'whole' | 'truncated' | 'damaged';
}

/**
 * Follows the commands of an append-only file while its bytes pass, in bounded memory. A file of commands has no checksum: a changed
 * value is not noticed here.
 */
export class RespWalker {
  #state: 'command' | 'argument' | 'data' = 'command';
  #damaged = false;
  /** The part of a line that has come so far. */
  #line: Buffer = Buffer.alloc(0);
  #argumentsLeft = 0;
  #isFirst = false;
  /** Bytes of an argument, with its line end, that are still to come. */
  #dataLeft = 0;
  #name: Buffer | null = null;
  #inTransaction = false;
  #commands = 0;
  #bytes = 0;
  #complete = 0;

  push(chunk: Buffer): void {
    const start = this.#bytes;
    this.#bytes += chunk.length;
    let at = 0;
    while (at < chunk.length && !this.#damaged) {
      if (this.#state === 'data') at = this.#data(chunk, at);
      else at = this.#takeLine(chunk, at);
      if (this.#state === 'command' && this.#line.length === 0 && !this.#inTransaction && !this.#damaged)
        this.#complete = start + at;
    }
  }

  #data(chunk: Buffer, at: number): number {
    const taken = Math.min(this.#dataLeft, chunk.length - at);
    if (this.#name !== null) {
      const piece = chunk.subarray(at, at + taken);
      this.#name = this.#name.length === 0 ? piece : Buffer.concat([this.#name, piece]);
    }
    // The last two bytes are the line end.
    for (let byte = Math.max(0, this.#dataLeft - 2); byte < this.#dataLeft && byte < taken; byte += 1) {
      const expected = this.#dataLeft - byte === 2 ? CR : LF;
      if (chunk[at + byte] !== expected) this.#damaged = true;
    }
    this.#dataLeft -= taken;
    if (this.#dataLeft === 0 && !this.#damaged) this.#endOfArgument();
    return at + taken;
  }

  #endOfArgument(): void {
    if (this.#name !== null) {
      const name = this.#name.subarray(0, -2).toString('latin1').toLowerCase();
      if (name === 'multi') this.#inTransaction = true;
      if (name === 'exec') this.#inTransaction = false;
      this.#name = null;
    }
    this.#argumentsLeft -= 1;
    this.#state = this.#argumentsLeft > 0 ? 'argument' : 'command';
    if (this.#argumentsLeft === 0) this.#commands += 1;
  }

  #takeLine(chunk: Buffer, at: number): number {
    const next = this.#line.length === 0 ? this.#takeWholeHeader(chunk, at) : null;
    if (next !== null) return next;
    const end = chunk.indexOf(LF, at);
    const piece = chunk.subarray(at, end < 0 ? chunk.length : end + 1);
    const line = Buffer.concat([this.#line, piece]);
    if (line.length > LONGEST_LINE) this.#damaged = true;
    else if (end < 0) this.#line = line;
    else {
      this.#line = Buffer.alloc(0);
      const isAnnotation = this.#state === 'command' && line[0] === HASH;
      if (!isAnnotation && this.#takeWholeHeader(line, 0) === null) this.#damaged = true;
    }
    return end < 0 ? chunk.length : end + 1;
  }

  /** `*3\r\n` or `$5\r\n`: returns the place behind it; null, and nothing changed, when it is not there as a whole. */
  #takeWholeHeader(bytes: Buffer, from: number): number | null {
    let at = from + 1;
    let count = 0;
    for (let digit = bytes[at]; digit !== undefined && digit >= ZERO && digit <= NINE; digit = bytes[at]) {
      count = count * 10 + digit - ZERO;
      at += 1;
    }
    if (at === from + 1 || bytes[at] !== CR || bytes[at + 1] !== LF) return null;
    const kind = bytes[from];
    if (this.#state === 'command' && kind === STAR && count > 0) {
      this.#argumentsLeft = count;
      this.#isFirst = true;
      this.#state = 'argument';
    } else if (this.#state === 'argument' && kind === DOLLAR) {
      this.#dataLeft = count + 2;
      const isName = this.#isFirst && count >= NAME_LENGTHS.least && count <= NAME_LENGTHS.most;
      this.#name = isName ? EMPTY : null;
      this.#isFirst = false;
      this.#state = 'data';
    } else if (kind === HASH && this.#state === 'command') return at + 2;
    else this.#damaged = true;
    return at + 2;
  }

  report(): RespReport {
    const isWhole = !this.#damaged && this.#complete === this.#bytes;
    return {
      commands: this.#commands,
      bytes: this.#bytes,
      completeBytes: this.#complete,
      state: this.#damaged ? 'damaged' : isWhole ? 'whole' : 'truncated',
    };
  }
}
