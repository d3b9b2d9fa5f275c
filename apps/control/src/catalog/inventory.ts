import { LIMITS, type TargetInventory } from '@lastgood/protocol';
import { and, eq } from 'drizzle-orm';
import type { Appliers, Db, Scoped } from './db.ts';
import * as schema from './schema.ts';

export interface TargetRecord {
  readonly agentId: string;
  readonly inventory: TargetInventory;
  readonly seenAt: number;
}
/** Replaces the targets of an agent. */
export type InventoryChange = {
  readonly type: 'inventory';
  readonly agentId: string;
  readonly targets: readonly TargetInventory[];
  readonly seenAt: number;
};
export interface TargetQueries {
  list(scope: Scoped): Promise<TargetRecord[]>;
  /** When each database that a target has was first reported. */
  firstSeen(agentId: string, target: string): Promise<Map<string, number>>;
}

/** Notes new databases, and forgets those that a complete list of the server lacks: one of the same name would be a new one. */
function saveDatabases(db: Db, agentId: string, { name: target, state, databases }: TargetInventory, at: number): void {
  if (state !== 'ok') return;
  const table = schema.targetDatabases;
  const ofTarget = and(eq(table.agentId, agentId), eq(table.target, target));
  const known = new Set(
    db
      .select({ name: table.name })
      .from(table)
      .where(ofTarget)
      .all()
      .map(({ name }) => name),
  );
  const present = new Set(databases.map(({ name }) => name));
  for (const name of present)
    if (!known.has(name)) db.insert(table).values({ agentId, target, name, firstSeenAt: at }).run();
  if (databases.length >= LIMITS.inventoryDatabases) return;
  for (const name of known)
    if (!present.has(name))
      db.delete(table)
        .where(and(ofTarget, eq(table.name, name)))
        .run();
}

export const inventoryAppliers: Appliers<InventoryChange> = {
  inventory: (db, { agentId, targets, seenAt }) => {
    db.delete(schema.targets).where(eq(schema.targets.agentId, agentId)).run();
    for (const inventory of targets) {
      db.insert(schema.targets).values({ agentId, name: inventory.name, inventory, seenAt }).run();
      saveDatabases(db, agentId, inventory, seenAt);
    }
  },
};

export const targetQueries = (db: Db): TargetQueries => ({
  firstSeen: async (agentId, target) => {
    const table = schema.targetDatabases;
    const rows = db
      .select({ name: table.name, at: table.firstSeenAt })
      .from(table)
      .where(and(eq(table.agentId, agentId), eq(table.target, target)))
      .all();
    return new Map(rows.map(({ name, at }) => [name, at]));
  },
  list: async ({ agentId, target }) =>
    db
      .select()
      .from(schema.targets)
      .where(
        and(
          agentId === undefined ? undefined : eq(schema.targets.agentId, agentId),
          target === undefined ? undefined : eq(schema.targets.name, target),
        ),
      )
      .orderBy(schema.targets.name)
      .all()
      .map((row) => ({ agentId: row.agentId, inventory: row.inventory as TargetInventory, seenAt: row.seenAt })),
});
