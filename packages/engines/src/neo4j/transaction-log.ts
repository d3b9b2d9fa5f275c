import { type FileHandle, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Checkpoint, KNOWN_LOG_FORMAT, numbered, readLastCheckpoint } from './checkpoint.ts';

export const LOG_PREFIX = 'neostore.transaction.db.';
const HEAD_BYTES = 128;
const READ_BYTES = 1024 * 1024;
/** A run of zeros as long as this is space that was allocated ahead: nothing follows. */
const ZEROS_AT_END = 4 * READ_BYTES;
const COMMIT_TYPE = 5;
/** Type, transaction, time, checksum. */
const COMMIT_BYTES = 1 + 8 + 8 + 4;
const EARLIEST_TIME = Date.UTC(2020, 0);
const LATEST_TIME = Date.UTC(2100, 0);

export type LogReport =
  | {
      readonly state: 'read';
      readonly checkpoint: Checkpoint;
      /** The last transaction whose commit is in the logs. */
      readonly lastTransaction: number;
      /** Nothing follows the last checkpoint: the store was shut down, and needs no recovery. */
      readonly isClean: boolean;
      readonly firstLog: number;
      readonly lastLog: number;
    }
  /** A file that a recovery needs is not there. */
  | { readonly state: 'missing-log'; readonly log: number }
  | { readonly state: 'no-checkpoint' }
  /** A layout that has not been examined. */
  | { readonly state: 'unsupported' };

/**
 * Reads from the transaction logs in a folder up to which transaction they go, without Java. Only what follows the last checkpoint is read.
 * A commit is recognized by its transaction number and a plausible time. The content of a half-written transaction could imitate one: what
 * a recovered store holds is decided by `readStoreInfo`.
 */
export async function readLogState(folder: string): Promise<LogReport> {
  const found = await readLastCheckpoint(folder);
  if (found.state === 'none') return { state: 'no-checkpoint' };
  if (found.state === 'unsupported') return found;
  const { checkpoint } = found;
  const logs = numbered(await readdir(folder), LOG_PREFIX).map(({ number }) => number);
  const [firstLog, lastLog] = [Math.min(...logs), Math.max(...logs)];
  let lastTransaction = checkpoint.transaction;
  let isClean = true;
  for (let log = checkpoint.log; log <= Math.max(lastLog, checkpoint.log); log += 1) {
    if (!logs.includes(log)) return { state: 'missing-log', log };
    await using file = await open(join(folder, `${LOG_PREFIX}${log}`));
    const head = Buffer.alloc(1);
    await file.read(head, 0, 1, 0);
    if (head[0] !== KNOWN_LOG_FORMAT) return { state: 'unsupported' };
    const scan = await scanCommits(file, log === checkpoint.log ? checkpoint.offset : HEAD_BYTES, lastTransaction);
    lastTransaction = scan.lastTransaction;
    isClean &&= !scan.hasEntries;
  }
  return { state: 'read', checkpoint, lastTransaction, isClean, firstLog, lastLog };
}

interface Scan {
  readonly lastTransaction: number;
  /** Anything but zeros was found. */
  readonly hasEntries: boolean;
}

/** Looks for the commits that follow one transaction, one after the other: their numbers have no gap. */
async function scanCommits(file: FileHandle, from: number, after: number): Promise<Scan> {
  const chunk = Buffer.alloc(READ_BYTES);
  let last = after;
  let hasEntries = false;
  let carried = Buffer.alloc(0);
  for (let [position, zeros] = [from, 0]; zeros < ZEROS_AT_END; ) {
    const { bytesRead } = await file.read(chunk, 0, READ_BYTES, position);
    if (bytesRead === 0) break;
    position += bytesRead;
    const read = chunk.subarray(0, bytesRead);
    const isZero = read.every((byte) => byte === 0);
    zeros = isZero ? zeros + bytesRead : 0;
    hasEntries ||= !isZero;
    const window = Buffer.concat([carried, read]);
    const { transaction, end } = commitsIn(window, last);
    last = transaction;
    carried = Buffer.from(window.subarray(Math.max(end, window.length - COMMIT_BYTES + 1)));
  }
  return { lastTransaction: last, hasEntries };
}

function commitsIn(window: Buffer, after: number): { transaction: number; end: number } {
  let transaction = after;
  let end = 0;
  const pattern = Buffer.alloc(9);
  for (let from = 0; ; ) {
    pattern[0] = COMMIT_TYPE;
    pattern.writeBigInt64LE(BigInt(transaction + 1), 1);
    const at = window.indexOf(pattern, from);
    if (at < 0 || at + COMMIT_BYTES > window.length) return { transaction, end };
    const time = Number(window.readBigInt64LE(at + pattern.length));
    from = at + 1;
    if (time < EARLIEST_TIME || time > LATEST_TIME) continue;
    transaction += 1;
    end = at + COMMIT_BYTES;
    from = end;
  }
}
