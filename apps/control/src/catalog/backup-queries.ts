import { setImmediate as nextTurn } from 'node:timers/promises';
import type { BackupSummary } from '@lastgood/protocol';
import { and, desc, eq, inArray, max } from 'drizzle-orm';
import { selectCovered } from './coverage.ts';
import type { Db, Scoped } from './db.ts';
import * as schema from './schema.ts';

export interface BackupRecord {
  readonly agentId: string;
  readonly summary: BackupSummary;
}
export interface NewestGood {
  readonly agentId: string;
  readonly target: string;
  readonly lastGood: BackupSummary;
  readonly lastTested: BackupSummary | null;
}
/** The newest backups of a target that contain one database. */
export interface Coverage {
  readonly database: string;
  /** Whatever its state. */
  readonly newest: BackupSummary;
  readonly lastGood: BackupSummary | null;
  /** The newest good one that passed a restore test. */
  readonly lastTested: BackupSummary | null;
  /** The oldest good one. */
  readonly firstGood: BackupSummary | null;
}
export interface BackupQueries {
  get(backupId: string): Promise<BackupRecord | undefined>;
  /** The newest first. */
  list(scope: Scoped, limit: number): Promise<BackupRecord[]>;
  /** The ids of the backups that are held, however old they are. */
  held(scope: Scoped): Promise<string[]>;
  /** The newest good backup of each target, and the newest good one that passed a restore test. */
  newestGood(scope: Scoped): Promise<NewestGood[]>;
  /** The newest backups of each database that backups of one target contain, of at most MAX_COVERED_DATABASES. */
  coverage(agentId: string, target: string): Promise<Coverage[]>;
  /** The summaries of these backups, as far as the catalog has them. */
  summaries(backupIds: readonly string[]): Promise<Map<string, BackupSummary>>;
}

const { backups } = schema;

const inScope = ({ agentId, target }: Scoped) =>
  and(
    agentId === undefined ? undefined : eq(backups.agentId, agentId),
    target === undefined ? undefined : eq(backups.target, target),
  );

/** The good backups of a scope that its agent can restore: all, or only those that passed a restore test. */
const goodOnes = (scope: Scoped, restoreTested: boolean) =>
  and(
    eq(backups.state, 'good'),
    eq(backups.restorable, true),
    inScope(scope),
    restoreTested ? eq(backups.restoreTested, true) : undefined,
  );

function selectBackups(db: Db, where: ReturnType<typeof and>, limit: number): BackupRecord[] {
  // Backup ids are time-sortable, so they order across targets; within a target the sequence agrees.
  const rows = db.select().from(backups).where(where).orderBy(desc(backups.backupId)).limit(limit).all();
  return rows.map(({ agentId, summary }) => ({ agentId, summary: summary as BackupSummary }));
}

function selectNewest(db: Db, scope: Scoped, restoreTested: boolean) {
  const { agentId, target, summary } = backups;
  // SQLite guarantees that the other columns come from the row that holds the maximum.
  const rows = db
    .select({ agentId, target, summary, sequence: max(backups.sequence) })
    .from(backups)
    .where(goodOnes(scope, restoreTested))
    .groupBy(agentId, target)
    .all();
  return new Map(
    rows.map((row) => [`${row.agentId}/${row.target}`, { ...row, summary: row.summary as BackupSummary }]),
  );
}

/** Read at once; other work of the control plane runs in between. */
const SUMMARY_ROWS = 100;

async function selectSummaries(db: Db, ids: readonly string[]): Promise<Map<string, BackupSummary>> {
  const summaries = new Map<string, BackupSummary>();
  for (let start = 0; start < ids.length; start += SUMMARY_ROWS) {
    const rows = db
      .select({ backupId: backups.backupId, summary: backups.summary })
      .from(backups)
      .where(inArray(backups.backupId, ids.slice(start, start + SUMMARY_ROWS)))
      .all();
    for (const { backupId, summary } of rows) summaries.set(backupId, summary as BackupSummary);
    await nextTurn();
  }
  return summaries;
}

/** Each summary is read once, however many databases it contains. */
async function selectCoverage(db: Db, scope: Required<Scoped>): Promise<Coverage[]> {
  const covered = await selectCovered(db, scope);
  const ids = covered.flatMap((each) => [each.newest, each.lastGood, each.lastTested, each.firstGood]);
  const summaries = await selectSummaries(db, [...new Set(ids.flatMap((place) => place?.backupId ?? []))]);
  const of = (place: { backupId: string } | null): BackupSummary | null => summaries.get(place?.backupId ?? '') ?? null;
  return covered.flatMap(({ database, ...places }) => {
    const newest = of(places.newest);
    if (newest === null) return [];
    const { lastGood, lastTested, firstGood } = places;
    return [{ database, newest, lastGood: of(lastGood), lastTested: of(lastTested), firstGood: of(firstGood) }];
  });
}

export const backupQueries = (db: Db): BackupQueries => ({
  get: async (backupId) => selectBackups(db, eq(backups.backupId, backupId), 1)[0],
  list: async (scope, limit) => selectBackups(db, inScope(scope), limit),
  held: async (scope) =>
    db
      .select({ backupId: backups.backupId })
      .from(backups)
      .where(and(inScope(scope), eq(backups.held, true)))
      .all()
      .map((row) => row.backupId),
  newestGood: async (scope) => {
    const tested = selectNewest(db, scope, true);
    return [...selectNewest(db, scope, false)].map(([key, { agentId, target, summary }]) => ({
      agentId,
      target,
      lastGood: summary,
      lastTested: tested.get(key)?.summary ?? null,
    }));
  },
  coverage: async (agentId, target) => selectCoverage(db, { agentId, target }),
  summaries: async (backupIds) => selectSummaries(db, [...new Set(backupIds)]),
});
