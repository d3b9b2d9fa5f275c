import type { EvidenceView, StoredEvidence } from '@lastgood/protocol';
import { desc, eq } from 'drizzle-orm';
import type { Appliers, Db } from './db.ts';
import * as schema from './schema.ts';

/** Adds a report. Throws CONFLICT when its number or its run has one. */
export type EvidenceChange = { readonly type: 'evidence.add'; readonly evidence: StoredEvidence };
export interface EvidenceQueries {
  /** The last one of the chain. */
  newest(): Promise<EvidenceView | undefined>;
  /** The newest first. */
  list(limit: number): Promise<EvidenceView[]>;
  get(sequence: number): Promise<StoredEvidence | undefined>;
}

const { evidence } = schema;
type Row = typeof evidence.$inferSelect;
const storedOf = (row: Row): StoredEvidence => ({ ...row, state: row.state as EvidenceView['state'] });
const viewOf = ({ sequence, runId, runbook, mode, state, endedAt, sha256 }: Row): EvidenceView => ({
  ...{ sequence, runId, runbook, mode, endedAt, sha256 },
  state: state as EvidenceView['state'],
});

export const evidenceAppliers: Appliers<EvidenceChange> = {
  'evidence.add': (db, { evidence: added }) => {
    db.insert(evidence).values(added).run();
  },
};

const selectList = (db: Db, limit: number): EvidenceView[] =>
  db.select().from(evidence).orderBy(desc(evidence.sequence)).limit(limit).all().map(viewOf);

export const evidenceQueries = (db: Db): EvidenceQueries => ({
  newest: async () => selectList(db, 1)[0],
  list: async (limit) => selectList(db, limit),
  get: async (sequence) => db.select().from(evidence).where(eq(evidence.sequence, sequence)).all().map(storedOf)[0],
});
