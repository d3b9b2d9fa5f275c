import { type Clock, Failure, unreachable } from '@lastgood/core';
import {
  afterCatalogRestore,
  CLOSE,
  type ControlLedger,
  createJob,
  emptyControlLedger,
  expireLeases,
  type JobSpec,
  jobResultSchema,
  requestCancel,
} from '@lastgood/protocol';
import type { AgentRecord, Catalog, Change } from '../catalog/catalog.ts';
import type { Log } from '../log.ts';
import type { Session } from './session.ts';

export const LEASE_MS = 90_000;
export const HEARTBEAT_MS = 15_000;
const MAINTENANCE_MS = 5_000;

interface Member {
  agent: AgentRecord;
  ledger: ControlLedger;
  session: Session | undefined;
  /** Instances whose session was taken over by another one: when one of them comes back, two hosts share an identity (J4). */
  readonly superseded: Set<string>;
  /** Serialises the steps of one agent: each reads what the one before has committed. */
  tail: Promise<unknown>;
}
export interface Step<T> {
  readonly ledger: ControlLedger;
  readonly value: T;
  readonly changes?: readonly Change[];
  /** The step only renews what memory knows; nothing of it must survive a crash. */
  readonly volatile?: boolean;
}

/** The agents, who of them is connected, and what was agreed with each. Every step is committed before its effect leaves. */
export class Fleet {
  readonly #catalog: Catalog;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #members = new Map<string, Member>();
  #timer: NodeJS.Timeout | undefined;

  private constructor(catalog: Catalog, clock: Clock, log: Log) {
    this.#catalog = catalog;
    this.#clock = clock;
    this.#log = log;
  }

  /** Reads the fleet from the catalog. `restored`: the catalog is a copy from the past, so nothing is done to an agent before its word was taken. */
  static async open(catalog: Catalog, clock: Clock, log: Log, restored?: { incarnation: string }): Promise<Fleet> {
    const fleet = new Fleet(catalog, clock, log);
    if (restored !== undefined) await catalog.commit([{ type: 'incarnation', incarnation: restored.incarnation }]);
    const incarnation = await catalog.incarnation();
    const ledgers = new Map((await catalog.ledgers()).map((ledger) => [ledger.agentId, ledger]));
    for (const agent of await catalog.agents()) {
      const stored = ledgers.get(agent.agentId) ?? emptyControlLedger(agent.agentId, incarnation);
      const ledger = restored === undefined ? fleet.#freshLeases(stored) : afterCatalogRestore(stored, incarnation);
      if (restored !== undefined)
        await catalog.commit([{ type: 'ledger', before: null, after: ledger, now: clock.now() }]);
      fleet.#members.set(agent.agentId, {
        agent,
        ledger,
        session: undefined,
        superseded: new Set(),
        tail: Promise.resolve(),
      });
    }
    fleet.#timer = setInterval(() => void fleet.#maintain(), MAINTENANCE_MS);
    fleet.#timer.unref();
    return fleet;
  }

  /** Leases live in memory; after a start every running job gets a whole one, for the agent may be on its way. */
  #freshLeases(ledger: ControlLedger): ControlLedger {
    const jobs = new Map(ledger.jobs);
    for (const [jobId, job] of jobs)
      if (job.state === 'running') jobs.set(jobId, { ...job, leaseUntil: this.#clock.now() + LEASE_MS });
    return { ...ledger, jobs };
  }

  members(): { agent: AgentRecord; session: Session | undefined; ledger: ControlLedger }[] {
    return [...this.#members.values()];
  }
  agent(agentId: string): AgentRecord | undefined {
    return this.#members.get(agentId)?.agent;
  }
  agentNamed(environment: string, host: string): AgentRecord | undefined {
    for (const { agent } of this.#members.values())
      if (agent.environment === environment && agent.host === host) return agent;
    return undefined;
  }
  session(agentId: string): Session | undefined {
    return this.#members.get(agentId)?.session;
  }
  ledger(agentId: string): ControlLedger {
    return this.#member(agentId).ledger;
  }

  #member(agentId: string): Member {
    const member = this.#members.get(agentId);
    if (member === undefined) throw new Failure('NOT_FOUND', `agent ${agentId} is not enrolled`);
    return member;
  }

  /** Runs one step of one agent's ledger: decide, commit, then let the result out. A commit that fails changes nothing. */
  async step<T>(agentId: string, decide: (ledger: ControlLedger) => Step<T>): Promise<T> {
    const member = this.#member(agentId);
    const run = member.tail.then(async () => {
      const before = member.ledger;
      const { ledger, value, changes = [], volatile = false } = decide(before);
      if (ledger !== before && !volatile)
        await this.#catalog.commit([...changes, { type: 'ledger', before, after: ledger, now: this.#clock.now() }]);
      else if (changes.length > 0) await this.#catalog.commit(changes);
      member.ledger = ledger;
      return value;
    });
    member.tail = run.catch(() => undefined);
    return await run;
  }

  async enrolled(agent: AgentRecord, changes: readonly Change[]): Promise<void> {
    const known = this.#members.get(agent.agentId);
    const ledger = known?.ledger ?? emptyControlLedger(agent.agentId, await this.#catalog.incarnation());
    await this.#catalog.commit([
      ...changes,
      { type: 'ledger', before: known?.ledger ?? null, after: ledger, now: this.#clock.now() },
    ]);
    known?.session?.close(CLOSE.superseded, 'enrolled again');
    this.#members.set(agent.agentId, {
      agent,
      ledger,
      session: undefined,
      superseded: new Set(),
      tail: Promise.resolve(),
    });
  }

  /** The newest session wins. Throws FORBIDDEN, and closes the door, when two hosts take turns with one identity. */
  async attach(agentId: string, session: Session, agentVersion: string): Promise<void> {
    const member = this.#member(agentId);
    const old = member.session;
    if (member.superseded.has(session.instanceId)) {
      await this.#quarantine(member);
      session.close(CLOSE.quarantined, 'two hosts use this identity');
      throw new Failure('FORBIDDEN', 'two hosts use this identity');
    }
    member.session = session;
    if (old !== undefined && old !== session) {
      if (old.instanceId !== session.instanceId) member.superseded.add(old.instanceId);
      old.close(CLOSE.superseded, 'a newer session took over');
    }
    const now = this.#clock.now();
    member.agent = { ...member.agent, agentVersion, lastSeenAt: now };
    await this.#catalog.commit([{ type: 'agent', agent: member.agent }]);
    this.#log.info({ agent: agentId, host: member.agent.host, epoch: session.epoch }, 'agent connected');
  }

  detach(agentId: string, session: Session): void {
    const member = this.#members.get(agentId);
    // The close of an older session changes nothing for the newer one.
    if (member?.session !== session) return;
    member.session = undefined;
    member.agent = { ...member.agent, lastSeenAt: this.#clock.now() };
    this.#log.info({ agent: agentId, host: member.agent.host }, 'agent disconnected');
    this.#catalog
      .commit([{ type: 'agent', agent: member.agent }])
      .catch((error: unknown) => this.#log.error({ error: String(error) }, 'the catalog could not be written'));
  }

  async #quarantine(member: Member): Promise<void> {
    const now = this.#clock.now();
    member.session?.close(CLOSE.quarantined, 'two hosts use this identity');
    member.session = undefined;
    member.agent = { ...member.agent, quarantinedAt: now };
    const subject = `${member.agent.environment}/${member.agent.host}`;
    this.#log.warn(
      { agent: member.agent.agentId, host: member.agent.host },
      'quarantined: two hosts use this identity',
    );
    const entry = {
      at: now,
      actor: 'control',
      action: 'agent.quarantine',
      subject,
      detail: 'two hosts took turns with one identity; enrol the right one again',
    };
    await this.#catalog.commit([
      { type: 'agent', agent: member.agent },
      { type: 'audit', entry },
    ]);
  }

  async createJob(
    agentId: string,
    job: { jobId: string; spec: JobSpec; startBy: number; deadlineMs: number },
    origin: { createdBy: string; idempotencyKey: string; now: number },
    changes: readonly Change[],
  ): Promise<void> {
    await this.step(agentId, (ledger) => {
      const after = createJob(ledger, job);
      const made = after.jobs.get(job.jobId);
      if (made === undefined) throw new Failure('CONFLICT', 'the job could not be made');
      const record = {
        job: made,
        agentId,
        createdAt: origin.now,
        createdBy: origin.createdBy,
        idempotencyKey: origin.idempotencyKey,
      };
      return { ledger: after, value: undefined, changes: [{ type: 'job', record }, ...changes] };
    });
    this.session(agentId)?.wake();
  }

  async cancelJob(agentId: string, jobId: string, changes: readonly Change[]): Promise<void> {
    await this.step(agentId, (ledger) => ({
      ledger: requestCancel(ledger, jobId, this.#clock.now()),
      value: undefined,
      changes,
    }));
    this.session(agentId)?.wake();
  }

  /** What a finished job means for the catalog beyond its own row. */
  changesOf(agentId: string, before: ControlLedger, after: ControlLedger): Change[] {
    const changes: Change[] = [];
    for (const [jobId, job] of after.jobs) {
      if (before.jobs.get(jobId) === job || job.state !== 'succeeded') continue;
      const parsed = jobResultSchema.safeParse(job.result);
      if (!parsed.success) continue;
      const result = parsed.data;
      switch (result.command) {
        case 'backup':
          changes.push({ type: 'backup', agentId, backup: result.backup });
          break;
        case 'verify':
          changes.push({
            type: 'verified',
            backupId: result.backupId,
            verdict: { level: result.reached, at: result.at, passed: result.passed },
          });
          break;
        case 'rotate':
          if (!result.dryRun)
            changes.push({
              type: 'removedBackups',
              backupIds: result.decisions.filter((decision) => !decision.keep).map((decision) => decision.backupId),
            });
          break;
        case 'plan':
        case 'restore':
        case 'undo':
          break;
        default:
          unreachable(result);
      }
    }
    return changes;
  }

  async #maintain(): Promise<void> {
    for (const agentId of this.#members.keys()) {
      await this.step(agentId, (ledger) => ({
        ledger: expireLeases(ledger, this.#clock.now()),
        value: undefined,
      })).catch((error: unknown) => {
        this.#log.error({ agent: agentId, error: String(error) }, 'the catalog could not be written');
      });
      this.session(agentId)?.checkAlive();
    }
  }

  close(): void {
    clearInterval(this.#timer);
    for (const { session } of this.#members.values()) session?.close(CLOSE.drain, 'the control plane stops');
  }
}
