import { type Clock, Failure } from '@lastgood/core';
import {
  afterCatalogRestore,
  type ControlLedger,
  emptyControlLedger,
  missingJobIds,
  withEndedJobs,
  withoutEndedJobs,
} from '@lastgood/protocol';
import type { Catalog, Change } from '../catalog/catalog.ts';
import { LEASE_MS } from './times.ts';

/** What one step does: the next ledger, the changes that go with it, and what the caller gets when both are committed. */
export interface Decision<T> {
  readonly ledger: ControlLedger;
  readonly value: T;
  readonly changes?: readonly Change[];
  /** The step only renews what memory knows; nothing of it has to survive a crash. */
  readonly volatile?: boolean;
  /** Runs as soon as the step is committed, before any other step of the agent. */
  readonly committed?: () => void;
}
/** `foreign`: those of the named jobs that belong to other agents. */
export type Decide<T> = (ledger: ControlLedger, foreign: ReadonlySet<string>) => Decision<T> | Promise<Decision<T>>;
/** Is called with one committed step of an agent. */
export type Subscriber = (agentId: string, before: ControlLedger, after: ControlLedger) => void;

/** Is called with the changes of one committed step of an agent. */
export type ChangeSubscriber = (agentId: string, changes: readonly Change[]) => void;

interface Entry {
  /** Open jobs only: ended ones are in the catalog. */
  ledger: ControlLedger;
  /** Serializes the steps of one agent: each reads what the one before it committed. */
  tail: Promise<unknown>;
}

/**
 * The delivery ledger of every agent, with its open jobs. Each step is decided, committed, and only then visible. Jobs that have
 * ended leave memory; a step that names one gets it from the catalog.
 */
export class LedgerStore {
  readonly #catalog: Catalog;
  readonly #clock: Clock;
  readonly #entries = new Map<string, Entry>();
  readonly #subscribers = new Set<Subscriber>();
  readonly #changeSubscribers = new Set<ChangeSubscriber>();

  private constructor(catalog: Catalog, clock: Clock) {
    this.#catalog = catalog;
    this.#clock = clock;
  }

  /**
   * Reads the ledgers from the catalog. `restored`: the catalog is a copy from the past, so nothing is decided for an agent
   * before its journal was merged.
   */
  static async open(catalog: Catalog, clock: Clock, restored?: { incarnation: string }): Promise<LedgerStore> {
    const store = new LedgerStore(catalog, clock);
    const incarnation = restored?.incarnation ?? (await catalog.incarnation());
    const changes: Change[] = restored === undefined ? [] : [{ type: 'incarnation', incarnation }];
    const stored = new Map((await catalog.ledgers.list()).map((ledger) => [ledger.agentId, ledger]));
    for (const { agentId } of await catalog.agents.list()) {
      const before = stored.get(agentId) ?? emptyControlLedger(agentId, incarnation);
      const ledger = restored === undefined ? store.#withFreshLeases(before) : afterCatalogRestore(before, incarnation);
      if (restored !== undefined) changes.push({ type: 'ledger', before: null, after: ledger, now: clock.now() });
      store.#entries.set(agentId, { ledger, tail: Promise.resolve() });
    }
    // In one commit: with the new incarnation alone, the next start would not freeze what has to be frozen (R18).
    if (changes.length > 0) await catalog.commit(changes);
    return store;
  }

  /** Leases live in memory. After a start every running job gets a whole one, because its agent may be about to connect. */
  #withFreshLeases(ledger: ControlLedger): ControlLedger {
    const jobs = new Map(ledger.jobs);
    for (const [jobId, job] of jobs)
      if (job.state === 'running') jobs.set(jobId, { ...job, leaseUntil: this.#clock.now() + LEASE_MS });
    return { ...ledger, jobs };
  }

  get agentIds(): string[] {
    return [...this.#entries.keys()];
  }
  ledger(agentId: string): ControlLedger {
    return this.#entry(agentId).ledger;
  }
  #entry(agentId: string): Entry {
    const entry = this.#entries.get(agentId);
    if (entry === undefined) throw new Failure('NOT_FOUND', `agent ${agentId} is not enrolled`);
    return entry;
  }

  /** Adds an agent with an empty ledger, together with `changes`. */
  async create(agentId: string, changes: readonly Change[]): Promise<void> {
    const ledger = emptyControlLedger(agentId, await this.#catalog.incarnation());
    await this.#catalog.commit([...changes, { type: 'ledger', before: null, after: ledger, now: this.#clock.now() }]);
    this.#entries.set(agentId, { ledger, tail: Promise.resolve() });
    for (const subscriber of this.#changeSubscribers) subscriber(agentId, changes);
  }

  /**
   * Runs one step of an agent's ledger: decide, commit, notify the subscribers, return. `decide` sees the open jobs, and the
   * ended ones of `jobIds`. A commit that fails changes nothing, and the step rejects with its reason.
   */
  async apply<T>(agentId: string, decide: Decide<T>, jobIds: Iterable<string> = []): Promise<T> {
    const entry = this.#entry(agentId);
    const step = entry.tail.then(async () => {
      const { ledger: before, foreign } = await this.#lookUp(entry.ledger, jobIds);
      const { ledger: after, value, changes = [], volatile = false, committed } = await decide(before, foreign);
      const all: readonly Change[] =
        after === before || volatile
          ? changes
          : [...changes, { type: 'ledger', before, after, now: this.#clock.now() }];
      if (all.length > 0) await this.#catalog.commit(all);
      if (after !== before) entry.ledger = withoutEndedJobs(after);
      committed?.();
      if (after !== before) for (const subscriber of this.#subscribers) subscriber(agentId, before, after);
      if (all.length > 0) for (const subscriber of this.#changeSubscribers) subscriber(agentId, all);
      return value;
    });
    entry.tail = step.catch(() => undefined);
    return await step;
  }

  /** Adds the named jobs that have ended, and finds out which belong to other agents. */
  async #lookUp(
    ledger: ControlLedger,
    jobIds: Iterable<string>,
  ): Promise<{ ledger: ControlLedger; foreign: ReadonlySet<string> }> {
    const missing = missingJobIds(ledger, jobIds);
    if (missing.length === 0) return { ledger, foreign: new Set() };
    const found = await this.#catalog.jobs.named(missing);
    const own = found.filter(({ agentId }) => agentId === ledger.agentId).map(({ job }) => job);
    const others = found.filter(({ agentId }) => agentId !== ledger.agentId);
    return { ledger: withEndedJobs(ledger, own), foreign: new Set(others.map(({ job }) => job.jobId)) };
  }

  /** Calls `subscriber` after each step that changed a ledger, until the returned function is called. */
  subscribe(subscriber: Subscriber): () => void {
    this.#subscribers.add(subscriber);
    return () => this.#subscribers.delete(subscriber);
  }

  /** Calls `subscriber` after each step that has changed the catalog, until the returned function is called. */
  subscribeChanges(subscriber: ChangeSubscriber): () => void {
    this.#changeSubscribers.add(subscriber);
    return () => this.#changeSubscribers.delete(subscriber);
  }
}
