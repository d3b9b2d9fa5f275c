import { createHash } from 'node:crypto';
import { Failure } from '@lastgood/core';
import type { Scope } from '@lastgood/protocol';
import { and, desc, eq, gt, isNull, type SQL, sql } from 'drizzle-orm';
import { type Appliers, catalogFailure, type Db } from './db.ts';
import * as schema from './schema.ts';

export interface TokenRecord {
  readonly id: string;
  readonly hash: string;
  readonly name: string;
  readonly kind: 'api' | 'enroll';
  readonly scope: Scope | null;
  readonly environment: string | null;
  readonly host: string | null;
  readonly createdAt: number;
  readonly expiresAt: number | null;
  readonly lastUsedAt: number | null;
  readonly revokedAt: number | null;
  readonly usesLeft: number | null;
}

export type TokenChange =
  | { readonly type: 'token.create'; readonly token: TokenRecord }
  /** Fails with ENROLL_TOKEN_INVALID if another enrollment used it first. */
  | { readonly type: 'token.use'; readonly id: string; readonly at: number }
  | { readonly type: 'token.seen'; readonly id: string; readonly at: number }
  /** Fails with CONFLICT if it is the last valid admin token. */
  | { readonly type: 'token.revoke'; readonly id: string; readonly at: number };

export interface TokenQueries {
  list(): Promise<TokenRecord[]>;
  byHash(hash: string): Promise<TokenRecord | undefined>;
  byId(id: string): Promise<TokenRecord | undefined>;
}

/** What the catalog keeps of a token. The token itself is shown once and stored nowhere. */
export const tokenHash = (token: string): string => createHash('sha256').update(token).digest('hex');

/** True for a token that opens the admin API. */
export const isValid = (token: TokenRecord, now: number): boolean =>
  token.kind === 'api' && token.revokedAt === null && (token.expiresAt === null || token.expiresAt >= now);
/** True for a token that may create others. There must always be one. */
export const isValidAdmin = (token: TokenRecord, now: number): boolean =>
  token.scope === 'admin' && isValid(token, now);

/** One-time tokens are used up in the statement that checks them, so two hosts cannot share one. */
function useToken(db: Db, id: string, at: number): void {
  const used = db
    .update(schema.tokens)
    .set({ usesLeft: sql`${schema.tokens.usesLeft} - 1`, lastUsedAt: at })
    .where(and(eq(schema.tokens.id, id), gt(schema.tokens.usesLeft, 0), isNull(schema.tokens.revokedAt)))
    .run();
  if (used.changes === 0) throw new Failure('ENROLL_TOKEN_INVALID', 'the token was already used');
}

/** Checked inside the transaction, so two admins cannot revoke each other concurrently. */
function revokeToken(db: Db, id: string, at: number): void {
  const admins = db
    .select()
    .from(schema.tokens)
    .all()
    .filter((token) => isValidAdmin(token, at));
  if (admins.length === 1 && admins[0]?.id === id)
    throw new Failure('CONFLICT', 'this is the last admin token', {
      remedy: 'Create another one first (`lastgood tokens create --scope admin`), then revoke this one with it.',
    });
  db.update(schema.tokens)
    .set({ revokedAt: at })
    .where(and(eq(schema.tokens.id, id), isNull(schema.tokens.revokedAt)))
    .run();
}

export const tokenAppliers: Appliers<TokenChange> = {
  'token.create': (db, { token }) => {
    db.insert(schema.tokens).values(token).run();
  },
  'token.use': (db, { id, at }) => useToken(db, id, at),
  'token.seen': (db, { id, at }) => {
    db.update(schema.tokens).set({ lastUsedAt: at }).where(eq(schema.tokens.id, id)).run();
  },
  'token.revoke': (db, { id, at }) => revokeToken(db, id, at),
};

function findToken(db: Db, condition: SQL): TokenRecord | undefined {
  try {
    return db.select().from(schema.tokens).where(condition).all()[0];
  } catch (error) {
    throw catalogFailure(error);
  }
}

export const tokenQueries = (db: Db): TokenQueries => ({
  list: async () => db.select().from(schema.tokens).orderBy(desc(schema.tokens.createdAt)).all(),
  byHash: async (hash) => findToken(db, eq(schema.tokens.hash, hash)),
  byId: async (id) => findToken(db, eq(schema.tokens.id, id)),
});
