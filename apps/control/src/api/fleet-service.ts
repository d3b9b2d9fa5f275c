import { Failure } from '@lastgood/core';
import { formatProblems } from '@lastgood/core/config-file';
import {
  diffFleetFiles,
  type FleetFile,
  fleetFileSchema,
  formatFleetFile,
  type KnownHost,
  type KnownTarget,
  makeScheduleSet,
  parseFleetFile,
  scheduleEntriesOf,
} from '@lastgood/core/fleet-file';
import type { AdminApi, FleetChangeView, FleetDiffView, FleetFileView } from '@lastgood/protocol';
import { matchTargetOf } from '../planner/fleet-targets.ts';
import { readHosts } from '../runbooks/plan-scope.ts';
import { type ApiParts, auditChange } from './api-parts.ts';

type DiffInput = Parameters<AdminApi['fleetDiff']>[0];
type Json = FleetChangeView['before'];

/** A value of a fleet file is data of a YAML document. */
const toJson = (value: unknown): Json => (value === undefined ? null : (JSON.parse(JSON.stringify(value)) as Json));

/** The fleet file in force, and others that are compared with it or replace it. */
export class FleetService {
  readonly #parts: ApiParts;

  constructor(parts: ApiParts) {
    this.#parts = parts;
  }

  /** The targets that agents have reported. Their limits, keys and methods are not reported yet, so they are not judged. */
  async #targets(): Promise<KnownTarget[]> {
    const { catalog, registry } = this.#parts;
    return (await catalog.targets.list({})).flatMap((record) => {
      const agent = registry.agent(record.agentId);
      const unknown = { hostLimits: null, isEncrypted: false, canDecrypt: false, capabilities: null };
      return agent === undefined ? [] : [{ ...matchTargetOf(agent, record), ...unknown }];
    });
  }

  /** The hosts, with the checks and hooks that runbooks may name. */
  async #hosts(): Promise<KnownHost[]> {
    return [...(await readHosts(this.#parts))].map(([path, { checks, hooks }]) => ({
      path,
      checks: checks === null ? null : [...checks],
      hooks: hooks === null ? null : [...hooks],
    }));
  }

  async #compare({ text, file: name }: DiffInput): Promise<{ file: FleetFile; diff: FleetDiffView }> {
    const { planner, clock, channels } = this.#parts;
    const nowMs = clock.now();
    const targets = await this.#targets();
    const { file, errors, warnings } = parseFleetFile(text, {
      ...{ nowMs, targets, channels },
      hosts: await this.#hosts(),
    });
    if (file === null) throw new Failure('CONFIG_INVALID', formatProblems(name, errors));
    for (const [host, own] of Map.groupBy(targets, ({ environment, host }) => `${environment}/${host}`))
      makeScheduleSet(
        host,
        scheduleEntriesOf(file, own, () => []),
      );
    const { revision, file: before } = planner.fleet;
    const { changes, unprotected } = diffFleetFiles(before, file, targets, nowMs);
    const views = changes.map(
      ({ path, kind, before: old, after, loss }): FleetChangeView => ({
        path: [...path],
        kind,
        before: toJson(old),
        after: toJson(after),
        loss,
      }),
    );
    return { file, diff: { revision, changes: views, unprotected: [...unprotected], warnings: [...warnings] } };
  }

  async diff(input: DiffInput): Promise<FleetDiffView> {
    return (await this.#compare(input)).diff;
  }

  /** Puts the file in force. One that changes nothing leaves the revision as it is. */
  async apply(input: Parameters<AdminApi['applyFleet']>[0]): Promise<FleetDiffView> {
    const { catalog, planner, clock, actor } = this.#parts;
    const { file, diff } = await this.#compare(input);
    const losses = diff.changes
      .filter(({ loss }) => loss !== null)
      .map(({ path, loss }) => `${path.join('.')} (${loss})`);
    const lost = [...losses, ...diff.unprotected.map((target) => `${target} (no policy)`)];
    if (lost.length > 0 && !input.acceptLoss)
      throw new Failure('NOT_CONFIRMED', `this file loses something: ${lost.slice(0, 20).join(', ')}`, {
        remedy: 'Look at the difference with `lastgood diff -f`, then repeat with --accept-loss.',
      });
    if (diff.changes.length === 0 && diff.revision > 0) return diff;
    const content = fleetFileSchema.encode(file);
    await catalog.commit([
      { type: 'fleet.apply', before: diff.revision, content, at: clock.now(), by: actor.name },
      auditChange(this.#parts, 'fleet.apply', `revision ${diff.revision + 1}`, lost.join(', ').slice(0, 1000)),
    ]);
    await planner.fleetChanged();
    return { ...diff, revision: planner.fleet.revision };
  }

  async export(): Promise<FleetFileView> {
    const { revision, file } = this.#parts.planner.fleet;
    return { revision, text: formatFleetFile(file) };
  }
}
