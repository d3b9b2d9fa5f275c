import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { storeFailure } from '@lastgood/host';
import { inspectSegment } from './inspect-segment.ts';
import type { SpooledFile } from './receive-spool.ts';
import type { SegmentProblem } from './segment-check.ts';
import { segmentStart } from './segment-name.ts';
import type { OpenRecord } from './segment-reader.ts';
import type { WalFile } from './segment-sink.ts';

/** A file that must not be stored under its name. It stays where it is. */
export interface InvalidWal {
  readonly name: string;
  readonly problem: SegmentProblem;
}
export interface WalOrigin {
  readonly systemId: string;
  readonly segmentBytes: number;
  readonly majorVersion: number | null;
}
/** Histories and backup labels are some hundred bytes. */
const LONGEST_TEXT = 1024 * 1024;

/** Reads and checks WAL files. In their order, records across segments are read as well. */
export class WalInspector {
  readonly #origin: WalOrigin;
  #last: { readonly timeline: number; readonly number: number; readonly open: OpenRecord | null } | undefined;

  constructor(origin: WalOrigin) {
    this.#origin = origin;
  }

  /** The file with its hash and content, or why it must not be stored. Symbolic links are not followed. */
  async inspect({ name, parsed, path }: SpooledFile): Promise<WalFile | InvalidWal> {
    const { kind, timeline } = parsed;
    if (parsed.kind === 'history' || parsed.kind === 'backup-history') {
      const bytes = await readText(path);
      if (bytes === null)
        return { name, problem: { code: 'wal-size', expected: `at most ${LONGEST_TEXT}`, found: 'more' } };
      const sha256 = createHash('sha256').update(bytes).digest('hex');
      const number = parsed.kind === 'history' ? null : parsed.number;
      return { kind, name, timeline, number, path, sizeBytes: bytes.length, sha256, content: null };
    }
    const { number } = parsed;
    const last = this.#last;
    const previous = last?.timeline === timeline && last.number === number - 1 ? last.open : null;
    const expected = { ...this.#origin, timeline, startLsn: segmentStart(number, this.#origin.segmentBytes) };
    const inspected = await inspectSegment(path, expected, kind === 'segment', previous);
    if (inspected.problem !== null) return { name, problem: inspected.problem };
    this.#last = { timeline, number, open: inspected.content?.openRecord ?? null };
    const { sizeBytes, sha256, content } = inspected;
    return { kind, name, timeline, number, path, sizeBytes, sha256, content };
  }
}

async function readText(path: string): Promise<Buffer | null> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW).catch((error: unknown) => {
    throw storeFailure(error, path);
  });
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(LONGEST_TEXT + 1), 0, LONGEST_TEXT + 1, 0);
    return bytesRead > LONGEST_TEXT ? null : buffer.subarray(0, bytesRead);
  } catch (error) {
    throw storeFailure(error, path);
  } finally {
    await file.close();
  }
}
