import type { TargetStatus } from '@lastgood/core/objectives';
import { eq } from 'drizzle-orm';
import type { Appliers, Db } from './db.ts';
import * as schema from './schema.ts';

/** What the planner computed for targets; those of `agentId` that are not in the list have no policy any more. */
export type TargetStatusChange = {
  readonly type: 'target-statuses';
  readonly agentId: string;
  readonly statuses: readonly TargetStatus[];
  readonly at: number;
};
export interface TargetStatusRecord {
  readonly agentId: string;
  readonly status: TargetStatus;
  readonly computedAt: number;
}
export interface TargetStatusQueries {
  list(): Promise<TargetStatusRecord[]>;
}

const { targetStatuses } = schema;

export const targetStatusAppliers: Appliers<TargetStatusChange> = {
  'target-statuses': (db, { agentId, statuses, at }) => {
    db.delete(targetStatuses).where(eq(targetStatuses.agentId, agentId)).run();
    for (const status of statuses)
      db.insert(targetStatuses)
        .values({ agentId, target: status.target, state: status.state, status, computedAt: at })
        .run();
  },
};

export const targetStatusQueries = (db: Db): TargetStatusQueries => ({
  list: async () =>
    db
      .select()
      .from(targetStatuses)
      .all()
      .map(({ agentId, status, computedAt }) => ({ agentId, status: status as TargetStatus, computedAt })),
});
