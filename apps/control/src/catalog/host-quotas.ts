import { and, count, desc, eq, inArray, sql } from 'drizzle-orm';
import type { Db } from './db.ts';
import * as schema from './schema.ts';

/** What one host may occupy in the catalog, so that one that invents backups neither fills the disk nor slows the others. */
export interface HostQuotas {
  readonly backups: number;
  /** Rows of backup contents: backups times their databases. */
  readonly contents: number;
}
export const HOST_QUOTAS: HostQuotas = { backups: 50_000, contents: 100_000 };

/** A host above a quota loses more than the excess, so that not each of its reports has to look for something. */
const TARGET_FILL = 7 / 8;

const { backups, backupContents } = schema;

/** What is missing in its repository is forgotten first, then the oldest. */
const leastImportant = [desc(sql`${backups.state} = 'missing'`), backups.backupId];

interface Occupied {
  readonly target: string;
  readonly rows: number;
}

/**
 * The largest number of rows that each target may keep so that all together keep at most `limit`. The targets that occupy most give;
 * the others keep what they have.
 */
export function shareOf(occupied: readonly Occupied[], limit: number): number {
  let left = limit;
  const ascending = occupied.map(({ rows }) => rows).toSorted((a, b) => a - b);
  for (const [index, rows] of ascending.entries()) {
    const share = Math.floor(left / (ascending.length - index));
    if (rows > share) return share;
    left -= rows;
  }
  return limit;
}

function forgetBackups(db: Db, agentId: string, target: string, excess: number): void {
  const oldest = db
    .select({ backupId: backups.backupId })
    .from(backups)
    .where(and(eq(backups.agentId, agentId), eq(backups.target, target)))
    .orderBy(...leastImportant)
    .limit(excess);
  db.delete(backups).where(inArray(backups.backupId, oldest)).run();
}

function forgetContents(db: Db, agentId: string, target: string, excess: number): void {
  const counted = db
    .select({ backupId: backups.backupId, rows: count() })
    .from(backupContents)
    .innerJoin(backups, eq(backups.backupId, backupContents.backupId))
    .where(and(eq(backupContents.agentId, agentId), eq(backupContents.target, target)))
    .groupBy(backups.backupId)
    .orderBy(...leastImportant)
    .all();
  let left = excess;
  for (const { backupId, rows } of counted) {
    if (left <= 0) return;
    db.delete(backupContents).where(eq(backupContents.backupId, backupId)).run();
    left -= rows;
  }
}

/** Calls `forget` for each target that keeps more than its share of a quota, when the host is above it. */
function enforce(occupied: readonly Occupied[], quota: number, forget: (target: string, excess: number) => void): void {
  if (occupied.reduce((sum, { rows }) => sum + rows, 0) <= quota) return;
  const share = shareOf(occupied, Math.floor(quota * TARGET_FILL));
  for (const { target, rows } of occupied) if (rows > share) forget(target, rows - share);
}

/**
 * Forgets what a host has reported beyond its quotas, of the targets that occupy most. To be called after each change that adds to it.
 */
export function enforceQuotas(db: Db, agentId: string, quotas: HostQuotas = HOST_QUOTAS): void {
  const stored = db
    .select({ target: backups.target, rows: count() })
    .from(backups)
    .where(eq(backups.agentId, agentId))
    .groupBy(backups.target)
    .all();
  enforce(stored, quotas.backups, (target, excess) => forgetBackups(db, agentId, target, excess));
  const contents = db
    .select({ target: backupContents.target, rows: count() })
    .from(backupContents)
    .where(eq(backupContents.agentId, agentId))
    .groupBy(backupContents.target)
    .all();
  enforce(contents, quotas.contents, (target, excess) => forgetContents(db, agentId, target, excess));
}
