import { wireErrorOf } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { createLocalJob, type Refuse } from './agent-commands.ts';
import type { AgentLedger, EventFactory, HandledInstant } from './agent-ledger.ts';

/**
 * Why an occurrence does not run. `overlap`: the run before has not ended · `superseded`: a newer run replaces it · `agent_down`: its
 * window passed while the agent did not run · `late`: its window passed for another reason.
 */
export type SkipReason = 'overlap' | 'superseded' | 'agent_down' | 'late';
const SKIPPED: Record<SkipReason, string> = {
  overlap: 'the run before it had not ended',
  superseded: 'a later run of the schedule replaces it',
  agent_down: 'the agent did not run when it was due',
  late: 'its window passed before it could start',
};

/** What the agent decided about one instant of a schedule. `jobId` is the id of the occurrence. */
export type OccurrenceDecision = HandledInstant & { readonly scheduleId: string; readonly jobId: string } & (
    | { readonly action: 'fire'; readonly startBy: number }
    | { readonly action: 'skip'; readonly reason: SkipReason }
  );

/**
 * Records decisions, each with its job, in one ledger to be journaled at once: an instant that is handled has its job, and one that
 * is not is decided again. A skipped occurrence is a job that was rejected with OCCURRENCE_SKIPPED, so that it is reported as well.
 */
export function handleOccurrences(
  ledger: AgentLedger,
  decisions: readonly OccurrenceDecision[],
  eventFactory: EventFactory,
  refuse: Refuse,
): AgentLedger {
  const schedules = new Map(ledger.schedules?.entries.map((entry) => [entry.scheduleId, entry]));
  const handled = new Map(ledger.handled);
  let next = ledger;
  for (const decision of decisions) {
    const { scheduleId, jobId, dueMs, repeat } = decision;
    const schedule = schedules.get(scheduleId);
    if (schedule === undefined) continue;
    const instants = [...(handled.get(scheduleId) ?? []), { dueMs, repeat }];
    handled.set(scheduleId, instants.slice(-LIMITS.handledInstants));
    const skipped =
      decision.action === 'skip' ? wireErrorOf('OCCURRENCE_SKIPPED', SKIPPED[decision.reason]) : undefined;
    const job = {
      jobId,
      spec: schedule.spec,
      origin: { kind: 'schedule', scheduleId, due: dueMs },
      startBy: decision.action === 'fire' ? decision.startBy : dueMs + schedule.windowMs,
      deadlineMs: schedule.maxRunMs,
    } as const;
    next = createLocalJob(next, job, eventFactory, (spec) => skipped ?? refuse(spec)).ledger;
  }
  return { ...next, handled, decidedAt: eventFactory.now };
}
