import { Failure } from '@lastgood/core';
import type { ErrorCode } from '@lastgood/protocol';
import type { NamedObject } from './message-templates.ts';
import { describeServerMessage, type ServerMessage } from './server-message.ts';

/** A failure that the server reported. Decide by `server.sqlstate`; the message holds nothing that the server wrote. */
export class ServerFailure extends Failure {
  readonly server: ServerMessage;
  constructor(code: ErrorCode, message: string, server: ServerMessage, remedy?: string) {
    super(code, message, remedy === undefined ? {} : { remedy });
    this.server = server;
  }
}

/** Adds what a statement was about to an error that names no object: a message in another language is not read. */
export function nameObject(error: unknown, object: NamedObject): unknown {
  if (!(error instanceof ServerFailure) || error.server.inCode || error.server.objects.length > 0) return error;
  const server = { ...error.server, objects: [object] };
  const before = describeServerMessage(error.server);
  return new ServerFailure(
    error.code,
    error.message.replace(before, () => describeServerMessage(server)),
    server,
    error.remedy,
  );
}

export const hasSqlstate = (error: unknown, ...states: readonly string[]): error is ServerFailure =>
  error instanceof ServerFailure && error.server.sqlstate !== null && states.includes(error.server.sqlstate);

/** True when the server refused a statement; false when it went away, has no space left, or when the fault is not the server's. */
export const isRefusal = (error: unknown): error is Failure =>
  error instanceof Failure &&
  ['TOOL_FAILED', 'DATABASE_ERROR', 'SOURCE_CHANGED', 'DATABASE_REFUSED', 'TARGET_BUSY'].includes(error.code);

/** A relation, column, schema, type or function that was there in the snapshot and is gone, or is of another kind. */
const CHANGED = ['42P01', '42703', '3F000', '42704', '42883', '42809'];
const BUSY = ['55P03', '55006', '40P01'];
const REFUSED = ['42501', '3D000', '0LP01', '53300'];
/** Messages without a SQLSTATE of their own, or in an internal one, that mean a change of the catalogs. */
const CHANGED_INTERNALLY = 'XX000';

export function errorCodeOf(sqlstate: string | null): ErrorCode {
  if (sqlstate === null) return 'DATABASE_ERROR';
  if (sqlstate.startsWith('28') || REFUSED.includes(sqlstate)) return 'DATABASE_REFUSED';
  if (sqlstate.startsWith('08') || sqlstate.startsWith('57P')) return 'DATABASE_UNREACHABLE';
  if (CHANGED.includes(sqlstate)) return 'SOURCE_CHANGED';
  if (sqlstate === '53100') return 'NO_SPACE';
  return BUSY.includes(sqlstate) ? 'TARGET_BUSY' : 'DATABASE_ERROR';
}

const LOGIN = 'Correct `user` and `passfile` of the target in the agent file, or pg_hba.conf of the server.';
const REMEDIES: Readonly<Record<string, string>> = {
  '28P01': 'Correct the password of this user in the passfile of the target.',
  '28000': LOGIN,
  '3D000': 'Create the database, or correct `database` of the target in the agent file.',
  53100: 'Free space on the disk of the database server, then try again.',
  53200: 'Raise max_locks_per_transaction if the server ran out of shared memory, or give the server more memory.',
  53300: 'Close other sessions of the server, or raise max_connections or the connection limit of the role.',
};
/** Functions of the server that report several reasons for a refused login under one SQLSTATE. */
const LOGIN_REMEDIES: Readonly<Record<string, string>> = {
  ClientAuthentication: 'Allow this host, user and database in pg_hba.conf of the server, then reload the server.',
  InitializeSessionUserId: 'Create the role that `user` of the target names, or let it log in (ALTER ROLE ... LOGIN).',
};

/** Where the whole message of an error is: it was left out, for it may contain data. */
export const logRemedy = (logFolder: string | null): string =>
  `Read the whole message in the log of the server${logFolder === null ? '' : ` (${logFolder})`}; it was left out here, because it may contain data.`;

export interface Circumstances {
  /** What was done, or where. */
  readonly what: string;
  /** The folder of the server's log, if it is known. */
  readonly logFolder?: string | null;
  /** The function of the server that reported the error. */
  readonly routine?: string | undefined;
}

/** The failure that an error of the server means, with the remedy of its situation. */
export function serverFailure(
  server: ServerMessage,
  { what, logFolder = null, routine }: Circumstances,
): ServerFailure {
  const code = errorCodeOf(server.sqlstate);
  const login = server.sqlstate === '28000' && routine !== undefined ? LOGIN_REMEDIES[routine] : undefined;
  const remedy =
    login ?? REMEDIES[server.sqlstate ?? ''] ?? (code === 'DATABASE_ERROR' ? logRemedy(logFolder) : undefined);
  return new ServerFailure(code, `${what}: ${describeServerMessage(server)}`, server, remedy);
}

/** The catalogs of the source changed while a tool read them; the server has no SQLSTATE for that. */
export const meansChange = ({ sqlstate, inCode }: ServerMessage): boolean => sqlstate === CHANGED_INTERNALLY && !inCode;
