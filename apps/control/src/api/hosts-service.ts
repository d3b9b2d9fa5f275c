import type { HostView } from '@lastgood/protocol';
import type { ApiParts } from './api-parts.ts';
import { hostStateOf } from './host-state.ts';

export class HostsService {
  readonly #parts: ApiParts;

  constructor(parts: ApiParts) {
    this.#parts = parts;
  }

  async list(): Promise<HostView[]> {
    const { catalog, registry } = this.#parts;
    const targets = Map.groupBy(await catalog.targets.list({}), (target) => target.agentId);
    return registry.list().map(({ agent, session }) => ({
      agentId: agent.agentId,
      environment: agent.environment,
      host: agent.host,
      labels: agent.labels,
      state: hostStateOf(registry, agent),
      since: agent.lastSeenAt ?? agent.enrolledAt,
      agentVersion: agent.agentVersion,
      signingKey: agent.signingKey,
      clockSkewMs: session?.clockSkewMs ?? null,
      outboxDepth: session?.outboxDepth ?? 0,
      targets: (targets.get(agent.agentId) ?? []).map((target) => target.inventory.name),
    }));
  }
}
