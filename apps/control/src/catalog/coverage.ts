import { setImmediate as nextTurn } from 'node:timers/promises';
import { and, eq, sql } from 'drizzle-orm';
import type { Db, Scoped } from './db.ts';
import * as schema from './schema.ts';

/** Read at once; other work of the control plane runs in between. */
const PAGE_ROWS = 2_000;
/** Databases of one target; of more, those with the newest backups. */
export const MAX_COVERED_DATABASES = 2_000;

interface Place {
  readonly backupId: string;
  readonly sequence: number;
}
/** The ids of the newest and oldest backups that contain one database. */
export interface CoveredDatabase {
  readonly database: string;
  readonly newest: Place;
  readonly lastGood: Place | null;
  readonly lastTested: Place | null;
  readonly firstGood: Place | null;
}

const { backups, backupContents } = schema;

function selectPage(db: Db, { agentId, target }: Required<Scoped>, after: { name: string; backupId: string }) {
  return db
    .select({
      name: backupContents.name,
      backupId: backups.backupId,
      sequence: backups.sequence,
      state: backups.state,
      restorable: backups.restorable,
      restoreTested: backups.restoreTested,
    })
    .from(backupContents)
    .innerJoin(backups, eq(backups.backupId, backupContents.backupId))
    .where(
      and(
        eq(backupContents.agentId, agentId),
        eq(backupContents.target, target),
        sql`(${backupContents.name}, ${backupContents.backupId}) > (${after.name}, ${after.backupId})`,
      ),
    )
    .orderBy(backupContents.name, backupContents.backupId)
    .limit(PAGE_ROWS)
    .all();
}
type Row = ReturnType<typeof selectPage>[number];

const later = (place: Place | null, row: Row): Place =>
  place === null || row.sequence > place.sequence ? { backupId: row.backupId, sequence: row.sequence } : place;
const earlier = (place: Place | null, row: Row): Place =>
  place === null || row.sequence < place.sequence ? { backupId: row.backupId, sequence: row.sequence } : place;

function withRow(covered: CoveredDatabase | undefined, row: Row): CoveredDatabase {
  const { newest = null, lastGood = null, lastTested = null, firstGood = null } = covered ?? {};
  const isGood = row.state === 'good' && row.restorable;
  return {
    database: row.name,
    newest: later(newest, row),
    lastGood: isGood ? later(lastGood, row) : lastGood,
    lastTested: isGood && row.restoreTested ? later(lastTested, row) : lastTested,
    firstGood: isGood ? earlier(firstGood, row) : firstGood,
  };
}

/** Which backups cover each database of a target. Read page by page, so that a host with many rows holds up nobody. */
export async function selectCovered(db: Db, scope: Required<Scoped>): Promise<CoveredDatabase[]> {
  const covered = new Map<string, CoveredDatabase>();
  let after = { name: '', backupId: '' };
  for (;;) {
    const rows = selectPage(db, scope, after);
    for (const row of rows) covered.set(row.name, withRow(covered.get(row.name), row));
    const last = rows.at(-1);
    if (last === undefined || rows.length < PAGE_ROWS) break;
    after = last;
    await nextTurn();
  }
  const all = [...covered.values()];
  if (all.length <= MAX_COVERED_DATABASES) return all;
  return all.toSorted((a, b) => b.newest.sequence - a.newest.sequence).slice(0, MAX_COVERED_DATABASES);
}
