import { constants } from 'node:fs';
import { copyFile, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Failure } from '@lastgood/core';
import { rangesOf } from '../../src/postgres/wal/continuity.ts';
import type { StoredWal } from '../../src/postgres/wal/receiver-start.ts';
import { parseWalName } from '../../src/postgres/wal/segment-name.ts';
import type { AppendOutcome, SegmentSink, WalFile } from '../../src/postgres/wal/segment-sink.ts';
import { parseTimelineHistory, type TimelineHistory } from '../../src/postgres/wal/timeline-history.ts';

/** A folder that stands for the repository. `hold` makes it slow, `failWith` makes it fail. */
export class FolderSink implements SegmentSink {
  readonly folder: string;
  readonly appended: WalFile[] = [];
  failWith: Failure | undefined;
  #held: Promise<void> = Promise.resolve();
  #release: () => void = () => undefined;

  constructor(folder: string) {
    this.folder = folder;
  }
  hold(): void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#held = promise;
    this.#release = resolve;
  }
  release(): void {
    this.#release();
  }
  async append(file: WalFile, signal: AbortSignal): Promise<AppendOutcome> {
    await Promise.race([
      this.#held,
      new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true })),
    ]);
    if (this.failWith !== undefined) throw this.failWith;
    const to = join(this.folder, file.name);
    try {
      await copyFile(file.path, to, constants.COPYFILE_EXCL);
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
      if (!(await readFile(to)).equals(await readFile(file.path))) return 'conflict';
    }
    this.appended.push(file);
    return 'stored';
  }
  async names(): Promise<string[]> {
    return (await readdir(this.folder)).toSorted();
  }
}

/** What a repository in a folder holds. */
export async function storedIn(folder: string, segmentBytes: number, systemId: string): Promise<StoredWal> {
  const names = await readdir(folder);
  const histories = new Map<number, TimelineHistory>();
  const segments: { timeline: number; number: number }[] = [];
  for (const name of names) {
    const parsed = parseWalName(name, segmentBytes);
    if (parsed?.kind === 'segment') segments.push(parsed);
    if (parsed?.kind === 'history')
      histories.set(parsed.timeline, parseTimelineHistory(await readFile(join(folder, name), 'utf8'), parsed.timeline));
  }
  return {
    systemId: segments.length === 0 ? null : systemId,
    holdings: { segmentBytes, ranges: rangesOf(segments), partials: [], histories },
  };
}
