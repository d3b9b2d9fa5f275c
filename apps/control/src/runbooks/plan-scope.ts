import type { RunbookHost, RunbookTarget } from '@lastgood/core/runbooks';
import type { Catalog } from '../catalog/catalog.ts';
import type { Planner } from '../planner/planner.ts';
import type { AgentRegistry } from '../sessions/agent-registry.ts';

export interface FleetKnowledge {
  readonly catalog: Catalog;
  readonly registry: AgentRegistry;
  readonly planner: Planner;
}
/** At most this many backups of a target are searched. */
const MAX_BACKUPS = 10_000;

/** The hosts by `environment/host`, with the checks and hooks that their agents have reported. */
export async function readHosts({
  catalog,
  registry,
}: Pick<FleetKnowledge, 'catalog' | 'registry'>): Promise<Map<string, RunbookHost>> {
  const names = new Map((await catalog.runbooks.hostCommands()).map((each) => [each.agentId, each]));
  return new Map(
    registry.list().map(({ agent, session }) => {
      const reported = names.get(agent.agentId);
      return [
        `${agent.environment}/${agent.host}`,
        {
          isOnline: session?.alive === true,
          checks: reported === undefined ? null : new Set(reported.checks),
          hooks: reported === undefined ? null : new Set(reported.hooks),
        },
      ];
    }),
  );
}

/** The targets by `environment/host/target`, as far as `wanted` names them, with their backups and the instants that can be restored. */
export async function readTargets(
  { catalog, registry, planner }: FleetKnowledge,
  wanted: ReadonlySet<string>,
): Promise<Map<string, RunbookTarget>> {
  const found = new Map<string, RunbookTarget>();
  for (const { agentId, inventory } of await catalog.targets.list({})) {
    const agent = registry.agent(agentId);
    const path = `${agent?.environment}/${agent?.host}/${inventory.name}`;
    if (agent === undefined || !wanted.has(path)) continue;
    const target = inventory.name;
    const backups = await catalog.backups.list({ agentId, target }, MAX_BACKUPS);
    const stream = registry.session(agentId)?.streamOf(target) ?? inventory.stream;
    const restoreTime = planner.targetOf(agentId, target)?.status.restoreTime;
    found.set(path, {
      backups: backups.map(({ summary }) => summary),
      reported: { windows: inventory.windows, stream },
      restoreMs: restoreTime !== undefined && restoreTime !== null && 'ms' in restoreTime ? restoreTime.ms : null,
    });
  }
  return found;
}
