import type { AdminApi, SetAsideView, TargetView } from '@lastgood/protocol';
import type { ApiParts } from './api-parts.ts';
import { isOnline } from './host-state.ts';
import { selectTargets } from './target-selection.ts';

export class TargetsService {
  readonly #parts: ApiParts;

  constructor(parts: ApiParts) {
    this.#parts = parts;
  }

  async list({ target }: Parameters<AdminApi['targets']>[0]): Promise<TargetView[]> {
    const { catalog, registry } = this.#parts;
    const selected = await selectTargets(this.#parts, target);
    const [only] = selected.length === 1 ? selected : [];
    const scope = only === undefined ? {} : { agentId: only.agent.agentId, target: only.record.inventory.name };
    const newest = new Map(
      (await catalog.backups.newestGood(scope)).map((found) => [`${found.agentId}/${found.target}`, found]),
    );
    return selected.map(({ agent, record }) => {
      const found = newest.get(`${agent.agentId}/${record.inventory.name}`);
      return {
        ...record.inventory,
        environment: agent.environment,
        host: agent.host,
        online: isOnline(registry, agent.agentId),
        lastGood: found?.lastGood ?? null,
        lastTested: found?.lastTested ?? null,
      };
    });
  }

  /** What restores and undos have set aside on the selected targets, as their agents report it. */
  async setAside({ target }: Parameters<AdminApi['setAside']>[0]): Promise<SetAsideView[]> {
    const { catalog } = this.#parts;
    const views: SetAsideView[] = [];
    for (const { agent, record } of await selectTargets(this.#parts, target)) {
      const { environment, host, agentId } = agent;
      for (const aside of record.inventory.setAside ?? []) {
        const job = aside.restoreJobId === null ? undefined : await catalog.jobs.get(aside.restoreJobId);
        const endedAt = job?.agentId === agentId ? job.job.endedAt : null;
        const at = endedAt === null ? null : new Date(endedAt).toISOString();
        views.push({ environment, host, target: record.inventory.name, ...aside, at });
      }
    }
    return views;
  }
}
