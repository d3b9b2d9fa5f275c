import { eq, lt } from 'drizzle-orm';
import { type Appliers, catalogFailure, type Db } from './db.ts';
import * as schema from './schema.ts';
import type { TokenRecord } from './tokens.ts';

export interface BrowserSessionRecord {
  readonly hash: string;
  /** The token that the person signed in with. Revoking it ends the session. */
  readonly tokenId: string;
  readonly createdAt: number;
  readonly expiresAt: number;
}

export type BrowserSessionChange =
  /** Also removes the sessions that have expired. */
  | { readonly type: 'session.open'; readonly session: BrowserSessionRecord }
  | { readonly type: 'session.close'; readonly hash: string };

export interface BrowserSessionQueries {
  /** The session and its token; undefined when either is unknown. Whether they are valid now is for the caller to check. */
  byHash(hash: string): Promise<{ session: BrowserSessionRecord; token: TokenRecord } | undefined>;
}

const { browserSessions, tokens } = schema;

export const browserSessionAppliers: Appliers<BrowserSessionChange> = {
  'session.open': (db, { session }) => {
    db.delete(browserSessions).where(lt(browserSessions.expiresAt, session.createdAt)).run();
    db.insert(browserSessions).values(session).run();
  },
  'session.close': (db, { hash }) => {
    db.delete(browserSessions).where(eq(browserSessions.hash, hash)).run();
  },
};

export const browserSessionQueries = (db: Db): BrowserSessionQueries => ({
  byHash: async (hash) => {
    try {
      const joined = db.select().from(browserSessions).innerJoin(tokens, eq(tokens.id, browserSessions.tokenId));
      const [row] = joined.where(eq(browserSessions.hash, hash)).all();
      return row === undefined ? undefined : { session: row.browser_sessions, token: row.tokens };
    } catch (error) {
      throw catalogFailure(error);
    }
  },
});
