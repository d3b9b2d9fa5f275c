import type { Clock } from '@lastgood/core';
import { severityOf } from '@lastgood/core/alerts';
import { type FleetMetrics, metricFamilies, renderExposition, type TargetMetrics } from '@lastgood/core/metrics';
import { OCCURRENCE_STATES, type OccurrenceState } from '@lastgood/core/schedules';
import type { Catalog } from '../catalog/catalog.ts';
import type { PlannedTarget, Planner } from '../planner/planner.ts';
import type { AgentRegistry } from '../sessions/agent-registry.ts';
import { VERSION } from '../version.ts';
import type { JobCounter } from './job-counter.ts';

const WEEK_MS = 7 * 86_400_000;
const DAY_MS = 86_400_000;

export interface MetricParts {
  readonly catalog: Catalog;
  readonly registry: AgentRegistry;
  readonly planner: Planner;
  readonly jobCounter: JobCounter;
  readonly clock: Clock;
}

function targetMetricsOf({ facts, status }: PlannedTarget): TargetMetrics {
  const { newestGood, policy, match, lastBackup } = facts;
  const { restoreTime, restoreTest, recoveryPoint } = status;
  const instant = (text: string): number => Date.parse(text);
  return {
    environment: match.environment,
    host: match.host,
    target: match.target,
    engine: match.engine,
    state: status.state,
    recoveryPointMs: recoveryPoint?.atMs ?? null,
    lastBackup:
      newestGood === null
        ? null
        : {
            finishedMs: instant(newestGood.finishedAt),
            sizeBytes: newestGood.producedBytes,
            durationMs: instant(newestGood.finishedAt) - instant(newestGood.startedAt),
          },
    lastAttempt: lastBackup,
    restoreTest,
    restoreTime: restoreTime.basis === 'unknown' ? null : { ms: restoreTime.ms, basis: restoreTime.basis },
    rpoMs: policy?.objectives.rpoMs ?? null,
    rtoMs: policy?.objectives.rtoMs ?? null,
    logLagMs: null,
  };
}

async function fleetMetrics(
  { catalog, registry, planner, jobCounter }: MetricParts,
  nowMs: number,
): Promise<FleetMetrics> {
  const occurrences = Object.fromEntries(OCCURRENCE_STATES.map((state) => [state, 0])) as Record<
    OccurrenceState,
    number
  >;
  for (const { state, count } of await catalog.occurrences.counts(nowMs - WEEK_MS, nowMs)) occurrences[state] = count;
  const firing = planner.alerts.alerts.filter(({ state }) => state === 'firing' || state === 'acknowledged');
  return {
    version: VERSION,
    lastTickMs: planner.lastTickMs,
    targets: planner.targets.map(targetMetricsOf),
    hosts: registry.list().map(({ agent: { environment, host }, session }) => ({
      environment,
      host,
      isOnline: session?.alive ?? false,
      clockSkewMs: session?.clockSkewMs ?? null,
    })),
    repositories: [],
    jobs: jobCounter.counts,
    occurrences,
    alerts: [...Map.groupBy(firing, ({ code }) => code)].map(([code, alerts]) => ({
      code,
      severity: severityOf(code),
      count: alerts.length,
    })),
    undeliveredNotifications: (await catalog.notifications.undelivered(nowMs - DAY_MS)).length,
  };
}

/** All metrics in the text format of Prometheus, as the last tick of the planner found the fleet. */
export async function renderMetrics(parts: MetricParts): Promise<string> {
  const nowMs = parts.clock.now();
  const families = metricFamilies(await fleetMetrics(parts, nowMs), { nowMs, withFoundingNames: true });
  return [...renderExposition(families)].join('');
}
