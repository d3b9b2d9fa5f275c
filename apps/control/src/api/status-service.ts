import { setImmediate } from 'node:timers/promises';
import type { AdminApi, TargetStatus } from '@lastgood/protocol';
import type { ApiParts } from './api-parts.ts';
import { databaseStatuses } from './database-status.ts';
import { hostStateOf } from './host-state.ts';
import { objectivesView } from './objectives-view.ts';
import { selectTargets } from './target-selection.ts';
import { bareHostStatus, targetStatus } from './target-status.ts';

export class StatusService {
  readonly #parts: ApiParts;

  constructor(parts: ApiParts) {
    this.#parts = parts;
  }

  /** The status of the selected targets; of all targets, and of the hosts that have reported none, without a selector. */
  async list({ target }: Parameters<AdminApi['status']>[0]): Promise<TargetStatus[]> {
    const { catalog, registry, planner } = this.#parts;
    const selected = await selectTargets(this.#parts, target);
    const statuses: TargetStatus[] = [];
    for (const { agent, record } of selected) {
      const { agentId } = agent;
      const coverage = await catalog.backups.coverage(agentId, record.inventory.name);
      const restoreTimes = await catalog.jobs.restoreTimes(agentId, record.inventory.name);
      const databases = databaseStatuses(record.inventory, coverage, restoreTimes);
      const objectives = objectivesView(planner.targetOf(agentId, record.inventory.name));
      statuses.push(targetStatus(agent, hostStateOf(registry, agent), record.inventory, databases, objectives));
      // A fleet has many targets, and agents wait for their turn.
      await setImmediate();
    }
    if (target !== undefined) return statuses;
    const reported = new Set(selected.map(({ agent }) => agent.agentId));
    const others = registry.list().filter(({ agent }) => !reported.has(agent.agentId));
    return [...statuses, ...others.map(({ agent }) => bareHostStatus(agent, hostStateOf(registry, agent)))];
  }
}
