import type { Readable } from 'node:stream';

const MIB = 1024 * 1024;
/** S3 takes at most 10,000 parts. After each 2,000 the size doubles, so that 8 MiB parts hold 484 GiB. */
const PARTS_PER_SIZE = 2_000;

/** The size of a part of an upload; the first has number 1. */
export const partBytes = (number: number, partMiB: number): number =>
  partMiB * MIB * 2 ** Math.floor((number - 1) / PARTS_PER_SIZE);

export interface Part {
  readonly number: number;
  readonly bytes: Buffer;
  readonly isLast: boolean;
}

/** Cuts a stream of unknown length into parts. The last one may be shorter, and is empty only for an empty stream. */
export async function* partsOf(source: Readable, partMiB: number): AsyncGenerator<Part, void, void> {
  let chunks: Buffer[] = [];
  let size = 0;
  let number = 1;
  for await (const chunk of source) {
    let rest = chunk as Buffer;
    while (rest.length > 0) {
      const limit = partBytes(number, partMiB);
      // A full part is passed on only with the next byte: only then it is known not to be the last.
      if (size === limit) {
        yield { number, bytes: Buffer.concat(chunks, size), isLast: false };
        [chunks, size, number] = [[], 0, number + 1];
        continue;
      }
      const taken = rest.subarray(0, limit - size);
      chunks.push(taken);
      size += taken.length;
      rest = rest.subarray(taken.length);
    }
  }
  yield { number, bytes: Buffer.concat(chunks, size), isLast: true };
}
