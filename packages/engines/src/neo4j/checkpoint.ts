import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Layout of 5.26: a head of 128 bytes, then records of 232 bytes; the rest of the file is zeros that were allocated ahead. */
const HEAD_BYTES = 128;
const RECORD_BYTES = 232;
const RECORD_TYPE = 9;
/** Log format 9 and kernel version 20 are those of 5.26; later ones have not been examined. */
export const KNOWN_LOG_FORMAT = 9;
export const NEWEST_KNOWN_KERNEL = 20;

/** One checkpoint: everything before this place in the transaction logs is in the store files. */
export interface Checkpoint {
  readonly kernelVersion: number;
  /** Number of the log file, and the byte in it, at which a recovery begins. */
  readonly log: number;
  readonly offset: number;
  readonly transaction: number;
  /** Wall time (ms since the epoch). */
  readonly time: number;
}
export type CheckpointReport =
  | { readonly state: 'read'; readonly checkpoint: Checkpoint }
  /** No checkpoint file, or none with a record. */
  | { readonly state: 'none' }
  /** A layout that has not been examined. */
  | { readonly state: 'unsupported' };

/** The last checkpoint that the files `checkpoint.N` of a folder of transaction logs hold. */
export async function readLastCheckpoint(folder: string): Promise<CheckpointReport> {
  const names = await readdir(folder).catch(() => []);
  const files = numbered(names, 'checkpoint.').toSorted((a, b) => b.number - a.number);
  for (const { name } of files) {
    // 1 MiB at most: Neo4j begins a new file then.
    const report = lastRecord(await readFile(join(folder, name)));
    if (report.state !== 'none') return report;
  }
  return { state: 'none' };
}

function lastRecord(file: Buffer): CheckpointReport {
  if (file.length <= HEAD_BYTES) return { state: 'none' };
  if (file[0] !== KNOWN_LOG_FORMAT) return { state: 'unsupported' };
  let checkpoint: Checkpoint | null = null;
  for (let at = HEAD_BYTES; at + RECORD_BYTES <= file.length && file[at] !== 0; at += RECORD_BYTES) {
    const kernelVersion = file.readUInt8(at);
    if (kernelVersion > NEWEST_KNOWN_KERNEL || file[at + 1] !== RECORD_TYPE) return { state: 'unsupported' };
    const field = (offset: number): number => Number(file.readBigInt64LE(at + offset));
    checkpoint = { kernelVersion, log: field(18), offset: field(26), time: field(34), transaction: field(106) };
  }
  return checkpoint === null ? { state: 'none' } : { state: 'read', checkpoint };
}

/** The names `prefixN` among others, with their numbers. */
export function numbered(names: readonly string[], prefix: string): { name: string; number: number }[] {
  return names
    .filter((name) => name.startsWith(prefix) && /^\d+$/.test(name.slice(prefix.length)))
    .map((name) => ({ name, number: Number(name.slice(prefix.length)) }));
}
