import { createReadStream, createWriteStream } from 'node:fs';
import { truncate } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { Failure, type SegmentLog } from '@lastgood/core';
import { storeFailure } from '@lastgood/host';
import type { SegmentSource } from '../point-in-time/wal-prefetch.ts';
import { partialName, segmentName } from './segment-name.ts';
import type { SegmentSink } from './segment-sink.ts';

/** Stores WAL in the log of a repository. */
export const segmentLogSink = (log: SegmentLog): SegmentSink => ({
  async append(file, signal) {
    try {
      const open = () => createReadStream(file.path);
      const { produced } = await log.append(file.name, open, { signal, progress: () => undefined });
      if (produced.sha256 !== file.sha256)
        throw new Failure('IO_ERROR', `${file.path} was changed while it was stored`, {
          remedy: 'Find out what writes to this folder. The stored segment does not match the one that was checked.',
        });
      return 'stored';
    } catch (error) {
      if (error instanceof Failure && error.code === 'SEGMENT_CONFLICT') return 'conflict';
      throw error;
    }
  },
});

/** Reads WAL from the log of a repository. A segment that is not there fails with BACKUP_CORRUPT: the plan has counted on it. */
export const segmentLogSource = (log: Pick<SegmentLog, 'read'>, segmentBytes: number): SegmentSource => ({
  async fetch({ timeline, number, isPartial }, to, signal) {
    const name = (isPartial ? partialName : segmentName)(timeline, number, segmentBytes);
    try {
      await pipeline(await log.read(name, signal), createWriteStream(to, { flags: 'wx', mode: 0o600 }));
      if (isPartial) await truncate(to, segmentBytes);
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof Failure && error.code === 'NOT_FOUND')
        throw new Failure('BACKUP_CORRUPT', `the WAL segment ${name} is no longer in the repository`, { cause: error });
      throw storeFailure(error, to);
    }
  },
});
