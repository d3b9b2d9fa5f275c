import type { Writable } from 'node:stream';
import { Failure } from '@lastgood/core';
import { snapshotTimeOf } from './fingerprint.ts';
import { judgeRdb, type RdbReport } from './rdb-report.ts';
import { RdbTap } from './rdb-tap.ts';
import { SourceFile } from './source-file.ts';
import { streamThrough } from './stream-pipeline.ts';

export interface RdbFileRequest {
  readonly path: string;
  /** The file must be of a save that began at this second of the server's clock or later. */
  readonly notBefore: number;
  readonly onBytes?: (doneBytes: number) => void;
  readonly signal: AbortSignal;
}

/**
 * Streams the RDB file of a server into the sink while other saves may replace it, and walks it. Fails with TOOL_FAILED when the file
 * is damaged, CONFIG_INVALID when it is not the one that the server has just written, SOURCE_CHANGED when it was written to.
 */
export async function copyRdbFile(
  { path, notBefore, onBytes, signal }: RdbFileRequest,
  sink: Writable,
): Promise<RdbReport> {
  await using file = await SourceFile.open(path);
  const tap = new RdbTap(onBytes);
  await streamThrough([file.stream(signal), tap, sink], signal, `the copy of ${path}`);
  const report = tap.report();
  requireWholeRdb(path, report);
  if (!(await file.isUnchanged()))
    throw new Failure('SOURCE_CHANGED', `${path} was written to while it was read`, {
      remedy: 'Find out what writes to the file: the server itself only ever replaces it.',
    });
  if (snapshotTimeOf(report) < notBefore * 1000)
    throw new Failure('CONFIG_INVALID', `${path} is older than the snapshot that the server has just taken`, {
      remedy:
        'Set dataDir in the connection of the target to the folder where the server writes, as the agent sees it.',
    });
  return report;
}

/** Throws TOOL_FAILED for a file with findings of severity `error`: it must not become a backup. */
export function requireWholeRdb(path: string, report: RdbReport): void {
  const errors = judgeRdb(report).filter(({ severity }) => severity === 'error');
  if (errors.length === 0) return;
  throw new Failure('TOOL_FAILED', `${path} is damaged: ${errors.map(({ code }) => code).join(', ')}`, {
    remedy: 'Check the disk and the memory of the database host, then take the backup again.',
  });
}
