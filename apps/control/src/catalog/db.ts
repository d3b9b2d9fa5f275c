import { Failure } from '@lastgood/core';
import type { BetterSQLite3Database } from 'drizzle-orm/better-sqlite3';
import type * as schema from './schema.ts';

export type Db = BetterSQLite3Database<typeof schema>;

/** How each kind of change is written. The caller owns the transaction. A change that the stored data refuses throws Failure. */
export type Appliers<C extends { readonly type: string }> = {
  readonly [T in C['type']]: (db: Db, change: Extract<C, { readonly type: T }>) => void;
};

/** Which rows of a list; all if empty. */
export interface Scoped {
  readonly agentId?: string;
  readonly target?: string;
}

/** The failure that an error of SQLite stands for; any other error as it is. */
export function catalogFailure(error: unknown): unknown {
  if (error instanceof Failure || !(error instanceof Error) || !('code' in error)) return error;
  const code = String(error.code);
  if (code === 'SQLITE_FULL')
    return new Failure('NO_SPACE', 'no space left for the catalog', {
      cause: error,
      remedy: 'Free space on the disk of the control plane (--data).',
    });
  if (code.startsWith('SQLITE_CONSTRAINT'))
    return new Failure('CONFLICT', 'the same thing was changed concurrently', {
      cause: error,
      remedy: 'Look at it again, then repeat the call if it is still wanted.',
    });
  if (code.startsWith('SQLITE_'))
    return new Failure('IO_ERROR', `cannot read or write the catalog (${code})`, {
      cause: error,
      remedy: 'Check the disk of the control plane (--data) and that no other process holds the catalog.',
    });
  return error;
}
