import { and, asc, eq, gte, isNotNull, lt, lte, min, or } from 'drizzle-orm';
import type { OutboxEntry, OutboxOutcome } from '../notify/outbox-runner.ts';
import type { Appliers, Db } from './db.ts';
import * as schema from './schema.ts';

export type NotificationChange =
  /** Copies of messages that wait for delivery. One that exists changes nothing. */
  | { readonly type: 'notification.add'; readonly entries: readonly OutboxEntry[] }
  | { readonly type: 'notification.record'; readonly entryId: string; readonly outcome: OutboxOutcome }
  | { readonly type: 'notification.prune'; readonly endedBefore: number };

/** What could not be delivered to a contact. */
export interface Undelivered {
  readonly contact: string;
  readonly sinceMs: number;
  readonly isGivenUp: boolean;
  readonly cause: string | null;
}
export interface NotificationQueries {
  /** Entries that are to be tried now, oldest first. */
  due(now: number, limit: number): Promise<OutboxEntry[]>;
  /** When the next entry is to be tried; null when none waits. */
  nextTryAt(): Promise<number | null>;
  /** Entries that were tried in vain and wait, and those that were given up after `since`. */
  undelivered(since: number): Promise<Undelivered[]>;
}

const { notifications } = schema;

export const notificationAppliers: Appliers<NotificationChange> = {
  'notification.add': (db, { entries }) => {
    for (const entry of entries) {
      const { entryId, contact, createdMs, tries } = entry;
      const row = { entryId, contact, entry, createdAt: createdMs, tries, nextTryAt: createdMs };
      db.insert(notifications)
        .values({ ...row, state: 'waiting' })
        .onConflictDoNothing()
        .run();
    }
  },
  'notification.record': (db, { entryId, outcome }) => {
    const set =
      outcome.state === 'waiting'
        ? { state: outcome.state, tries: outcome.tries, nextTryAt: outcome.nextTryMs, cause: outcome.cause }
        : { state: outcome.state, nextTryAt: null, endedAt: outcome.atMs };
    const cause = outcome.state === 'given_up' ? { cause: outcome.cause, tries: outcome.tries } : {};
    db.update(notifications)
      .set({ ...set, ...cause })
      .where(eq(notifications.entryId, entryId))
      .run();
  },
  'notification.prune': (db, { endedBefore }) => {
    db.delete(notifications).where(lt(notifications.endedAt, endedBefore)).run();
  },
};

export const notificationQueries = (db: Db): NotificationQueries => ({
  due: async (now, limit) =>
    db
      .select()
      .from(notifications)
      .where(and(eq(notifications.state, 'waiting'), lte(notifications.nextTryAt, now)))
      .orderBy(asc(notifications.createdAt))
      .limit(limit)
      .all()
      .map(({ entry, tries }) => ({ ...(entry as OutboxEntry), tries })),
  nextTryAt: async () =>
    db
      .select({ next: min(notifications.nextTryAt) })
      .from(notifications)
      .where(eq(notifications.state, 'waiting'))
      .all()[0]?.next ?? null,
  undelivered: async (since) =>
    db
      .select()
      .from(notifications)
      .where(
        or(
          and(eq(notifications.state, 'waiting'), isNotNull(notifications.cause)),
          and(eq(notifications.state, 'given_up'), gte(notifications.endedAt, since)),
        ),
      )
      .all()
      .map(({ contact, createdAt, state, cause }) => ({
        contact,
        sinceMs: createdAt,
        isGivenUp: state === 'given_up',
        cause,
      })),
});
