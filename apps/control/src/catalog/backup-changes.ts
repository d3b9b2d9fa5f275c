import { isDeepStrictEqual } from 'node:util';
import { RESTORE_TEST_LEVEL, standingVerdict } from '@lastgood/core';
import { type BackupSummary, sizeOf } from '@lastgood/protocol';
import { and, eq, gte, inArray, ne, sql } from 'drizzle-orm';
import type { Appliers, Db } from './db.ts';
import { enforceQuotas } from './host-quotas.ts';
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

/** More warnings than a person reads, and more contents than a list shows, are not kept. */
const MAX_WARNINGS = 100;
const MAX_WARNING_BYTES = 16 * 1024;
const MAX_CONTENTS = 2_000;

/** What the catalog keeps of a reported backup. */
function boundedSummary(reported: BackupSummary): BackupSummary {
  const { contents } = reported;
  const few = reported.warnings.slice(0, MAX_WARNINGS);
  const warnings = few.length === 0 || sizeOf(few) <= MAX_WARNING_BYTES ? few : [];
  const isWhole = contents.length <= MAX_CONTENTS && warnings.length === reported.warnings.length;
  return isWhole ? reported : { ...reported, contents: contents.slice(0, MAX_CONTENTS), warnings };
}

/** True: the backup is new to the catalog. */
function saveBackup(db: Db, agentId: string, reported: BackupSummary): boolean {
  const [known] = db.select().from(schema.backups).where(eq(schema.backups.backupId, reported.backupId)).all();
  // An id that another host has reported stays that host's.
  if (known !== undefined && known.agentId !== agentId) return false;
  const summary = reconcileBackup(known?.summary as BackupSummary | undefined, boundedSummary(reported));
  // Most of a scan is already known, and nothing is written for that.
  if (isDeepStrictEqual(known?.summary, summary)) return false;
  const { backupId, target, jobId, sequence, state, verified } = summary;
  const restoreTested = verified?.passed === true && verified.level >= RESTORE_TEST_LEVEL;
  const restorable = summary.restorable.ok;
  const held = summary.hold !== null;
  const row = { backupId, agentId, target, jobId, sequence, state, restorable, restoreTested, held, summary };
  db.insert(schema.backups).values(row).onConflictDoUpdate({ target: schema.backups.backupId, set: row }).run();
  saveContents(db, agentId, known?.summary as BackupSummary | undefined, summary);
  return known === undefined;
}

const CONTENT_ROWS = 500;

/** What a backup holds rarely changes once it is known, so that verdicts and scans write nothing here. */
function saveContents(db: Db, agentId: string, known: BackupSummary | undefined, summary: BackupSummary): void {
  const { backupId, target, contents } = summary;
  if (isDeepStrictEqual(known?.contents, contents)) return;
  if (known !== undefined) db.delete(schema.backupContents).where(eq(schema.backupContents.backupId, backupId)).run();
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
  const isNew = saveBackup(
    db,
    agentId,
    known === undefined ? taken : { ...(known.summary as BackupSummary), manifestSha256 },
  );
  if (isNew) enforceQuotas(db, agentId);
}

function saveScan(db: Db, change: Extract<BackupChange, { type: 'backup.scan' }>): void {
  const { agentId, backups: found, removed, targets, complete } = change;
  const seen = new Set(found.map((backup) => backup.backupId));
  const added = found.map((backup) => saveBackup(db, agentId, backup));
  if (added.some(Boolean)) enforceQuotas(db, agentId);
  removeBackups(db, agentId, removed);
  if (targets.length === 0) return;
  const [oldestSeen] = [...seen].sort();
  const [oldestRemoved = ''] = [...removed].sort();
  if (!complete && oldestSeen === undefined) return;
  // Where only the newest fitted, the lists say nothing about anything older than either of them.
  const from = complete || oldestSeen === undefined ? '' : oldestSeen > oldestRemoved ? oldestSeen : oldestRemoved;
  const { backups } = schema;
  // One statement for all of them: a host may have very many backups, and no summary has to be read for this.
  db.update(backups)
    .set({ state: 'missing', summary: sql`json_set(${backups.summary}, '$.state', 'missing')` })
    .where(
      and(
        eq(backups.agentId, agentId),
        inArray(backups.target, [...targets]),
        gte(backups.backupId, from),
        ne(backups.state, 'missing'),
        sql`${backups.backupId} not in (select value from json_each(${JSON.stringify([...seen])}))`,
      ),
    )
    .run();
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
