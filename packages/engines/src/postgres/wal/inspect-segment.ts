import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { storeFailure } from '@lastgood/host';
import { checkFirstPage, type SegmentExpectation, type SegmentProblem, walPageBytes } from './segment-check.ts';
import { type OpenRecord, type SegmentContent, SegmentReader } from './segment-reader.ts';

const CHUNK = 1024 * 1024;

export interface InspectedSegment {
  readonly sizeBytes: number;
  readonly sha256: string;
  /** Why this file must not be archived under its name; null when it may. */
  readonly problem: SegmentProblem | null;
  /** Null when there is a problem. */
  readonly content: SegmentContent | null;
}

/**
 * Reads a WAL file once: hash, header, every page header, and what it holds. A partial segment (`isComplete` false) may end anywhere.
 * Does not follow symbolic links. Errors: IO_ERROR, REPOSITORY_UNSAFE.
 */
export async function inspectSegment(
  path: string,
  expected: SegmentExpectation,
  isComplete: boolean,
  previous: OpenRecord | null,
): Promise<InspectedSegment> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW).catch((error: unknown) => {
    throw storeFailure(error, path);
  });
  try {
    const hash = createHash('sha256');
    const buffer = Buffer.allocUnsafe(CHUNK);
    let sizeBytes = 0;
    let problem: SegmentProblem | null = null;
    let reader: SegmentReader | null = null;
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, CHUNK, sizeBytes);
      if (bytesRead === 0) break;
      const bytes = buffer.subarray(0, bytesRead);
      hash.update(bytes);
      if (sizeBytes === 0) {
        problem = checkFirstPage(bytes, expected);
        if (problem === null) reader = new SegmentReader(expected.startLsn, walPageBytes(bytes), previous);
      }
      if (problem === null) reader?.push(bytes);
      sizeBytes += bytesRead;
    }
    const isSize = isComplete
      ? sizeBytes === expected.segmentBytes
      : sizeBytes <= expected.segmentBytes && sizeBytes > 0;
    if (problem === null && !isSize)
      problem = { code: 'wal-size', expected: String(expected.segmentBytes), found: String(sizeBytes) };
    else if (problem === null && isComplete && reader?.stop === 'unwritten')
      problem = { code: 'wal-page', expected: 'records up to its end', found: `end at ${reader.content().endLsn}` };
    const content = problem === null && reader !== null ? reader.content() : null;
    return { sizeBytes, sha256: hash.digest('hex'), problem, content };
  } catch (error) {
    throw storeFailure(error, path);
  } finally {
    await file.close();
  }
}
