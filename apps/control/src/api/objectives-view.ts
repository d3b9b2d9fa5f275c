import type { ObjectivesView } from '@lastgood/protocol';
import type { PlannedTarget } from '../planner/planner.ts';

/** Whether a target meets its objectives; null when the planner does not know it. */
export function objectivesView(planned: PlannedTarget | null): ObjectivesView | null {
  if (planned === null) return null;
  const { facts, status } = planned;
  const { state, reasons, recoveryPoint, exposureMs, restoreTime, restoreTest } = status;
  return {
    state,
    reasons: reasons.map((reason) => ({ ...reason })),
    rpoMs: facts.policy?.objectives.rpoMs ?? null,
    rtoMs: facts.policy?.objectives.rtoMs ?? null,
    recoveryPointAt: recoveryPoint?.atMs ?? null,
    exposureMs,
    restoreTime: restoreTime.basis === 'unknown' ? null : { ms: restoreTime.ms, basis: restoreTime.basis },
    restoreTest:
      restoreTest === null
        ? null
        : {
            at: restoreTest.atMs,
            level: restoreTest.level,
            backupId: restoreTest.backupId,
            isStale: restoreTest.isStale,
          },
  };
}
