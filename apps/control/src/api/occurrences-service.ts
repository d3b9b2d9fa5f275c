import type { AdminApi, OccurrenceView } from '@lastgood/protocol';
import type { ApiParts } from './api-parts.ts';
import { scopeOf } from './target-selection.ts';

export class OccurrencesService {
  readonly #parts: ApiParts;

  constructor(parts: ApiParts) {
    this.#parts = parts;
  }

  async list(input: Parameters<AdminApi['occurrences']>[0]): Promise<OccurrenceView[]> {
    const { catalog, registry } = this.#parts;
    const { target, states, fromMs, untilMs, limit } = input;
    const filter = {
      ...(await scopeOf(this.#parts, target)),
      ...(states === undefined ? {} : { states }),
      ...(fromMs === undefined ? {} : { from: fromMs }),
      ...(untilMs === undefined ? {} : { until: untilMs }),
    };
    return (await catalog.occurrences.list(filter, limit)).map((record) => {
      const agent = registry.agent(record.agentId);
      const { occurrenceId, name: schedule, command, dueAt, state, code } = record;
      const [environment, host] = [agent?.environment ?? 'unknown', agent?.host ?? 'unknown'];
      return { occurrenceId, environment, host, target: record.target, schedule, command, dueAt, state, code };
    });
  }
}
