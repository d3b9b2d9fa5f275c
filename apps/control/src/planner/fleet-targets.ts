import type { MatchTarget } from '@lastgood/core/fleet-file';
import type { AgentRecord } from '../catalog/agents.ts';
import type { TargetRecord } from '../catalog/inventory.ts';

/** A target as the selectors of policies see it. A label of the target wins over one of its host. */
export const matchTargetOf = (agent: AgentRecord, { inventory }: Pick<TargetRecord, 'inventory'>): MatchTarget => ({
  environment: agent.environment,
  host: agent.host,
  target: inventory.name,
  engine: inventory.engine,
  labels: { ...agent.labels, ...inventory.labels },
});
