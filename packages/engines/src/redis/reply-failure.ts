import { Failure } from '@lastgood/core';
import type { ErrorCode } from '@lastgood/protocol';

/** The first word of an error reply is part of the protocol; the rest is prose, which may quote data, and is dropped. */
const CODES = {
  NOAUTH: {
    code: 'DATABASE_REFUSED',
    meaning: 'the server requires a password',
    remedy: 'Set passwordFile in the connection of the target.',
  },
  WRONGPASS: {
    code: 'DATABASE_REFUSED',
    meaning: 'the user or the password is wrong, or the user is disabled',
    remedy: 'Check user and passwordFile in the connection of the target.',
  },
  NOPERM: {
    code: 'DATABASE_REFUSED',
    meaning: 'the user has no permission for it',
    remedy: 'Grant the command to the ACL user of the agent; the operations guide lists what it needs.',
  },
  DENIED: {
    code: 'DATABASE_REFUSED',
    meaning: 'the server is in protected mode',
    remedy: 'Set a password on the server, or let the agent connect by the socket or the loopback interface.',
  },
  LOADING: {
    code: 'DATABASE_UNREACHABLE',
    meaning: 'the server is still loading its data',
    remedy: 'Wait until it has started, then try again.',
  },
  BUSY: {
    code: 'DATABASE_UNREACHABLE',
    meaning: 'the server is busy with a script',
    remedy: 'Wait for the script or end it (SCRIPT KILL), then try again.',
  },
  MASTERDOWN: {
    code: 'DATABASE_UNREACHABLE',
    meaning: 'the replica has lost its master',
    remedy: 'Repair the replication, or back up the master.',
  },
  MISCONF: {
    code: 'DATABASE_REFUSED',
    meaning: 'the server refuses writes because its last snapshot failed',
    remedy: 'Read the log of the server and repair the disk or the memory that its snapshots need.',
  },
  OOM: {
    code: 'DATABASE_REFUSED',
    meaning: 'the server is out of memory',
    remedy: 'Raise maxmemory or remove keys.',
  },
  READONLY: {
    code: 'DATABASE_REFUSED',
    meaning: 'the server is a replica and takes no writes',
    remedy: 'Use the master.',
  },
  NOREPLICAS: {
    code: 'DATABASE_REFUSED',
    meaning: 'the server has too few replicas for writes',
    remedy: 'Repair the replicas.',
  },
  CLUSTERDOWN: {
    code: 'DATABASE_REFUSED',
    meaning: 'the cluster of the server is down',
    remedy: 'Repair the cluster.',
  },
  NOSCRIPT: { code: 'DATABASE_REFUSED', meaning: 'the script is unknown', remedy: undefined },
  EXECABORT: { code: 'DATABASE_REFUSED', meaning: 'the transaction was refused', remedy: undefined },
  WRONGTYPE: { code: 'DATABASE_REFUSED', meaning: 'the key has another type', remedy: undefined },
  ERR: { code: 'DATABASE_REFUSED', meaning: 'the server refused it', remedy: undefined },
} as const satisfies Record<string, { code: ErrorCode; meaning: string; remedy: string | undefined }>;

export type ReplyCode = keyof typeof CODES;
const isReplyCode = (word: string): word is ReplyCode => Object.hasOwn(CODES, word);

/** A command that the server refused, by the code of its error reply. An unknown code becomes ERR. */
export class ReplyFailure extends Failure {
  readonly replyCode: ReplyCode;
  constructor(address: string, command: string, reply: string) {
    const word = /^[A-Z]+/.exec(reply)?.[0] ?? '';
    const replyCode = isReplyCode(word) ? word : 'ERR';
    const { code, meaning, remedy } = CODES[replyCode];
    super(code, `${address}: ${command} failed with ${replyCode}: ${meaning}`, remedy === undefined ? {} : { remedy });
    this.replyCode = replyCode;
  }
}

/** True for a failure with one of these reply codes. */
export const hasReplyCode = (error: unknown, ...codes: readonly ReplyCode[]): error is ReplyFailure =>
  error instanceof ReplyFailure && codes.includes(error.replyCode);
