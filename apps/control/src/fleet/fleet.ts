import { type Clock, Failure } from '@lastgood/core';
import {
  afterCatalogRestore,
  CLOSE,
  type ControlLedger,
  createJob,
  emptyControlLedger,
  expireLeases,
  type HelloInput,
  type JobSpec,
  receiveHello,
  requestCancel,
} from '@lastgood/protocol';
import type { AgentRecord, Catalog, Change } from '../catalog/catalog.ts';
import type { Log } from '../log.ts';
import { changesOf } from './job-changes.ts';
import { pruneJobHistory } from './job-history.ts';
import { assertQueueCapacity } from './queue-limit.ts';
import type { Session } from './session.ts';

export const LEASE_MS = 90_000;
export const HEARTBEAT_MS = 15_000;
const FORGET_EVERY_MS = 3_600_000;

interface Member {
  agent: AgentRecord;
  ledger: ControlLedger;
  session: Session | undefined;
  /** Instances whose session was taken over by another one: when one of them comes back, two hosts share an identity (J4). */
  readonly superseded: Set<string>;
  /** The newest connection of the agent that has said hello, though it may be gone again (R10). */
  newestConnection: number;
  /** Serializes the steps of one agent: each reads what the one before has committed. */
  tail: Promise<unknown>;
}
export interface Step<T> {
  readonly ledger: ControlLedger;
  readonly value: T;
  readonly changes?: readonly Change[];
  /** The step only renews what memory knows; nothing of it must survive a crash. */
  readonly volatile?: boolean;
  /** Runs at once when the step is committed, before any other step of the agent. */
  readonly settled?: () => void;
}

const newMember = (agent: AgentRecord, ledger: ControlLedger): Member => ({
  agent,
  ledger,
  session: undefined,
  superseded: new Set(),
  newestConnection: 0,
  tail: Promise.resolve(),
});

/** The agents, who of them is connected, and what was agreed with each. Every step is committed before its effect leaves. */
export class Fleet {
  readonly #catalog: Catalog;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly openedAt: number;
  readonly #members = new Map<string, Member>();
  #connections = 0;
  #forgetAt = 0;
  #maintaining = false;
  #timer: NodeJS.Timeout | undefined;

  private constructor(catalog: Catalog, clock: Clock, log: Log) {
    this.#catalog = catalog;
    this.#clock = clock;
    this.#log = log;
    this.openedAt = clock.now();
  }

  /** Reads the fleet from the catalog. `restored`: the catalog is a copy from the past, so nothing is done to an agent before its word was taken. */
  static async open(
    catalog: Catalog,
    clock: Clock,
    log: Log,
    maintenanceMs: number,
    restored?: { incarnation: string },
  ): Promise<Fleet> {
    const fleet = new Fleet(catalog, clock, log);
    const incarnation = restored?.incarnation ?? (await catalog.incarnation());
    const changes: Change[] = restored === undefined ? [] : [{ type: 'incarnation', incarnation }];
    const ledgers = new Map((await catalog.ledgers()).map((ledger) => [ledger.agentId, ledger]));
    for (const agent of await catalog.agents()) {
      const stored = ledgers.get(agent.agentId) ?? emptyControlLedger(agent.agentId, incarnation);
      const ledger = restored === undefined ? fleet.#freshLeases(stored) : afterCatalogRestore(stored, incarnation);
      if (restored !== undefined) changes.push({ type: 'ledger', before: null, after: ledger, now: clock.now() });
      fleet.#members.set(agent.agentId, newMember(agent, ledger));
    }
    // In one: with the new incarnation alone, the next start would take it for settled that nothing has to be frozen (R18).
    if (changes.length > 0) await catalog.commit(changes);
    fleet.#timer = setInterval(() => void fleet.#maintain(), maintenanceMs);
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

  /** Numbers the connections in the order in which they were opened. */
  nextConnection(): number {
    this.#connections += 1;
    return this.#connections;
  }

  #member(agentId: string): Member {
    const member = this.#members.get(agentId);
    if (member === undefined) throw new Failure('NOT_FOUND', `agent ${agentId} is not enrolled`);
    return member;
  }

  /** Runs one step of one agent's ledger: decide, commit, then let the result out. A commit that fails changes nothing. */
  async step<T>(agentId: string, decide: (ledger: ControlLedger) => Step<T> | Promise<Step<T>>): Promise<T> {
    const member = this.#member(agentId);
    const run = member.tail.then(async () => {
      const before = member.ledger;
      const { ledger, value, changes = [], volatile = false, settled } = await decide(before);
      if (ledger !== before && !volatile)
        await this.#catalog.commit([...changes, { type: 'ledger', before, after: ledger, now: this.#clock.now() }]);
      else if (changes.length > 0) await this.#catalog.commit(changes);
      member.ledger = ledger;
      settled?.();
      return value;
    });
    member.tail = run.catch(() => undefined);
    return await run;
  }

  /** Takes an agent in, or its new key. Whatever was opened with the old one is over. */
  async enrolled(agent: AgentRecord, changes: readonly Change[]): Promise<void> {
    const known = this.#members.get(agent.agentId);
    if (known === undefined) {
      const ledger = emptyControlLedger(agent.agentId, await this.#catalog.incarnation());
      await this.#catalog.commit([...changes, { type: 'ledger', before: null, after: ledger, now: this.#clock.now() }]);
      this.#members.set(agent.agentId, newMember(agent, ledger));
      return;
    }
    await this.step(agent.agentId, (ledger) => ({
      ledger,
      value: undefined,
      changes,
      settled: () => {
        // It may have been seen while this was written.
        const { agentVersion, lastSeenAt } = known.agent;
        known.agent = { ...agent, agentVersion, lastSeenAt };
        known.superseded.clear();
        known.newestConnection = this.#connections + 1;
        known.session?.close(CLOSE.superseded, 'enrolled again');
        known.session = undefined;
      },
    }));
  }

  /**
   * A hello begins a session with the next epoch, and the session that was there is over. Refused are a hello on a connection
   * older than the newest that said hello, even when that one is gone (R10), and two hosts that take turns (J4).
   */
  async welcome(agentId: string, session: Session, input: HelloInput): Promise<ReturnType<typeof receiveHello>> {
    const member = this.#member(agentId);
    const met = await this.step(agentId, (before) => {
      if (session.connection < member.newestConnection) {
        session.close(CLOSE.superseded, 'a newer connection has said hello');
        throw new Failure('CONFLICT', 'a newer connection has said hello');
      }
      if (!session.open) throw new Failure('CONFLICT', 'the connection is gone');
      if (member.agent.quarantinedAt !== null || member.superseded.has(input.instanceId))
        return { ledger: before, value: undefined, ...this.#quarantine(member, session) };
      member.newestConnection = session.connection;
      const now = this.#clock.now();
      const received = receiveHello(before, input, now, LEASE_MS);
      const { agentVersion } = input;
      const seen: Change = { type: 'agentSeen', agentId, at: now, agentVersion };
      const changes = [...changesOf(agentId, before, received.ledger), seen];
      const settled = (): void => {
        member.agent = { ...member.agent, agentVersion, lastSeenAt: now };
        this.#attach(member, session, received.ledger.epoch);
      };
      return { ledger: received.ledger, value: received, changes, settled };
    });
    if (met === undefined) throw new Failure('FORBIDDEN', 'two hosts use this identity');
    return met;
  }

  #attach(member: Member, session: Session, epoch: number): void {
    const { agent, session: old } = member;
    // The higher epoch wins, in whatever order two hellos come here.
    if (old !== undefined && old.epoch > epoch) return session.close(CLOSE.superseded, 'a newer session took over');
    session.begins(epoch);
    if (session.open) member.session = session;
    if (old !== undefined) {
      if (old.instanceId !== session.instanceId) member.superseded.add(old.instanceId);
      old.close(CLOSE.superseded, 'a newer session took over');
    }
    this.#log.info({ agent: agent.agentId, host: agent.host, epoch }, 'agent connected');
  }

  detach(agentId: string, session: Session): void {
    const member = this.#members.get(agentId);
    // The close of an older session changes nothing for the newer one.
    if (member?.session !== session) return;
    member.session = undefined;
    const at = this.#clock.now();
    member.agent = { ...member.agent, lastSeenAt: at };
    this.#log.info({ agent: agentId, host: member.agent.host }, 'agent disconnected');
    // This alone: a new key of the host may be on its way into the catalog, and memory does not know it yet.
    this.#catalog
      .commit([{ type: 'agentSeen', agentId, at }])
      .catch((error: unknown) => this.#log.error({ error: String(error) }, 'the catalog could not be written'));
  }

  /** Both are refused until the right one is enrolled again; the alarm is in the log and in the audit trail. */
  #quarantine(member: Member, session: Session): Pick<Step<undefined>, 'changes' | 'settled'> {
    const reason = 'two hosts use this identity';
    const { agentId, environment, host, quarantinedAt } = member.agent;
    const now = this.#clock.now();
    const detail = 'two hosts took turns with one identity; enroll the right one again';
    const entry = { at: now, actor: 'control', action: 'agent.quarantine', subject: `${environment}/${host}`, detail };
    const alarm: Change[] = [
      { type: 'agentQuarantined', agentId, at: now },
      { type: 'audit', entry },
    ];
    return {
      changes: quarantinedAt === null ? alarm : [],
      settled: () => {
        member.agent = { ...member.agent, quarantinedAt: quarantinedAt ?? now };
        member.session?.close(CLOSE.quarantined, reason);
        member.session = undefined;
        session.close(CLOSE.quarantined, reason);
        this.#log.warn({ agent: agentId, host }, `quarantined: ${reason}`);
      },
    };
  }

  async createJob(
    agentId: string,
    job: { jobId: string; spec: JobSpec; startBy: number; deadlineMs: number },
    origin: { createdBy: string; idempotencyKey: string; now: number },
    changes: readonly Change[],
  ): Promise<void> {
    const { agent } = this.#member(agentId);
    await this.step(agentId, (ledger) => {
      assertQueueCapacity(ledger, agent, job.spec);
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

  /** Ended jobs that are kept no longer leave memory and catalog together. */
  async forgetJobs(agentId: string, jobIds: readonly string[], before: number): Promise<number> {
    return await this.step(agentId, (ledger) => {
      const gone = jobIds.filter((jobId) => (ledger.jobs.get(jobId)?.endedAt ?? 0) < before);
      const jobs = new Map(ledger.jobs);
      for (const jobId of gone) jobs.delete(jobId);
      return { ledger: { ...ledger, jobs }, value: gone.length, changes: [{ type: 'forgetJobs', jobIds: gone }] };
    });
  }

  /** Nothing may be to be written for long: whether it can be written again is found out here. */
  async #probe(): Promise<void> {
    if ((await this.#catalog.failing()) === null) return;
    await this.#catalog.commit([{ type: 'probe', at: this.#clock.now() }]);
    this.#log.info({}, 'the catalog can be written again');
  }

  async #maintain(): Promise<void> {
    // A slow disk must not pile rounds up.
    if (this.#maintaining) return;
    this.#maintaining = true;
    try {
      // First what needs no disk.
      for (const { session } of this.#members.values()) session?.checkAlive();
      await this.#probe();
      for (const agentId of this.#members.keys())
        await this.step(agentId, (ledger) => ({ ledger: expireLeases(ledger, this.#clock.now()), value: undefined }));
      if (this.#clock.monotonic() < this.#forgetAt) return;
      this.#forgetAt = this.#clock.monotonic() + FORGET_EVERY_MS;
      const forgotten = await pruneJobHistory(this, this.#catalog, this.#clock.now());
      if (forgotten > 0) this.#log.info({ forgotten }, 'old jobs were forgotten');
    } catch (error) {
      this.#log.error({ error: String(error) }, 'the catalog could not be written');
    } finally {
      this.#maintaining = false;
    }
  }

  close(): void {
    clearInterval(this.#timer);
    for (const { session } of this.#members.values()) session?.close(CLOSE.drain, 'the control plane stops');
  }
}
