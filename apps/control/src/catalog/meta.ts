import { Bug } from '@lastgood/core';
import { eq } from 'drizzle-orm';
import type { Appliers, Db } from './db.ts';
import * as schema from './schema.ts';

export type MetaChange =
  | { readonly type: 'incarnation'; readonly incarnation: string }
  /** Tries whether anything can be written. */
  | { readonly type: 'probe'; readonly at: number };

function saveMeta(db: Db, key: string, value: string): void {
  db.insert(schema.meta).values({ key, value }).onConflictDoUpdate({ target: schema.meta.key, set: { value } }).run();
}

export const metaAppliers: Appliers<MetaChange> = {
  incarnation: (db, { incarnation }) => saveMeta(db, 'incarnation', incarnation),
  // A different value each time: SQLite writes nothing for one that is there already.
  probe: (db, { at }) => saveMeta(db, 'probed', String(at)),
};

export function readIncarnation(db: Db): string {
  const [row] = db.select().from(schema.meta).where(eq(schema.meta.key, 'incarnation')).all();
  if (row === undefined) throw new Bug('the catalog has no incarnation');
  return row.value;
}
