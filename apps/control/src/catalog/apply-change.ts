import { isDeepStrictEqual } from 'node:util';
import { Failure, RESTORE_TEST_LEVEL, standingVerdict, unreachable } from '@lastgood/core';
import type { BackupSummary, ControlLedger, TargetInventory } from '@lastgood/protocol';
import { and, eq, gt, inArray, isNull, sql } from 'drizzle-orm';
import type { BetterSQLite3Database } from 'drizzle-orm/better-sqlite3';
import { type AgentRecord, type Change, isLivingAdmin, type JobRecord } from './catalog.ts';
import { reconcileBackup } from './reconcile-backup.ts';
import * as schema from './schema.ts';

export type Db = BetterSQLite3Database<typeof schema>;

/** Writes one change; the caller owns the transaction. Throws Failure when the change is refused by what is there. */
export function applyChange(db: Db, change: Change): void {
  switch (change.type) {
    case 'ledger':
      saveLedger(db, change.before, change.after, change.now);
      return;
    case 'job':
      saveNewJob(db, change.record);
      return;
    case 'forgetJobs':
      for (const jobId of change.jobIds) db.delete(schema.jobs).where(eq(schema.jobs.jobId, jobId)).run();
      return;
    case 'agent':
      saveEnrolled(db, change.agent);
      return;
    case 'agentSeen':
      saveSeen(db, change);
      return;
    case 'agentQuarantined':
      db.update(schema.agents).set({ quarantinedAt: change.at }).where(eq(schema.agents.agentId, change.agentId)).run();
      return;
    case 'inventory':
      saveInventory(db, change.agentId, change.targets, change.seenAt);
      return;
    case 'scan':
      saveScan(db, change);
      return;
    case 'backup':
      saveTakenBackup(db, change.agentId, change.backup);
      return;
    case 'removedBackups':
      for (const backupId of change.backupIds)
        db.delete(schema.backups)
          .where(and(eq(schema.backups.backupId, backupId), eq(schema.backups.agentId, change.agentId)))
          .run();
      return;
    case 'verified':
      saveVerdict(db, change);
      return;
    case 'hold':
      saveHold(db, change);
      return;
    case 'token':
      db.insert(schema.tokens).values(change.token).run();
      return;
    case 'useToken':
      useToken(db, change.id, change.at);
      return;
    case 'tokenSeen':
      db.update(schema.tokens).set({ lastUsedAt: change.at }).where(eq(schema.tokens.id, change.id)).run();
      return;
    case 'revokeToken':
      revokeToken(db, change.id, change.at);
      return;
    case 'incarnation':
      db.update(schema.meta).set({ value: change.incarnation }).where(eq(schema.meta.key, 'incarnation')).run();
      return;
    case 'probe':
      // Another value each time: SQLite writes nothing for one that is there already.
      saveMeta(db, 'probed', String(change.at));
      return;
    case 'audit':
      db.insert(schema.audit).values(change.entry).run();
      return;
    default:
      unreachable(change);
  }
}

/** When it was last seen, and with which version, is another change's: it may be newer than what the enrollment knows. */
function saveEnrolled(db: Db, agent: AgentRecord): void {
  const { installId, environment, host, labels, publicKey, enrolledAt, quarantinedAt } = agent;
  const set = { installId, environment, host, labels, publicKey, enrolledAt, quarantinedAt };
  db.insert(schema.agents).values(agent).onConflictDoUpdate({ target: schema.agents.agentId, set }).run();
}

function saveSeen(db: Db, { agentId, at, agentVersion }: Extract<Change, { type: 'agentSeen' }>): void {
  const set = agentVersion === undefined ? { lastSeenAt: at } : { lastSeenAt: at, agentVersion };
  db.update(schema.agents).set(set).where(eq(schema.agents.agentId, agentId)).run();
}

function saveNewJob(db: Db, { job, agentId, createdAt, createdBy, idempotencyKey }: JobRecord): void {
  const { jobId, spec, state } = job;
  const row = { jobId, agentId, target: spec.target, command: spec.command, state, ledger: job };
  db.insert(schema.jobs)
    .values({ ...row, createdAt, createdBy, idempotencyKey })
    .run();
}

function saveMeta(db: Db, key: string, value: string): void {
  db.insert(schema.meta).values({ key, value }).onConflictDoUpdate({ target: schema.meta.key, set: { value } }).run();
}

function saveHold(db: Db, { backupId, held, reason, by, at }: Extract<Change, { type: 'hold' }>): void {
  db.delete(schema.holds).where(eq(schema.holds.backupId, backupId)).run();
  if (held) db.insert(schema.holds).values({ backupId, reason, by, at }).run();
}

/** One-time tokens are used up in the statement that checks them, so that two hosts cannot share one. */
function useToken(db: Db, id: string, at: number): void {
  const used = db
    .update(schema.tokens)
    .set({ usesLeft: sql`${schema.tokens.usesLeft} - 1`, lastUsedAt: at })
    .where(and(eq(schema.tokens.id, id), gt(schema.tokens.usesLeft, 0), isNull(schema.tokens.revokedAt)))
    .run();
  if (used.changes === 0) throw new Failure('ENROLL_TOKEN_INVALID', 'the token was used already');
}

/** Decided where it is written, so that of the last two administrators not each can revoke the other at once. */
function revokeToken(db: Db, id: string, at: number): void {
  const admins = db
    .select()
    .from(schema.tokens)
    .all()
    .filter((token) => isLivingAdmin(token, at));
  if (admins.length === 1 && admins[0]?.id === id)
    throw new Failure('CONFLICT', 'this is the last token of an administrator', {
      remedy: 'Make another one first (`lastgood tokens create --scope admin`), and revoke this one with it.',
    });
  db.update(schema.tokens)
    .set({ revokedAt: at })
    .where(and(eq(schema.tokens.id, id), isNull(schema.tokens.revokedAt)))
    .run();
}

/** Writes what differs; jobs are replaced, never changed, so identity tells. */
function saveLedger(db: Db, before: ControlLedger | null, after: ControlLedger, now: number): void {
  const { agentId, mergedIncarnation, epoch, commandSeq, acked } = after;
  const counters = { agentId, mergedIncarnation, epoch, commandSeq, acked };
  db.insert(schema.ledgers)
    .values(counters)
    .onConflictDoUpdate({ target: schema.ledgers.agentId, set: counters })
    .run();
  for (const [jobId, job] of after.jobs) {
    if (before?.jobs.get(jobId) === job) continue;
    const row = { jobId, agentId, target: job.spec.target, command: job.spec.command, state: job.state, ledger: job };
    // A job that only the agent knew (its catalog was lost) gets a row as well; the row of another agent is not touched.
    db.insert(schema.jobs)
      .values({ ...row, createdAt: now, createdBy: 'agent', idempotencyKey: null })
      .onConflictDoUpdate({
        target: schema.jobs.jobId,
        set: { state: job.state, ledger: job },
        setWhere: eq(schema.jobs.agentId, agentId),
      })
      .run();
  }
  if (before?.outbox === after.outbox) return;
  const kept = new Map(after.outbox.map((command) => [command.seq, command]));
  const had = new Map((before?.outbox ?? []).map((command) => [command.seq, command]));
  for (const seq of had.keys())
    if (!kept.has(seq))
      db.delete(schema.commands)
        .where(and(eq(schema.commands.agentId, agentId), eq(schema.commands.seq, seq)))
        .run();
  for (const [seq, command] of kept) {
    if (had.get(seq) === command) continue;
    db.insert(schema.commands)
      .values({ agentId, seq, command })
      .onConflictDoUpdate({ target: [schema.commands.agentId, schema.commands.seq], set: { command } })
      .run();
  }
}

function saveInventory(db: Db, agentId: string, targets: readonly TargetInventory[], seenAt: number): void {
  db.delete(schema.targets).where(eq(schema.targets.agentId, agentId)).run();
  for (const inventory of targets)
    db.insert(schema.targets).values({ agentId, name: inventory.name, inventory, seenAt }).run();
}

function saveBackup(db: Db, agentId: string, told: BackupSummary): void {
  const [known] = db.select().from(schema.backups).where(eq(schema.backups.backupId, told.backupId)).all();
  // An id that another host has announced stays that host's.
  if (known !== undefined && known.agentId !== agentId) return;
  const summary = reconcileBackup(known?.summary as BackupSummary | undefined, told);
  // A scan tells for the most part what is known: of that nothing need be written.
  if (isDeepStrictEqual(known?.summary, summary)) return;
  const row = {
    backupId: summary.backupId,
    agentId,
    target: summary.target,
    sequence: summary.sequence,
    state: summary.state,
    summary,
  };
  db.insert(schema.backups).values(row).onConflictDoUpdate({ target: schema.backups.backupId, set: row }).run();
}

/** A job tells its backup as it was when it was taken, perhaps long ago: of one that is known it can only confirm the manifest. */
function saveTakenBackup(db: Db, agentId: string, taken: BackupSummary): void {
  const own = and(eq(schema.backups.backupId, taken.backupId), eq(schema.backups.agentId, agentId));
  const [known] = db.select().from(schema.backups).where(own).all();
  const { manifestSha256 } = taken;
  saveBackup(db, agentId, known === undefined ? taken : { ...(known.summary as BackupSummary), manifestSha256 });
}

function saveScan(db: Db, change: Extract<Change, { type: 'scan' }>): void {
  const { agentId, backups: found, removed, targets, complete } = change;
  const seen = new Set(found.map((backup) => backup.backupId));
  for (const backup of found) saveBackup(db, agentId, backup);
  for (const backupId of removed)
    db.delete(schema.backups)
      .where(and(eq(schema.backups.backupId, backupId), eq(schema.backups.agentId, agentId)))
      .run();
  if (targets.length === 0) return;
  const [oldestSeen] = [...seen].sort();
  const [oldestRemoved = ''] = [...removed].sort();
  if (!complete && oldestSeen === undefined) return;
  // Where only the newest fitted, nothing is said of what is older than either list.
  const saidFrom = complete || oldestSeen === undefined ? '' : oldestSeen > oldestRemoved ? oldestSeen : oldestRemoved;
  const known = db
    .select()
    .from(schema.backups)
    .where(and(eq(schema.backups.agentId, agentId), inArray(schema.backups.target, [...targets])))
    .all();
  for (const row of known) {
    if (row.backupId < saidFrom || seen.has(row.backupId) || row.state === 'missing') continue;
    saveBackup(db, agentId, { ...(row.summary as BackupSummary), state: 'missing' });
  }
}

function saveVerdict(db: Db, { agentId, backupId, verdict }: Extract<Change, { type: 'verified' }>): void {
  const own = and(eq(schema.backups.backupId, backupId), eq(schema.backups.agentId, agentId));
  const [row] = db.select().from(schema.backups).where(own).all();
  if (row === undefined) return;
  const summary = row.summary as BackupSummary;
  // As the agent keeps it.
  const verified = standingVerdict(summary.verified, verdict);
  const suspect = summary.state === 'suspect' && verified.level < RESTORE_TEST_LEVEL;
  saveBackup(db, row.agentId, {
    ...summary,
    verified,
    state: !verified.passed ? 'bad' : suspect ? 'suspect' : 'good',
  });
}
