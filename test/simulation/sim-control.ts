import {
  type ControlLedger,
  type HelloInput,
  type JobEvent,
  type JobSpec,
  LIMITS,
  TERMINAL_STATES,
} from '@lastgood/protocol';
import { type Environment, LEASE_MS } from './environment.ts';
import type { Down, Link, Up } from './network.ts';

interface Session {
  readonly agent: number;
  readonly epoch: number;
  readonly link: Link;
  /** Its agent was not told all that it has lost: the next hello goes on. */
  readonly more: boolean;
  sentSeq: number;
}

/** The control plane: a catalog that survives, sessions that do not. */
export class SimControl {
  readonly #env: Environment;
  disk: Map<number, ControlLedger>;
  up = false;
  skewMs = 0;
  copies: Map<number, ControlLedger>[] = [];
  readonly #sessions = new Map<number, Session>();
  /** The newest connection of an agent that has said hello, though it may be gone again. */
  readonly #newest = new Map<number, number>();
  /** Where the last session of an agent stopped sending; only a mutation uses it. */
  readonly #cursors = new Map<number, number>();

  constructor(env: Environment, agents: number) {
    this.#env = env;
    this.disk = new Map();
    const incarnation = env.newId('incarnation');
    for (let agent = 0; agent < agents; agent += 1) {
      this.disk.set(agent, env.protocol.reduce.emptyControlLedger(`agent-${agent}`, incarnation));
    }
    this.copies.push(new Map(this.disk));
  }

  get #now(): number {
    return this.#env.now() + this.skewMs;
  }

  ledger(agent: number): ControlLedger {
    const ledger = this.disk.get(agent);
    if (ledger === undefined) throw new Error(`no agent ${agent}`);
    return ledger;
  }

  #commit(agent: number, ledger: ControlLedger): void {
    if (ledger === this.disk.get(agent)) return;
    this.#env.mayCrash('control');
    this.disk.set(agent, ledger);
    this.#env.oracle.controlCommits(agent, ledger);
    this.#env.mayCrash('control');
  }

  /** Commits, then answers. */
  #answer(session: Session, ledger: ControlLedger, message: Down): void {
    const early = !this.#env.protocol.duties.commitBeforeSend;
    if (early) this.#send(session, message);
    this.#commit(session.agent, ledger);
    if (!early) this.#send(session, message);
  }

  #send(session: Session, message: Down): void {
    this.#env.mayCrash('control');
    if (session.link.agentOpen && !session.link.broken) session.link.down.push(message);
  }

  close(link: Link): void {
    link.controlOpen = false;
    link.up.length = 0;
    this.#sessions.delete(link.id);
  }

  die(links: readonly Link[]): void {
    for (const link of links) this.close(link);
    this.up = false;
    this.#sessions.clear();
    this.#newest.clear();
  }

  /** The catalog is replaced by an older copy of itself. */
  restore(copy: Map<number, ControlLedger>): void {
    const incarnation = this.#env.newId('incarnation');
    for (const [agent, ledger] of copy) {
      this.disk.set(agent, this.#env.protocol.reduce.afterCatalogRestore(ledger, incarnation));
    }
    this.copies = this.copies.slice(0, this.copies.indexOf(copy) + 1);
  }

  create(agent: number, spec: JobSpec, startInMs: number): void {
    const jobId = this.#env.newId('job');
    this.#env.oracle.created(jobId, agent, spec);
    this.#env.note(() => `control: creates ${jobId} for agent ${agent}: ${spec.command} ${spec.target}`);
    const job = { jobId, spec, startBy: this.#now + startInMs, deadlineMs: 3_600_000 };
    const ledger = this.#env.protocol.reduce.createJob(this.ledger(agent), job);
    // A person whose request died with the process sends it again: the job is only owed once it is there.
    this.disk.set(agent, ledger);
    this.#env.oracle.controlCommits(agent, ledger);
  }

  cancelOne(): void {
    const agent = this.#env.random.below(this.disk.size);
    const open = [...this.ledger(agent).jobs.values()].filter((job) => !TERMINAL_STATES.has(job.state));
    const job = this.#env.random.pick(open);
    if (job === undefined) return;
    this.#env.note(() => `control: cancel of ${job.jobId} (${job.state})`);
    this.#commit(agent, this.#env.protocol.reduce.requestCancel(this.ledger(agent), job.jobId, this.#now));
  }

  expire(): void {
    for (const agent of this.disk.keys()) {
      this.#commit(agent, this.#env.protocol.reduce.expireLeases(this.ledger(agent), this.#now));
    }
  }

  /** Sends what waits to one of the connected agents; now and then from the start again, as a repeated subscription does. */
  push(session: Session | undefined = this.#env.random.pick([...this.#sessions.values()])): void {
    if (session === undefined) return;
    const { reduce } = this.#env.protocol;
    const before = this.ledger(session.agent);
    if (!this.#env.healed && this.#env.random.chance(0.05)) session.sentSeq = Math.min(session.sentSeq, before.acked);
    const limit = this.#env.healed ? LIMITS.commandWindow : 1 + this.#env.random.below(LIMITS.commandWindow);
    const { ledger, commands } = reduce.dispatch(before, session.sentSeq, limit);
    const early = !this.#env.protocol.duties.commitBeforeSend;
    if (!early) this.#commit(session.agent, ledger);
    for (const command of commands) {
      this.#send(session, { type: 'command', command });
      session.sentSeq = command.seq;
      this.#cursors.set(session.agent, command.seq);
    }
    if (early) this.#commit(session.agent, ledger);
  }

  pushAll(): void {
    for (const session of this.#sessions.values()) this.push(session);
  }

  receive(link: Link, message: Up): void {
    const session = this.#sessions.get(link.id);
    const stale = this.#env.protocol.duties.fenceSessions && session?.epoch !== this.ledger(link.agent).epoch;
    if (message.type === 'hello') this.#hello(link, message.input);
    else if (session === undefined || stale) this.close(link);
    else this.#serve(session, message);
  }

  #serve(session: Session, message: Exclude<Up, { type: 'hello' }>): void {
    const { reduce } = this.#env.protocol;
    const ledger = this.ledger(session.agent);
    if (message.type === 'ack') {
      this.#commit(session.agent, reduce.acknowledge(ledger, message.upToSeq));
    } else if (message.type === 'heartbeat') {
      const heard = reduce.receiveHeartbeat(ledger, message.running, this.#now, LEASE_MS);
      this.#answer(session, heard.ledger, { type: 'heartbeat', cancel: heard.cancel });
      if (session.more && message.outboxDepth === 0) this.close(session.link);
    } else if (message.type === 'begin') {
      const { jobId, attempt, nonce } = message;
      const asked = reduce.grantStart(ledger, jobId, attempt, nonce, this.#now);
      if (asked.granted) this.#env.oracle.granted(session.agent, { jobId, attempt }, nonce);
      this.#answer(session, asked.ledger, { type: 'begin', nonce, granted: asked.granted, reason: asked.reason });
    } else {
      this.#receiveReport(session, message.events);
    }
  }

  #receiveReport(session: Session, events: JobEvent[]): void {
    const ledger = this.ledger(session.agent);
    const told = this.#env.protocol.reduce.receiveReport(ledger, events, this.#now, LEASE_MS);
    if (told.diverged) {
      this.#env.oracle.accused(session.agent, this.#env.unharmed);
      this.#env.note(() => `control: another history from agent ${session.agent}`);
      this.#commit(session.agent, told.ledger);
      this.close(session.link);
    } else {
      this.#answer(session, told.ledger, { type: 'report', acceptedIds: told.acceptedIds });
    }
  }

  #hello(link: Link, input: HelloInput): void {
    const { reduce, duties } = this.#env.protocol;
    if (duties.refuseOlderLinks && link.id < (this.#newest.get(link.agent) ?? 0)) {
      this.close(link);
      return;
    }
    this.#newest.set(link.agent, link.id);
    // Some answers have room for nothing but what must be told at once.
    const room = link.id % 2 === 0 ? 1 : undefined;
    const met = reduce.receiveHello(this.ledger(link.agent), input, this.#now, LEASE_MS, room);
    const { ledger, merged, reset, more } = met;
    if (merged !== null || reset !== null) {
      this.#env.note(
        () => `control: hello of agent ${link.agent} merged=${merged?.baseSeq} reset=${JSON.stringify(reset)}`,
      );
    }
    for (const other of this.#sessions.values()) {
      if (other.agent === link.agent && duties.fenceSessions) this.close(other.link);
    }
    const sentSeq = duties.resumeFromAck ? ledger.acked : (this.#cursors.get(link.agent) ?? ledger.acked);
    const session: Session = { agent: link.agent, epoch: ledger.epoch, link, more, sentSeq };
    const answer = {
      sessionId: this.#env.newId('session'),
      epoch: ledger.epoch,
      incarnation: ledger.incarnation,
      protocol: 1,
      controlClock: this.#now,
      heartbeatMs: 30_000,
      leaseMs: LEASE_MS,
      spreadMs: 0,
      merged,
      reset,
    };
    this.#answer(session, ledger, { type: 'hello', answer });
    this.#sessions.set(link.id, session);
  }

  quiet(agent: number): boolean {
    const ledger = this.ledger(agent);
    return ledger.outbox.length === 0 && [...ledger.jobs.values()].every((job) => TERMINAL_STATES.has(job.state));
  }
}
