import { type RunbookMode, type RunbookRun, runbookRunSchema } from '@lastgood/protocol';
import { and, desc, eq, isNotNull, isNull } from 'drizzle-orm';
import type { Appliers, Db } from './db.ts';
import * as schema from './schema.ts';

export interface HostCommandNames {
  readonly agentId: string;
  readonly checks: readonly string[];
  readonly hooks: readonly string[];
}
export type RunbookChange =
  | ({ readonly type: 'host.commands' } & HostCommandNames)
  /** A new run. Throws CONFLICT when its id exists. */
  | { readonly type: 'runbook.start'; readonly run: RunbookRun }
  | { readonly type: 'runbook.step'; readonly run: RunbookRun };

export interface RunFilter {
  readonly runbook?: string | undefined;
  readonly mode?: RunbookMode;
  /** Only those that have ended. */
  readonly ended?: boolean;
}
export interface RunbookQueries {
  hostCommands(): Promise<HostCommandNames[]>;
  /** The runs that have not ended. */
  open(): Promise<RunbookRun[]>;
  get(runId: string): Promise<RunbookRun | undefined>;
  /** The newest first. */
  list(filter: RunFilter, limit: number): Promise<RunbookRun[]>;
}

const { hostCommands, runbookRuns } = schema;

/** None for a run that does not fit its schema: one such run must not stand in the way of the others, nor of a start. */
function runsOf(row: typeof runbookRuns.$inferSelect): RunbookRun[] {
  const parsed = runbookRunSchema.safeParse(row.run);
  return parsed.success ? [parsed.data] : [];
}
const columnsOf = (run: RunbookRun) => ({
  runId: run.runId,
  runbook: run.plan.runbook,
  mode: run.plan.mode,
  state: run.state,
  startedAt: run.startedAt,
  endedAt: run.endedAt,
  run,
});

export const runbookAppliers: Appliers<RunbookChange> = {
  'host.commands': (db, { agentId, checks, hooks }) => {
    const set = { checks: [...checks], hooks: [...hooks] };
    db.insert(hostCommands)
      .values({ agentId, ...set })
      .onConflictDoUpdate({ target: hostCommands.agentId, set })
      .run();
  },
  'runbook.start': (db, { run }) => {
    db.insert(runbookRuns).values(columnsOf(run)).run();
  },
  'runbook.step': (db, { run }) => {
    db.update(runbookRuns).set(columnsOf(run)).where(eq(runbookRuns.runId, run.runId)).run();
  },
};

export const runbookQueries = (db: Db): RunbookQueries => ({
  hostCommands: async () => db.select().from(hostCommands).all(),
  open: async () => db.select().from(runbookRuns).where(isNull(runbookRuns.endedAt)).all().flatMap(runsOf),
  get: async (runId) => db.select().from(runbookRuns).where(eq(runbookRuns.runId, runId)).all().flatMap(runsOf)[0],
  list: async ({ runbook, mode, ended }, limit) =>
    db
      .select()
      .from(runbookRuns)
      .where(
        and(
          runbook === undefined ? undefined : eq(runbookRuns.runbook, runbook),
          mode === undefined ? undefined : eq(runbookRuns.mode, mode),
          ended === true ? isNotNull(runbookRuns.endedAt) : undefined,
        ),
      )
      .orderBy(desc(runbookRuns.startedAt), desc(runbookRuns.runId))
      .limit(limit)
      .all()
      .flatMap(runsOf),
});
