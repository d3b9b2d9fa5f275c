import { Failure } from '@lastgood/core';
import type { AgentRecord } from '../catalog/agents.ts';
import type { Scoped } from '../catalog/db.ts';
import type { TargetRecord } from '../catalog/inventory.ts';
import type { ApiParts } from './api-parts.ts';

/** The inventory of a target with what the last heartbeat of its agent reported of the log stream. */
function withStream({ registry }: Parts, record: TargetRecord): TargetRecord {
  const stream = registry.session(record.agentId)?.streamOf(record.inventory.name);
  return stream === undefined ? record : { ...record, inventory: { ...record.inventory, stream } };
}

export interface SelectedTarget {
  readonly agent: AgentRecord;
  readonly record: TargetRecord;
}
type Parts = Pick<ApiParts, 'catalog' | 'registry'>;

/**
 * The targets that a selector names: `target`, `host/target` or `environment/host/target`; all without one. Throws NOT_FOUND if
 * it names none.
 */
export async function selectTargets(parts: Parts, selector: string | undefined): Promise<SelectedTarget[]> {
  const { catalog, registry } = parts;
  const wanted = selector?.split('/') ?? [];
  const [target, host, environment] = wanted.toReversed();
  // A full name is looked up; only the others need to go through every target of the name.
  const agentId =
    host === undefined || environment === undefined ? undefined : registry.agentNamed(environment, host)?.agentId;
  const unknown = wanted.length > 3 || (environment !== undefined && agentId === undefined);
  const records = unknown
    ? []
    : await catalog.targets.list({
        ...(agentId === undefined ? {} : { agentId }),
        ...(target === undefined ? {} : { target }),
      });
  const matching = records.flatMap((record) => {
    const agent = registry.agent(record.agentId);
    return agent === undefined || (host !== undefined && agent.host !== host)
      ? []
      : [{ agent, record: withStream(parts, record) }];
  });
  if (selector !== undefined && matching.length === 0)
    throw new Failure('NOT_FOUND', `no target is named "${selector}"`);
  return matching;
}

/** The one target that a selector names. Throws NOT_FOUND, or BAD_INPUT if several match. */
export async function selectTarget(parts: Parts, selector: string): Promise<SelectedTarget> {
  const [first, ...others] = await selectTargets(parts, selector);
  if (first === undefined || others.length > 0) {
    const names = [first, ...others].map(
      (entry) => `${entry?.agent.environment}/${entry?.agent.host}/${entry?.record.inventory.name}`,
    );
    throw new Failure('BAD_INPUT', `"${selector}" is ambiguous: ${names.slice(0, 5).join(', ')}`);
  }
  return first;
}

/** The rows that belong to the target of a selector; all rows without one. */
export async function scopeOf(parts: Parts, selector: string | undefined): Promise<Scoped> {
  if (selector === undefined) return {};
  const { agent, record } = await selectTarget(parts, selector);
  return { agentId: agent.agentId, target: record.inventory.name };
}
