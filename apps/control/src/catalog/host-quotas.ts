import { count, desc, eq, inArray, sql } from 'drizzle-orm';
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

function forgetBackups(db: Db, agentId: string, excess: number): void {
  const oldest = db
    .select({ backupId: backups.backupId })
    .from(backups)
    .where(eq(backups.agentId, agentId))
    .orderBy(...leastImportant)
    .limit(excess);
  db.delete(backups).where(inArray(backups.backupId, oldest)).run();
}

function forgetContents(db: Db, agentId: string, excess: number): void {
  const counted = db
    .select({ backupId: backups.backupId, rows: count() })
    .from(backupContents)
    .innerJoin(backups, eq(backups.backupId, backupContents.backupId))
    .where(eq(backupContents.agentId, agentId))
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

/** Forgets what a host has reported beyond its quotas. To be called after each change that adds to it. */
export function enforceQuotas(db: Db, agentId: string, quotas: HostQuotas = HOST_QUOTAS): void {
  const [stored = { rows: 0 }] = db.select({ rows: count() }).from(backups).where(eq(backups.agentId, agentId)).all();
  if (stored.rows > quotas.backups) forgetBackups(db, agentId, stored.rows - Math.floor(quotas.backups * TARGET_FILL));
  const [contents = { rows: 0 }] = db
    .select({ rows: count() })
    .from(backupContents)
    .where(eq(backupContents.agentId, agentId))
    .all();
  if (contents.rows > quotas.contents)
    forgetContents(db, agentId, contents.rows - Math.floor(quotas.contents * TARGET_FILL));
}
