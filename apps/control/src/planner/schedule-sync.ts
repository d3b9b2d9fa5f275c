import { makeScheduleSet, scheduleEntriesOf } from '@lastgood/core/fleet-file';
import { setSchedules } from '@lastgood/protocol';
import type { AgentRecord } from '../catalog/agents.ts';
import type { Catalog } from '../catalog/catalog.ts';
import { protectedIds } from '../dispatch/holds.ts';
import type { LedgerStore } from '../dispatch/ledger-store.ts';
import type { FleetInForce } from './fleet-policies.ts';
import { matchTargetOf } from './fleet-targets.ts';

/**
 * Brings the schedules of an agent in line with the fleet file, its targets and their holds: in the catalog, and in the command that it is
 * sent, in one commit. Without a fleet file its schedules are left alone: the catalog may have been lost. Throws BAD_INPUT when they do
 * not fit into a message.
 */
export async function syncSchedules(
  catalog: Catalog,
  ledgers: LedgerStore,
  agent: AgentRecord,
  { revision, file }: FleetInForce,
  now: number,
): Promise<void> {
  if (revision === 0) return;
  const { agentId, environment, host } = agent;
  // Inside the step: a backup is held in a step of the agent as well.
  await ledgers.apply(agentId, async (before) => {
    const records = await catalog.targets.list({ agentId });
    const holds = new Map<string, string[]>();
    for (const { inventory } of records) {
      const held = await catalog.backups.held({ agentId, target: inventory.name });
      holds.set(inventory.name, protectedIds(before, inventory.name, held));
    }
    const targets = records.map((record) => matchTargetOf(agent, record));
    const entries = scheduleEntriesOf(file, targets, (target) => holds.get(target) ?? []);
    const set = makeScheduleSet(`${environment}/${host}`, entries);
    const ledger = setSchedules(before, set);
    if (ledger === before) return { ledger, value: undefined };
    return { ledger, value: undefined, changes: [{ type: 'schedules.replace', agentId, entries, now }] };
  });
}
