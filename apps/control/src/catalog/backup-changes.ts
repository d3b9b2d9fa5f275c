import { isDeepStrictEqual } from 'node:util';
import { RESTORE_TEST_LEVEL, standingVerdict } from '@lastgood/core';
import type { BackupSummary } from '@lastgood/protocol';
import { and, eq, inArray } from 'drizzle-orm';
import type { Appliers, Db } from './db.ts';
import { reconcileBackup } from './reconcile-backup.ts';
import * as schema from './schema.ts';

export type BackupChange =
  /** A job has taken this backup. */
  | { readonly type: 'backup.taken'; readonly agentId: string; readonly backup: BackupSummary }
  | { readonly type: 'backup.removed'; readonly agentId: string; readonly backupIds: readonly string[] }
  | {
      readonly type: 'backup.verified';
      readonly agentId: string;
      readonly backupId: string;
      readonly verdict: NonNullable<BackupSummary['verified']>;
    }
  /** An agent has read its repositories: a backup of the catalog that is not in the list becomes missing (B11). */
  | {
      readonly type: 'backup.scan';
      readonly agentId: string;
      /** False: only the newest backups are in the list, which says nothing about older ones. */
      readonly complete: boolean;
      readonly backups: readonly BackupSummary[];
      /** Backups that a rotation has removed: they leave the catalog. */
      readonly removed: readonly string[];
      /** The targets whose repository was read. */
      readonly targets: readonly string[];
    }
  /** The agent has held the backup in its repository, or released it. */
  | {
      readonly type: 'backup.held';
      readonly agentId: string;
      readonly backupId: string;
      readonly hold: BackupSummary['hold'];
    };

const ofAgent = (agentId: string, backupId: string) =>
  and(eq(schema.backups.backupId, backupId), eq(schema.backups.agentId, agentId));

function saveBackup(db: Db, agentId: string, reported: BackupSummary): void {
  const [known] = db.select().from(schema.backups).where(eq(schema.backups.backupId, reported.backupId)).all();
  // An id that another host has reported stays that host's.
  if (known !== undefined && known.agentId !== agentId) return;
  const summary = reconcileBackup(known?.summary as BackupSummary | undefined, reported);
  // Most of a scan is already known, and nothing is written for that.
  if (isDeepStrictEqual(known?.summary, summary)) return;
  const { backupId, target, jobId, sequence, state, verified } = summary;
  const restoreTested = verified?.passed === true && verified.level >= RESTORE_TEST_LEVEL;
  const restorable = summary.restorable.ok;
  const held = summary.hold !== null;
  const row = { backupId, agentId, target, jobId, sequence, state, restorable, restoreTested, held, summary };
  db.insert(schema.backups).values(row).onConflictDoUpdate({ target: schema.backups.backupId, set: row }).run();
  saveContents(db, agentId, known?.summary as BackupSummary | undefined, summary);
}

const CONTENT_ROWS = 500;

/** What a backup holds rarely changes once it is known, so that verdicts and scans write nothing here. */
function saveContents(db: Db, agentId: string, known: BackupSummary | undefined, summary: BackupSummary): void {
  const { backupId, target, contents } = summary;
  if (isDeepStrictEqual(known?.contents, contents)) return;
  db.delete(schema.backupContents).where(eq(schema.backupContents.backupId, backupId)).run();
  const distinct = [...new Map(contents.map((content) => [`${content.kind} ${content.name}`, content])).values()];
  for (let start = 0; start < distinct.length; start += CONTENT_ROWS) {
    const rows = distinct
      .slice(start, start + CONTENT_ROWS)
      .map(({ kind, name }) => ({ backupId, agentId, target, kind, name }));
    db.insert(schema.backupContents).values(rows).run();
  }
}

function removeBackups(db: Db, agentId: string, backupIds: readonly string[]): void {
  for (const backupId of backupIds) db.delete(schema.backups).where(ofAgent(agentId, backupId)).run();
}

/** A job reports its backup as it was when it was taken, perhaps long ago: about a known one it can only confirm the manifest. */
function saveTaken(db: Db, agentId: string, taken: BackupSummary): void {
  const [known] = db.select().from(schema.backups).where(ofAgent(agentId, taken.backupId)).all();
  const { manifestSha256 } = taken;
  saveBackup(db, agentId, known === undefined ? taken : { ...(known.summary as BackupSummary), manifestSha256 });
}

function saveScan(db: Db, change: Extract<BackupChange, { type: 'backup.scan' }>): void {
  const { agentId, backups: found, removed, targets, complete } = change;
  const seen = new Set(found.map((backup) => backup.backupId));
  for (const backup of found) saveBackup(db, agentId, backup);
  removeBackups(db, agentId, removed);
  if (targets.length === 0) return;
  const [oldestSeen] = [...seen].sort();
  const [oldestRemoved = ''] = [...removed].sort();
  if (!complete && oldestSeen === undefined) return;
  // Where only the newest fitted, the lists say nothing about anything older than either of them.
  const from = complete || oldestSeen === undefined ? '' : oldestSeen > oldestRemoved ? oldestSeen : oldestRemoved;
  const known = db
    .select()
    .from(schema.backups)
    .where(and(eq(schema.backups.agentId, agentId), inArray(schema.backups.target, [...targets])))
    .all();
  for (const row of known) {
    if (row.backupId < from || seen.has(row.backupId) || row.state === 'missing') continue;
    saveBackup(db, agentId, { ...(row.summary as BackupSummary), state: 'missing' });
  }
}

function saveVerdict(db: Db, { agentId, backupId, verdict }: Extract<BackupChange, { type: 'backup.verified' }>): void {
  const [row] = db.select().from(schema.backups).where(ofAgent(agentId, backupId)).all();
  if (row === undefined) return;
  const summary = row.summary as BackupSummary;
  // The same rule by which the agent keeps it with the backup.
  const verified = standingVerdict(summary.verified, verdict);
  const suspect = summary.state === 'suspect' && verified.level < RESTORE_TEST_LEVEL;
  saveBackup(db, row.agentId, {
    ...summary,
    verified,
    state: !verified.passed ? 'bad' : suspect ? 'suspect' : 'good',
  });
}

export const backupAppliers: Appliers<BackupChange> = {
  'backup.taken': (db, { agentId, backup }) => saveTaken(db, agentId, backup),
  'backup.removed': (db, { agentId, backupIds }) => removeBackups(db, agentId, backupIds),
  'backup.verified': saveVerdict,
  'backup.scan': saveScan,
  'backup.held': (db, { agentId, backupId, hold }) => {
    const [row] = db.select().from(schema.backups).where(ofAgent(agentId, backupId)).all();
    if (row !== undefined) saveBackup(db, agentId, { ...(row.summary as BackupSummary), hold });
  },
};
