import type { TargetInventory } from '@lastgood/protocol';
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
}

export const inventoryAppliers: Appliers<InventoryChange> = {
  inventory: (db, { agentId, targets, seenAt }) => {
    db.delete(schema.targets).where(eq(schema.targets.agentId, agentId)).run();
    for (const inventory of targets)
      db.insert(schema.targets).values({ agentId, name: inventory.name, inventory, seenAt }).run();
  },
};

export const targetQueries = (db: Db): TargetQueries => ({
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
