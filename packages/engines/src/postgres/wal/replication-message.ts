import { Failure } from '@lastgood/core';
import { fromPostgresTime, type Micros, toPostgresTime } from './instant.ts';
import type { Lsn } from './lsn.ts';

/** What a walsender sends inside COPY BOTH. */
export type WalMessage =
  | {
      readonly kind: 'wal';
      readonly startLsn: Lsn;
      /** The end of the WAL at the server. */
      readonly serverLsn: Lsn;
      readonly sentAt: Micros;
      readonly bytes: Buffer;
    }
  | { readonly kind: 'keepalive'; readonly serverLsn: Lsn; readonly sentAt: Micros; readonly wantsReply: boolean };

const WAL = 0x77;
const KEEPALIVE = 0x6b;
const STATUS = 0x72;
const WAL_HEADER = 25;
const KEEPALIVE_BYTES = 18;

/** Throws DATABASE_ERROR for anything but the two messages of physical replication. */
export function readWalMessage(message: Buffer): WalMessage {
  if (message[0] === WAL && message.length >= WAL_HEADER)
    return {
      kind: 'wal',
      startLsn: message.readBigUInt64BE(1),
      serverLsn: message.readBigUInt64BE(9),
      sentAt: fromPostgresTime(message.readBigInt64BE(17)),
      bytes: message.subarray(WAL_HEADER),
    };
  if (message[0] === KEEPALIVE && message.length >= KEEPALIVE_BYTES)
    return {
      kind: 'keepalive',
      serverLsn: message.readBigUInt64BE(1),
      sentAt: fromPostgresTime(message.readBigInt64BE(9)),
      wantsReply: message.readUInt8(17) !== 0,
    };
  throw new Failure('DATABASE_ERROR', 'the server sent a message that is not part of physical replication');
}

/** A standby status update. The slot of the server moves to `flushed`. */
export function statusMessage(
  status: { readonly written: Lsn; readonly flushed: Lsn; readonly wantsReply: boolean },
  now: Micros,
): Buffer {
  const message = Buffer.alloc(34);
  message.writeUInt8(STATUS, 0);
  message.writeBigUInt64BE(status.written, 1);
  message.writeBigUInt64BE(status.flushed, 9);
  // We apply nothing.
  message.writeBigUInt64BE(0n, 17);
  message.writeBigInt64BE(toPostgresTime(now), 25);
  message.writeUInt8(status.wantsReply ? 1 : 0, 33);
  return message;
}
