import { type Clock, Failure } from '@lastgood/core';
import { CLOSE, type HelloInput, receiveHello } from '@lastgood/protocol';
import type { AgentRecord } from '../catalog/agents.ts';
import type { Catalog, Change } from '../catalog/catalog.ts';
import { changesOf } from '../dispatch/job-changes.ts';
import type { Decide, Decision, LedgerStore } from '../dispatch/ledger-store.ts';
import { LEASE_MS } from '../dispatch/times.ts';
import type { Log } from '../log.ts';
import type { AgentConnection } from './agent-connection.ts';

interface Member {
  agent: AgentRecord;
  session: AgentConnection | undefined;
  /** Instances whose session was taken over by another one. If one of them comes back, two hosts share an identity (J4). */
  readonly superseded: Set<string>;
  /** The newest connection of the agent that has said hello, even if it is gone again (R10). */
  newestConnection: number;
  /** When the agent last said hello with an epoch that this catalog has not given it (C6). */
  otherControlSeenAt: number | null;
}

const newMember = (agent: AgentRecord): Member => ({
  agent,
  session: undefined,
  superseded: new Set(),
  newestConnection: 0,
  otherControlSeenAt: null,
});

/** The key that a host signed with before stays in the audit trail: its old backups can be restored only by it. */
function newKey({ signingKey: old, environment, host }: AgentRecord, { signingKey }: HelloInput, at: number): Change[] {
  if (old === null || old === signingKey) return [];
  const entry = { at, actor: 'agent', action: 'agent.signingKey', subject: `${environment}/${host}`, detail: old };
  return [{ type: 'audit', entry }];
}

/** The enrolled agents, and which of them are connected. */
export class AgentRegistry {
  readonly #catalog: Catalog;
  readonly #ledgers: LedgerStore;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #members = new Map<string, Member>();
  #connections = 0;
  /** When this control plane was started. */
  readonly openedAt: number;

  private constructor(catalog: Catalog, ledgers: LedgerStore, clock: Clock, log: Log) {
    this.#catalog = catalog;
    this.#ledgers = ledgers;
    this.#clock = clock;
    this.#log = log;
    this.openedAt = clock.now();
  }

  static async open(catalog: Catalog, ledgers: LedgerStore, clock: Clock, log: Log): Promise<AgentRegistry> {
    const registry = new AgentRegistry(catalog, ledgers, clock, log);
    for (const agent of await catalog.agents.list()) registry.#members.set(agent.agentId, newMember(agent));
    return registry;
  }

  /** When an agent last reported a session that another copy of this catalog must have given it; null: never since the start. */
  get otherControlSeenAt(): number | null {
    const seen = [...this.#members.values()].flatMap(({ otherControlSeenAt }) => otherControlSeenAt ?? []);
    return seen.length === 0 ? null : Math.max(...seen);
  }

  get size(): number {
    return this.#members.size;
  }
  list(): { agent: AgentRecord; session: AgentConnection | undefined }[] {
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
  session(agentId: string): AgentConnection | undefined {
    return this.#members.get(agentId)?.session;
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

  /** Adds an agent, or replaces its key. Every session that was opened with the old key is closed. */
  async enroll(agent: AgentRecord, changes: readonly Change[]): Promise<void> {
    const known = this.#members.get(agent.agentId);
    if (known === undefined) {
      await this.#ledgers.create(agent.agentId, changes);
      this.#members.set(agent.agentId, newMember(agent));
      return;
    }
    await this.#ledgers.apply(agent.agentId, (ledger) => ({
      ledger,
      value: undefined,
      changes,
      committed: () => {
        // It may have been seen while this was written.
        const { agentVersion, signingKey, lastSeenAt } = known.agent;
        known.agent = { ...agent, agentVersion, signingKey, lastSeenAt };
        known.superseded.clear();
        known.newestConnection = this.#connections + 1;
        known.session?.close(CLOSE.superseded, 'enrolled again');
        known.session = undefined;
      },
    }));
  }

  /**
   * A hello begins a session with the next epoch, and the previous session is closed. Refused are a hello on a connection older
   * than the newest that said hello, even if that one is gone (R10), and two hosts that take turns (J4).
   */
  async welcome(
    agentId: string,
    session: AgentConnection,
    input: HelloInput,
  ): Promise<ReturnType<typeof receiveHello>> {
    const member = this.#member(agentId);
    const decide: Decide<ReturnType<typeof receiveHello> | undefined> = (before, foreign) => {
      if (session.connection < member.newestConnection) {
        session.close(CLOSE.superseded, 'a newer connection has said hello');
        throw new Failure('CONFLICT', 'a newer connection has said hello');
      }
      if (!session.open) throw new Failure('CONFLICT', 'the connection is gone');
      if (member.agent.quarantinedAt !== null || member.superseded.has(input.instanceId))
        return { ledger: before, value: undefined, ...this.#quarantine(member, session) };
      member.newestConnection = session.connection;
      const now = this.#clock.now();
      // The jobs of another host stay that host's.
      const jobs = input.jobs.filter(({ jobId }) => !foreign.has(jobId));
      if (foreign.size > 0) this.#log.warn({ agent: agentId, jobs: [...foreign] }, 'reported the jobs of another host');
      const received = receiveHello(before, { ...input, jobs }, now, LEASE_MS);
      const reported = { agentVersion: input.agentVersion, signingKey: input.signingKey };
      const seen: Change = { type: 'agent.seen', agentId, at: now, reported };
      const changes = [...changesOf(agentId, before, received.ledger), seen, ...newKey(member.agent, input, now)];
      const isBehind = input.incarnation === before.incarnation && input.newestEpoch > before.epoch;
      const committed = (): void => {
        if (isBehind) this.#noteOtherControl(member, input.newestEpoch, before.epoch);
        member.agent = { ...member.agent, ...reported, lastSeenAt: now };
        this.#attach(member, session, received.ledger.epoch);
      };
      return { ledger: received.ledger, value: received, changes, committed };
    };
    const jobIds = input.jobs.map(({ jobId }) => jobId);
    const welcomed = await this.#ledgers.apply(agentId, decide, jobIds);
    if (welcomed === undefined) throw new Failure('FORBIDDEN', 'two hosts use this identity');
    return welcomed;
  }

  #noteOtherControl(member: Member, reported: number, known: number): void {
    member.otherControlSeenAt = this.#clock.now();
    const { agentId: agent, host } = member.agent;
    this.#log.warn({ agent, host, reported, known }, 'another copy of this catalog has served the agent');
  }

  #attach(member: Member, session: AgentConnection, epoch: number): void {
    const { agent, session: old } = member;
    // The higher epoch wins, in whatever order two hellos get here.
    if (old !== undefined && old.epoch > epoch) return session.close(CLOSE.superseded, 'a newer session took over');
    session.begin(epoch);
    if (session.open) member.session = session;
    if (old !== undefined) {
      if (old.instanceId !== session.instanceId) member.superseded.add(old.instanceId);
      old.close(CLOSE.superseded, 'a newer session took over');
    }
    this.#log.info({ agent: agent.agentId, host: agent.host, epoch }, 'agent connected');
  }

  detach(agentId: string, session: AgentConnection): void {
    const member = this.#members.get(agentId);
    // The end of an older session changes nothing for the newer one.
    if (member?.session !== session) return;
    member.session = undefined;
    const at = this.#clock.now();
    member.agent = { ...member.agent, lastSeenAt: at };
    this.#log.info({ agent: agentId, host: member.agent.host }, 'agent disconnected');
    // Nothing else of the record: a new key of the host may be on its way into the catalog that memory does not know yet.
    this.#catalog
      .commit([{ type: 'agent.seen', agentId, at }])
      .catch((error: unknown) => this.#log.error({ error: String(error) }, 'cannot write the catalog'));
  }

  /** Both hosts are refused until the right one is enrolled again; the alarm is in the log and in the audit trail. */
  #quarantine(member: Member, session: AgentConnection): Pick<Decision<undefined>, 'changes' | 'committed'> {
    const reason = 'two hosts use this identity';
    const { agentId, environment, host, quarantinedAt } = member.agent;
    const now = this.#clock.now();
    const detail = 'two hosts took turns with one identity; enroll the right one again';
    const entry = { at: now, actor: 'control', action: 'agent.quarantine', subject: `${environment}/${host}`, detail };
    const alarm: Change[] = [
      { type: 'agent.quarantine', agentId, at: now },
      { type: 'audit', entry },
    ];
    return {
      changes: quarantinedAt === null ? alarm : [],
      committed: () => {
        member.agent = { ...member.agent, quarantinedAt: quarantinedAt ?? now };
        member.session?.close(CLOSE.quarantined, reason);
        member.session = undefined;
        session.close(CLOSE.quarantined, reason);
        this.#log.warn({ agent: agentId, host }, `quarantined: ${reason}`);
      },
    };
  }

  /** Closes the sessions that are silent. */
  closeSilent(): void {
    for (const { session } of this.#members.values()) session?.closeIfSilent();
  }
  close(): void {
    for (const { session } of this.#members.values()) session?.close(CLOSE.drain, 'the control plane stops');
  }
}
