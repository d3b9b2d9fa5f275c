import { Failure } from '@lastgood/core';
import { desc } from 'drizzle-orm';
import type { Appliers, Db } from './db.ts';
import * as schema from './schema.ts';

export interface FleetFileRecord {
  readonly revision: number;
  /** As the file writes it. */
  readonly content: unknown;
  readonly appliedAt: number;
  readonly appliedBy: string;
}
/** Puts a fleet file in force. Throws CONFLICT when `before` is not the revision that is in force. */
export type FleetFileChange = {
  readonly type: 'fleet.apply';
  /** 0: no file was applied before. */
  readonly before: number;
  readonly content: unknown;
  readonly at: number;
  readonly by: string;
};
export interface FleetFileQueries {
  /** The one in force. */
  current(): Promise<FleetFileRecord | undefined>;
}

const { fleetFiles } = schema;

const newest = (db: Db): FleetFileRecord | undefined =>
  db.select().from(fleetFiles).orderBy(desc(fleetFiles.revision)).limit(1).all()[0];

export const fleetFileAppliers: Appliers<FleetFileChange> = {
  'fleet.apply': (db, { before, content, at, by }) => {
    if ((newest(db)?.revision ?? 0) !== before)
      throw new Failure('CONFLICT', 'another fleet file was applied meanwhile', {
        remedy: 'Compare again with `lastgood diff -f`, then apply.',
      });
    db.insert(fleetFiles).values({ content, appliedAt: at, appliedBy: by }).run();
  },
};

export const fleetFileQueries = (db: Db): FleetFileQueries => ({ current: async () => newest(db) });
