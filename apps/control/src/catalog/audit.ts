import type { AuditEntry } from '@lastgood/protocol';
import { desc } from 'drizzle-orm';
import type { Appliers, Db } from './db.ts';
import * as schema from './schema.ts';

export type NewAuditEntry = Omit<AuditEntry, 'id'>;
export type AuditChange = { readonly type: 'audit'; readonly entry: NewAuditEntry };
export interface AuditQueries {
  /** The newest entries first. */
  list(limit: number): Promise<AuditEntry[]>;
}

export const auditAppliers: Appliers<AuditChange> = {
  audit: (db, { entry }) => {
    db.insert(schema.audit).values(entry).run();
  },
};

export const auditQueries = (db: Db): AuditQueries => ({
  list: async (limit) => db.select().from(schema.audit).orderBy(desc(schema.audit.id)).limit(limit).all(),
});
