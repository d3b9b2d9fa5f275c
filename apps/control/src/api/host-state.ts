import type { HostView } from '@lastgood/protocol';
import type { AgentRecord } from '../catalog/agents.ts';
import type { AgentRegistry } from '../sessions/agent-registry.ts';

export const isOnline = (registry: AgentRegistry, agentId: string): boolean =>
  registry.session(agentId)?.alive ?? false;

export const hostStateOf = (registry: AgentRegistry, agent: AgentRecord): HostView['state'] =>
  // Two agents use a quarantined identity. Neither may connect, so when it was last seen says nothing.
  agent.quarantinedAt !== null
    ? 'quarantined'
    : isOnline(registry, agent.agentId)
      ? 'online'
      : agent.lastSeenAt === null
        ? 'never'
        : 'offline';
