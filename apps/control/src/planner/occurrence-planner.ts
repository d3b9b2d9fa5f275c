import { type AgentContact, isMissed, PLAN_AHEAD_MS, planOccurrences, Timetable } from '@lastgood/core/schedules';
import type { Catalog, Change } from '../catalog/catalog.ts';
import type { AgentRegistry } from '../sessions/agent-registry.ts';

/** Occurrences are added when fewer than this are left ahead, so that most ticks write nothing. */
const REFILL_MS = 3_600_000;
const BATCH = 200;

/** Writes the occurrences of the next 48 hours that do not exist yet. */
export async function addOccurrences(catalog: Catalog, nowMs: number): Promise<void> {
  for (;;) {
    const schedules = await catalog.schedules.unplanned(nowMs + PLAN_AHEAD_MS - REFILL_MS, BATCH);
    const changes = schedules.map((schedule): Change => {
      const { entry, plannedUntil } = schedule;
      const plan = planOccurrences({ timetable: new Timetable(entry), plannedUntilMs: plannedUntil }, nowMs);
      return { type: 'schedule.plan', schedule, add: plan.add, plannedUntil: plan.plannedUntilMs };
    });
    if (changes.length > 0) await catalog.commit(changes);
    if (schedules.length < BATCH) return;
  }
}

function contactOf(registry: AgentRegistry, agentId: string): AgentContact {
  const session = registry.session(agentId);
  if (session === undefined || !session.alive) return { state: 'offline' };
  const { connectedAt, isCaughtUp, clockSkewMs } = session;
  return { state: 'online', connectedSinceMs: connectedAt, isCaughtUp, clockSkewMs };
}

/** Marks occurrences as missed that were due and not reported, although their agent could have reported. Returns these agents. */
export async function expireOccurrences(
  catalog: Catalog,
  registry: AgentRegistry,
  nowMs: number,
  upSinceMs: number,
): Promise<ReadonlySet<string>> {
  const expected = await catalog.occurrences.expected(nowMs);
  const missed = expected.filter(({ agentId, dueAt, windowMs }) =>
    isMissed({ dueMs: dueAt, windowMs, nowMs, upSinceMs, agent: contactOf(registry, agentId) }),
  );
  const occurrenceIds = missed.map(({ occurrenceId }) => occurrenceId);
  if (missed.length > 0) await catalog.commit([{ type: 'occurrence.expire', occurrenceIds }]);
  return new Set(missed.map(({ agentId }) => agentId));
}
