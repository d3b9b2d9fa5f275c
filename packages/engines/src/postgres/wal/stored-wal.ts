import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { Failure, type SegmentLog } from '@lastgood/core';
import { contentKey, type StoredContent } from '../point-in-time/target.ts';
import type { SegmentSource } from '../point-in-time/wal-prefetch.ts';
import { type PartialSegment, type PathSegment, rangesOf, type WalHoldings } from './continuity.ts';
import { checkFirstPage, LONG_HEADER, walPageBytes } from './segment-check.ts';
import { segmentLogSource } from './segment-log.ts';
import { parseWalName, partialName, segmentName, segmentStart } from './segment-name.ts';
import { type OpenRecord, SegmentReader } from './segment-reader.ts';
import { parseTimelineHistory, type TimelineHistory } from './timeline-history.ts';
import type { WalOrigin } from './wal-inspector.ts';

export type ReadableLog = Pick<SegmentLog, 'read' | 'list'>;

/** Contents of segments that were read, by cluster and name. Stored segments never change. */
const CACHE = new Map<string, StoredContent & { readonly openRecord: OpenRecord | null }>();
const CACHED = 20_000;

/** The WAL of one cluster in one or more logs of a repository. Later logs only fill what the first does not have. */
export class StoredWal {
  readonly holdings: WalHoldings;
  /** The text of every history, by timeline. */
  readonly histories: ReadonlyMap<number, string>;
  readonly #logs: ReadonlyMap<string, ReadableLog>;
  readonly #origin: WalOrigin;
  readonly #signal: AbortSignal;

  private constructor(
    holdings: WalHoldings,
    histories: ReadonlyMap<number, string>,
    logs: ReadonlyMap<string, ReadableLog>,
    origin: WalOrigin,
    signal: AbortSignal,
  ) {
    this.holdings = holdings;
    this.histories = histories;
    this.#logs = logs;
    this.#origin = origin;
    this.#signal = signal;
  }

  /** Lists the logs and reads their timeline histories. Throws BACKUP_CORRUPT for a damaged history. */
  static async open(logs: readonly ReadableLog[], origin: WalOrigin, signal: AbortSignal): Promise<StoredWal> {
    const byName = new Map<string, ReadableLog>();
    for (const log of logs) for (const name of await log.list()) if (!byName.has(name)) byName.set(name, log);
    const { segmentBytes } = origin;
    const segments: { timeline: number; number: number }[] = [];
    const partialNames: { timeline: number; number: number }[] = [];
    const texts = new Map<number, string>();
    const histories = new Map<number, TimelineHistory>();
    for (const [name, log] of byName) {
      const parsed = parseWalName(name, segmentBytes);
      if (parsed?.kind === 'segment') segments.push(parsed);
      if (parsed?.kind === 'partial') partialNames.push(parsed);
      if (parsed?.kind !== 'history') continue;
      const content = await text(await log.read(name, signal));
      texts.set(parsed.timeline, content);
      histories.set(parsed.timeline, parseTimelineHistory(content, parsed.timeline));
    }
    const bare = { segmentBytes, ranges: rangesOf(segments), partials: [], histories };
    const reader = new StoredWal(bare, texts, byName, origin, signal);
    const partials: PartialSegment[] = [];
    for (const { timeline, number } of partialNames) {
      const { endLsn } = await reader.content({ timeline, number, isPartial: true });
      partials.push({ timeline, number, endLsn });
    }
    return new StoredWal({ ...bare, partials }, texts, byName, origin, signal);
  }

  nameOf({ timeline, number, isPartial }: PathSegment): string {
    return (isPartial ? partialName : segmentName)(timeline, number, this.#origin.segmentBytes);
  }
  async #open(file: PathSegment): Promise<Readable> {
    const name = this.nameOf(file);
    const log = this.#logs.get(name);
    if (log === undefined) throw new Failure('BACKUP_CORRUPT', `the WAL segment ${name} is not in the repository`);
    return await log.read(name, this.#signal);
  }

  /** Where a recovery gets the segments from. */
  get source(): SegmentSource {
    const { segmentBytes } = this.#origin;
    const log: ReadableLog = {
      list: async () => [...this.#logs.keys()].sort(),
      read: async (name, signal) => {
        const found = this.#logs.get(name);
        if (found === undefined) throw new Failure('NOT_FOUND', `the repository has no segment ${name}`);
        return await found.read(name, signal);
      },
    };
    return segmentLogSource(log, segmentBytes);
  }

  /** What a segment holds. Throws BACKUP_CORRUPT when its bytes are damaged or not what its name says. */
  async content(
    file: PathSegment,
    previous: OpenRecord | null = null,
  ): Promise<StoredContent & { readonly openRecord: OpenRecord | null }> {
    const key = `${this.#origin.systemId}/${this.nameOf(file)}/${previous === null ? '' : previous.lsn}`;
    const known = CACHE.get(key);
    if (known !== undefined) return known;
    const { latestXactAt, restorePoints, lastRecordLsn, endLsn, openRecord } = (
      await this.#read(file, previous, null)
    ).content();
    const content = { latestXactAt, restorePoints, lastRecordLsn, endLsn, openRecord };
    if (CACHE.size >= CACHED) CACHE.clear();
    CACHE.set(key, content);
    return content;
  }

  /** Where the commit of a transaction begins; null when it is not in this segment. */
  async commitOf(
    xid: string,
    file: PathSegment,
    previous: OpenRecord | null,
  ): Promise<{ readonly lsn: bigint | null; readonly openRecord: OpenRecord | null }> {
    const { wantedLsn, openRecord } = (await this.#read(file, previous, xid)).content();
    return { lsn: wantedLsn, openRecord };
  }

  /** Reads a segment to its end. Throws BACKUP_CORRUPT when its bytes are damaged or not what its name says. */
  async check(file: PathSegment): Promise<void> {
    await this.#read(file, null, null);
  }

  async #read(file: PathSegment, previous: OpenRecord | null, xid: string | null): Promise<SegmentReader> {
    const startLsn = segmentStart(file.number, this.#origin.segmentBytes);
    let reader: SegmentReader | null = null;
    let pageBytes = LONG_HEADER;
    let rest: Buffer = Buffer.alloc(0);
    for await (const chunk of (await this.#open(file)) as AsyncIterable<Buffer>) {
      rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      if (rest.length < LONG_HEADER) continue;
      if (reader === null) {
        const problem = checkFirstPage(rest, { ...this.#origin, startLsn, timeline: file.timeline });
        if (problem !== null)
          throw new Failure(
            'BACKUP_CORRUPT',
            `the WAL segment ${this.nameOf(file)} is not what its name says: ${problem.code}, ${problem.found} instead of ${problem.expected}`,
          );
        pageBytes = walPageBytes(rest);
        reader = new SegmentReader(startLsn, pageBytes, previous, xid);
      }
      const whole = rest.length - (rest.length % pageBytes);
      reader.push(rest.subarray(0, whole));
      rest = rest.subarray(whole);
    }
    if (reader === null) throw new Failure('BACKUP_CORRUPT', `the WAL segment ${this.nameOf(file)} is empty`);
    return reader;
  }

  /** Reads segments in their order until `isEnough`. */
  async contents(
    files: readonly PathSegment[],
    isEnough: (content: StoredContent) => boolean,
    onRead: (done: number) => void = () => undefined,
  ): Promise<Map<string, StoredContent>> {
    const contents = new Map<string, StoredContent>();
    let previous: OpenRecord | null = null;
    for (const file of files) {
      const content: StoredContent & { readonly openRecord: OpenRecord | null } = await this.content(file, previous);
      previous = content.openRecord;
      contents.set(contentKey(file), content);
      onRead(contents.size);
      if (isEnough(content)) break;
    }
    return contents;
  }

  /** Reads segments from the last one back until `isEnough`. A record that began in an earlier segment is not seen. */
  async contentsFromEnd(
    files: readonly PathSegment[],
    isEnough: (content: StoredContent) => boolean,
  ): Promise<Map<string, StoredContent>> {
    const contents = new Map<string, StoredContent>();
    for (const file of files.toReversed()) {
      const content = await this.content(file);
      contents.set(contentKey(file), content);
      if (isEnough(content)) break;
    }
    return contents;
  }
}

/** The system identifier in the header of the newest stored segment; null when no segment is stored. */
export async function storedSystemId(
  log: ReadableLog,
  segmentBytes: number,
  signal: AbortSignal,
): Promise<string | null> {
  const names = await log.list();
  const newest = names.findLast((name) => parseWalName(name, segmentBytes)?.kind === 'segment');
  if (newest === undefined) return null;
  const stream = await log.read(newest, signal);
  let header: Buffer = Buffer.alloc(0);
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    header = Buffer.concat([header, chunk]);
    if (header.length >= LONG_HEADER) break;
  }
  if (header.length < LONG_HEADER) throw new Failure('BACKUP_CORRUPT', `the WAL segment ${newest} is too short`);
  return header.readBigUInt64LE(24).toString();
}
