import { setImmediate } from 'node:timers/promises';
import { streamStateOf } from '@lastgood/core';
import { compareStates, type RestoreMeasurement, type SharedFacts } from '@lastgood/core/objectives';
import type { AdminApi, BackupSummary, TargetStatus } from '@lastgood/protocol';
import type { Coverage } from '../catalog/backup-queries.ts';
import type { LastAttempt, RestoreTime } from '../catalog/jobs.ts';
import type { ApiParts } from './api-parts.ts';
import type { TargetRecords } from './database-facts.ts';
import { hostStateOf } from './host-state.ts';
import { objectivesView } from './objectives-view.ts';
import { type SelectedTarget, selectTargets } from './target-selection.ts';
import { bareHostStatus, targetStatus } from './target-status.ts';

/** The commands whose failed last attempt is a reason for the state of a target. */
const WATCHED = ['backup', 'verify', 'rotate'];

/** Without a fleet file no policy could select a target, so that none is missed. */
const NO_OBJECTIVES = { rpoMs: null, rtoMs: null, restoreTestMs: null };

const nameOf = ({ environment, host, target }: TargetStatus): string => `${environment}/${host}/${target ?? ''}`;

/** Worst first, then by name. */
const byState = (a: TargetStatus, b: TargetStatus): number =>
  compareStates(a.state, b.state) || (nameOf(a) < nameOf(b) ? -1 : 1);

/** A restore test of a backup with one database measures the restore of that database; one of several measures none of them. */
function contentOf(time: RestoreTime, backup: BackupSummary | undefined): string | null {
  const [only, ...others] = backup?.contents ?? [];
  return time.database ?? (others.length === 0 ? (only?.name ?? null) : null);
}

export class StatusService {
  readonly #parts: ApiParts;

  constructor(parts: ApiParts) {
    this.#parts = parts;
  }

  /** The status of the selected targets; of all targets, and of the hosts that have reported none, without a selector. */
  async list({ target, maxAgeMs }: Parameters<AdminApi['status']>[0]): Promise<TargetStatus[]> {
    const { registry, clock, planner } = this.#parts;
    const selected = await selectTargets(this.#parts, target);
    const statuses: TargetStatus[] = [];
    for (const each of selected) {
      const { agent } = each;
      const { records, attempts } = await this.#records(each);
      const planned = planner.targetOf(agent.agentId, each.record.inventory.name);
      const policy = planned?.facts.policy ?? null;
      const shared: SharedFacts = {
        environment: agent.environment,
        host: agent.host,
        target: each.record.inventory.name,
        objectives: planned === null ? NO_OBJECTIVES : (policy?.objectives ?? null),
        maxAgeMs: maxAgeMs ?? null,
        requireStream: policy?.requireStream ?? false,
        streamState: streamStateOf(each.record.inventory),
        hostState: hostStateOf(registry, agent),
        isReported: true,
        failedAttempts: attempts.flatMap(({ command, at, failingSince, cause }) =>
          failingSince === null ? [] : [{ command, atMs: at, sinceMs: failingSince, cause }],
        ),
        firstBackupDueMs: planned?.facts.objectives.firstBackupDueMs ?? null,
      };
      const status = targetStatus(agent, shared, records, clock.now());
      statuses.push({ ...status, objectives: objectivesView(planned) });
      // A fleet has many targets, and agents wait for their turn.
      await setImmediate();
    }
    if (target === undefined) {
      const reported = new Set(selected.map(({ agent }) => agent.agentId));
      const others = registry.list().filter(({ agent }) => !reported.has(agent.agentId));
      statuses.push(...others.map(({ agent }) => bareHostStatus(agent, hostStateOf(registry, agent))));
    }
    return statuses.sort(byState);
  }

  async #records({
    agent,
    record: { inventory },
  }: SelectedTarget): Promise<{ records: TargetRecords; attempts: LastAttempt[] }> {
    const { catalog } = this.#parts;
    const { agentId, environment, host } = agent;
    const { name, engine } = inventory;
    const coverage = await catalog.backups.coverage(agentId, name);
    const attempts = await catalog.jobs.lastAttempts(agentId, name, WATCHED);
    const records = {
      environment,
      host,
      inventory,
      coverage,
      measurements: await this.#measurements({ environment, host, target: name, engine }, agentId, coverage),
      copies: await catalog.jobs.restoredCopies(agentId, name),
      firstSeen: await catalog.targets.firstSeen(agentId, name),
      backupAttempts: await catalog.jobs.backupAttempts(agentId, name),
    };
    return { records, attempts };
  }

  /** The restores and restore tests of a target. Of a backup that was removed the size is not known, so it gives no speed. */
  async #measurements(
    place: Pick<RestoreMeasurement, 'environment' | 'host' | 'target' | 'engine'>,
    agentId: string,
    coverage: readonly Coverage[],
  ): Promise<RestoreMeasurement[]> {
    const { backups, jobs } = this.#parts.catalog;
    const times = await jobs.restoreTimes(agentId, place.target);
    const known = await backups.summaries(times.map(({ backupId }) => backupId));
    const method = coverage[0]?.newest.method ?? '';
    return times.map((time) => {
      const backup = known.get(time.backupId);
      const content = contentOf(time, backup);
      const bytes =
        content === null ? backup?.producedBytes : backup?.contents.find(({ name }) => name === content)?.bytes;
      return {
        ...place,
        method: backup?.method ?? method,
        content,
        bytes: bytes ?? 0,
        durationMs: time.durationMs,
        atMs: time.endedAt,
      };
    });
  }
}
