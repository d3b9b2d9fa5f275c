import { setImmediate } from 'node:timers/promises';
import { compareStates } from '@lastgood/core/objectives';
import type { AdminApi, TargetStatus } from '@lastgood/protocol';
import { withOwnMeasurements } from '../targets/measurement-index.ts';
import { demandsOf, sharedFactsOf } from '../targets/shared-facts.ts';
import { readTargetRecords } from '../targets/target-records.ts';
import type { ApiParts } from './api-parts.ts';
import { hostStateOf } from './host-state.ts';
import { objectivesView } from './objectives-view.ts';
import { selectTargets } from './target-selection.ts';
import { bareHostStatus, targetStatus } from './target-status.ts';

/** Without a fleet file no policy could select a target, so that none is missed. */
const NO_OBJECTIVES = { rpoMs: null, rtoMs: null, restoreTestMs: null };

const nameOf = ({ environment, host, target }: TargetStatus): string => `${environment}/${host}/${target ?? ''}`;

/** Worst first, then by name. */
const byState = (a: TargetStatus, b: TargetStatus): number =>
  compareStates(a.state, b.state) || (nameOf(a) < nameOf(b) ? -1 : 1);

export class StatusService {
  readonly #parts: ApiParts;

  constructor(parts: ApiParts) {
    this.#parts = parts;
  }

  /** The status of the selected targets; of all targets, and of the hosts that have reported none, without a selector. */
  async list({ target, maxAgeMs }: Parameters<AdminApi['status']>[0]): Promise<TargetStatus[]> {
    const { catalog, registry, clock, planner } = this.#parts;
    const selected = await selectTargets(this.#parts, target);
    const statuses: TargetStatus[] = [];
    for (const { agent, record } of selected) {
      const records = await readTargetRecords(catalog, agent, record.inventory);
      const planned = planner.targetOf(agent.agentId, record.inventory.name);
      const wanted = demandsOf(planned?.facts.policy ?? null, planned?.facts.firstBackupDueMs ?? null);
      const objectives = planned === null ? NO_OBJECTIVES : wanted.objectives;
      const demands = { ...wanted, objectives, maxAgeMs: maxAgeMs ?? null };
      const shared = sharedFactsOf(records, demands, hostStateOf(registry, agent));
      const measurements = withOwnMeasurements(planner.measurements, records.measurements);
      const status = targetStatus(agent, shared, { records, measurements }, clock.now());
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
}
