import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Clock, toWireError } from '@lastgood/core';
import { type AlertCondition, judgeFleet, judgeHost, judgeTarget } from '@lastgood/core/alerts';
import { routingTableOf } from '@lastgood/core/fleet-file';
import type { TargetStatus } from '@lastgood/core/objectives';
import { trackUptime, type Uptime } from '@lastgood/core/schedules';
import type { AgentRecord } from '../catalog/agents.ts';
import type { Catalog, Change } from '../catalog/catalog.ts';
import type { CatalogCopies } from '../catalog/catalog-copies.ts';
import type { LedgerStore } from '../dispatch/ledger-store.ts';
import type { Log } from '../log.ts';
import type { AgentRegistry } from '../sessions/agent-registry.ts';
import { MeasurementIndex, type Measurements } from '../targets/measurement-index.ts';
import { AlertStore } from './alert-store.ts';
import { type FleetInForce, readFleet } from './fleet-policies.ts';
import { fleetFacts, hostFacts, hostStateNow } from './host-facts.ts';
import { addOccurrences, expireOccurrences } from './occurrence-planner.ts';
import { syncSchedules } from './schedule-sync.ts';
import { type CatalogFacts, readFacts, statusNow } from './target-facts.ts';

const PRUNE_EVERY_MS = 3_600_000;
/** Occurrences and messages are kept this long. */
const KEEP_MS = 90 * 86_400_000;

export interface PlannerParts {
  readonly catalog: Catalog;
  readonly copies: CatalogCopies;
  readonly ledgers: LedgerStore;
  readonly registry: AgentRegistry;
  readonly clock: Clock;
  readonly log: Log;
  readonly everyMs: number;
  /** The address of this control plane for links in messages. */
  readonly baseUrl: string | null;
  /** Called after messages were put into the outbox. */
  readonly notified: () => void;
}
/** One target with what the last tick found. */
export interface PlannedTarget {
  readonly facts: CatalogFacts;
  readonly status: TargetStatus;
}

/**
 * What the control plane does by itself for the fleet, in one tick at regular intervals: schedules and occurrences, objectives, alerts.
 * All of it follows from the catalog, so a tick that was cut off is made up for by the next.
 */
export class Planner implements AsyncDisposable {
  readonly #parts: PlannerParts;
  readonly alerts: AlertStore;
  #fleet: FleetInForce;
  #uptime: Uptime | null = null;
  /** Agents whose schedules may have to change. */
  readonly #staleSchedules = new Set<string>();
  /** Agents about which the catalog may know more than `#targets`. */
  readonly #staleFacts = new Set<string>();
  #targets: ReadonlyMap<string, readonly PlannedTarget[]> = new Map();
  #measurements = new MeasurementIndex([]);
  /** What was stored last of each agent: states and reasons, without the numbers that change with every tick. */
  readonly #storedStatuses = new Map<string, string>();
  #pruneAt = Number.NEGATIVE_INFINITY;
  #lastTickMs = 0;
  readonly #unsubscribe: () => void;
  readonly #timer: NodeJS.Timeout;
  #tail: Promise<unknown> = Promise.resolve();
  #closed = false;

  private constructor(parts: PlannerParts, fleet: FleetInForce, alerts: AlertStore) {
    this.#parts = parts;
    this.#fleet = fleet;
    this.alerts = alerts;
    this.#markAll();
    this.#unsubscribe = parts.ledgers.subscribeChanges((agentId, changes) => this.#follow(agentId, changes));
    this.#timer = setInterval(() => void this.#round(), parts.everyMs);
    this.#timer.unref();
  }

  static async open(parts: PlannerParts): Promise<Planner> {
    const { catalog, baseUrl } = parts;
    return new Planner(parts, await readFleet(catalog), await AlertStore.open(catalog, baseUrl));
  }

  get fleet(): FleetInForce {
    return this.#fleet;
  }
  /** When the last tick began; 0 before the first. */
  get lastTickMs(): number {
    return this.#lastTickMs;
  }
  /** All targets that agents have reported, as the last tick found them. */
  get targets(): readonly PlannedTarget[] {
    return [...this.#targets.values()].flat();
  }
  /** The restores of the fleet, as the last tick found them. */
  get measurements(): Measurements {
    return this.#measurements;
  }
  /** One target as the last tick found it; null before the first fleet file. */
  targetOf(agentId: string, target: string): PlannedTarget | null {
    if (this.#fleet.revision === 0) return null;
    return this.#targets.get(agentId)?.find(({ status }) => status.target === target) ?? null;
  }

  #markAll(): void {
    for (const { agent } of this.#parts.registry.list()) {
      this.#staleSchedules.add(agent.agentId);
      this.#staleFacts.add(agent.agentId);
    }
  }
  #follow(agentId: string, changes: readonly Change[]): void {
    this.#staleFacts.add(agentId);
    // A hold protects from its job on; a rotation that does not know it is refused its grant.
    const isOfSchedules = (change: Change): boolean =>
      ['inventory', 'backup.held', 'agent.enroll'].includes(change.type) ||
      (change.type === 'job.create' && change.record.job.spec.command === 'hold');
    if (changes.some(isOfSchedules)) this.#staleSchedules.add(agentId);
  }

  async #serially<T>(work: () => Promise<T>): Promise<T> {
    const step = this.#tail.then(work);
    this.#tail = step.catch(() => undefined);
    return await step;
  }
  async #round(): Promise<void> {
    await this.tick().catch((error: unknown) =>
      this.#parts.log.error({ error: toWireError(error) }, 'the planner could not finish its tick'),
    );
  }

  /** A fleet file was put in force: it takes effect in the tick that this runs. */
  async fleetChanged(): Promise<void> {
    await this.#serially(async () => {
      this.#fleet = await readFleet(this.#parts.catalog);
      this.#markAll();
    });
    await this.tick();
  }

  /** Runs one tick, after the one that runs now. */
  async tick(): Promise<void> {
    await this.#serially(async () => {
      if (!this.#closed) await this.#tick();
    });
  }

  async #tick(): Promise<void> {
    const { catalog, registry, clock } = this.#parts;
    const nowMs = clock.now();
    this.#uptime = trackUptime(this.#uptime, { wallMs: nowMs, monotonicMs: clock.monotonic() });
    await this.#syncSchedules(nowMs);
    await addOccurrences(catalog, nowMs);
    const missed = await expireOccurrences(catalog, registry, nowMs, this.#uptime.upSinceMs);
    for (const agentId of missed) this.#staleFacts.add(agentId);
    await this.#evaluate(nowMs);
    await this.#parts.copies.step(nowMs);
    await this.#raiseAlerts(nowMs, this.#uptime.upSinceMs);
    await this.#prune(nowMs);
    this.#lastTickMs = nowMs;
  }

  async #syncSchedules(nowMs: number): Promise<void> {
    const { catalog, ledgers, registry, log } = this.#parts;
    for (const agentId of [...this.#staleSchedules]) {
      const agent = registry.agent(agentId);
      this.#staleSchedules.delete(agentId);
      if (agent === undefined) continue;
      await syncSchedules(catalog, ledgers, agent, this.#fleet, nowMs).catch((error: unknown) => {
        this.#staleSchedules.add(agentId);
        log.error({ agent: agentId, error: toWireError(error) }, 'cannot send an agent its schedules');
      });
      await nextTurn();
    }
  }

  /** The state of every target. The catalog is read for those alone about which it may know more. */
  async #evaluate(nowMs: number): Promise<void> {
    const { registry } = this.#parts;
    const facts = new Map<string, readonly CatalogFacts[]>();
    for (const { agent } of registry.list()) facts.set(agent.agentId, await this.#factsOf(agent, nowMs));
    this.#measurements = new MeasurementIndex(
      [...facts.values()].flat().flatMap(({ records }) => records.measurements),
    );
    this.#targets = new Map(
      registry.list().map(({ agent }) => {
        const hostState = hostStateNow(registry, agent);
        const targets = (facts.get(agent.agentId) ?? []).map((each) => ({
          facts: each,
          status: statusNow(each, hostState, this.#measurements, nowMs),
        }));
        return [agent.agentId, targets];
      }),
    );
    await this.#storeStatuses(nowMs);
  }

  async #factsOf(agent: AgentRecord, nowMs: number): Promise<readonly CatalogFacts[]> {
    const { agentId } = agent;
    const known = this.#targets.get(agentId)?.map(({ facts }) => facts);
    if (known !== undefined && !this.#staleFacts.has(agentId)) return known;
    this.#staleFacts.delete(agentId);
    const found: CatalogFacts[] = [];
    for (const record of await this.#parts.catalog.targets.list({ agentId }))
      found.push(await readFacts(this.#parts, this.#fleet.file, agent, record, nowMs));
    await nextTurn();
    return found;
  }

  /** Stores what differs by more than the time that has passed. */
  async #storeStatuses(nowMs: number): Promise<void> {
    const changes: Change[] = [];
    const digests = new Map<string, string>();
    for (const [agentId, targets] of this.#targets) {
      const statuses = targets.filter(({ facts }) => facts.policy !== null).map(({ status }) => status);
      const digest = statuses
        .map(({ target, state, reasons, recoveryPoint }) =>
          [target, state, recoveryPoint?.atMs, ...reasons.map(({ code }) => code)].join(' '),
        )
        .join('\n');
      if (this.#storedStatuses.get(agentId) === digest) continue;
      digests.set(agentId, digest);
      changes.push({ type: 'target-statuses', agentId, statuses, at: nowMs });
    }
    if (changes.length > 0) await this.#parts.catalog.commit(changes);
    for (const [agentId, digest] of digests) this.#storedStatuses.set(agentId, digest);
  }

  async #raiseAlerts(nowMs: number, upSinceMs: number): Promise<void> {
    const { catalog, copies, registry, notified } = this.#parts;
    const ofTargets = this.targets.flatMap(({ facts, status }): AlertCondition[] =>
      facts.policy === null ? [] : judgeTarget({ ...facts.alerts, status, thresholds: facts.policy.alerts }, nowMs),
    );
    const ofHosts = registry.list().flatMap(({ agent }) => judgeHost(hostFacts(registry, agent, upSinceMs), nowMs));
    const { file } = this.#fleet;
    const known = { upSinceMs, lastCopyMs: copies.newestMs, otherControlSeenMs: registry.otherControlSeenAt, file };
    const ofFleet = judgeFleet(await fleetFacts(catalog, known, nowMs), nowMs);
    const facts = this.targets.map((target) => target.facts);
    const table = routingTableOf(file, facts);
    const added = await this.alerts.step([...ofTargets, ...ofHosts, ...ofFleet], file, table, nowMs);
    if (added > 0) notified();
  }

  async #prune(nowMs: number): Promise<void> {
    const { catalog, clock } = this.#parts;
    if (clock.monotonic() < this.#pruneAt) return;
    this.#pruneAt = clock.monotonic() + PRUNE_EVERY_MS;
    await catalog.commit([
      { type: 'occurrence.prune', before: nowMs - KEEP_MS },
      { type: 'notification.prune', endedBefore: nowMs - KEEP_MS },
    ]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    this.#unsubscribe();
    await this.#tail;
  }
}
