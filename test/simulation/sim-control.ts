import {
  type ControlLedger,
  type HelloInput,
  type JobDescription,
  type JobReport,
  type JobSpec,
  LIMITS,
  TERMINAL_STATES,
} from '@lastgood/protocol';
import {
  type Environment,
  LEASE_MS,
  occurrenceAt,
  SCHEDULE_SETS,
  type Schedule,
  scheduleSetOf,
} from './environment.ts';
import type { Down, Link, Up } from './network.ts';

interface Session {
  readonly agent: number;
  readonly epoch: number;
  readonly link: Link;
  /** Its agent did not receive all jobs that it has lost: the next hello continues. */
  readonly more: boolean;
  sentSeq: number;
}

/** The control plane: a catalog that survives; sessions and the ledgers of the open jobs that do not. */
export class SimControl {
  readonly #env: Environment;
  /** The catalog: every job, ended ones too. */
  disk: Map<number, ControlLedger>;
  /** The open jobs alone. What a message names beside them is looked up in the catalog. */
  #memory = new Map<number, ControlLedger>();
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
      const ledger = env.protocol.reduce.emptyControlLedger(`agent-${agent}`, incarnation);
      // The host holds them already (SimAgent).
      const schedules = env.schedules.length > 0 ? scheduleSetOf(env.schedules, agent, 0) : null;
      this.disk.set(agent, { ...ledger, schedules });
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

  /** Starts the process: memory is read from the catalog. */
  boot(): void {
    const { withoutEndedJobs } = this.#env.protocol.reduce;
    this.up = true;
    for (const [agent, ledger] of this.disk) this.#memory.set(agent, withoutEndedJobs(ledger));
  }

  /** What a step decides on: the open jobs, and the ended ones that it names. */
  #ledgerFor(agent: number, jobIds: Iterable<string> = []): ControlLedger {
    const { reduce, duties } = this.#env.protocol;
    const memory = this.#memory.get(agent);
    if (memory === undefined) throw new Error(`no agent ${agent} in memory`);
    const catalog = this.ledger(agent);
    const missing = duties.lookUpEnded ? reduce.missingJobIds(memory, jobIds) : [];
    return reduce.withEndedJobs(
      memory,
      missing.flatMap((jobId) => catalog.jobs.get(jobId) ?? []),
    );
  }

  #commit(agent: number, before: ControlLedger, after: ControlLedger): void {
    if (after === before) return;
    this.#env.mayCrash('control');
    const catalog = this.ledger(agent);
    const stored = { ...after, jobs: new Map([...catalog.jobs, ...after.jobs]) };
    this.disk.set(agent, stored);
    this.#env.oracle.controlCommits(agent, stored);
    this.#memory.set(agent, this.#env.protocol.reduce.withoutEndedJobs(after));
    this.#env.mayCrash('control');
  }

  /** Commits, then answers. */
  #answer(session: Session, before: ControlLedger, after: ControlLedger, message: Down): void {
    const early = !this.#env.protocol.duties.commitBeforeSend;
    if (early) this.#send(session, message);
    this.#commit(session.agent, before, after);
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
    this.#memory.clear();
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
    const origin = { kind: 'command', by: 'a person' } as const;
    const times = { createdAt: this.#now, startBy: this.#now + startInMs, deadlineMs: 3_600_000 };
    this.#create(agent, { jobId: this.#env.newId('job'), spec, origin, ...times });
  }

  /** Somebody asks for the occurrence that is due, which its agent may create at the same time. */
  runDue(schedule: Schedule): void {
    this.#create(schedule.agent, occurrenceAt(schedule, this.#now, this.#env.random.below(3)));
  }

  /** The fleet file has changed: one of the agents is to hold other schedules. */
  reschedule(): void {
    const agent = this.#env.random.below(this.disk.size);
    const set = scheduleSetOf(this.#env.schedules, agent, this.#env.random.below(SCHEDULE_SETS));
    const before = this.#ledgerFor(agent);
    this.#env.note(() => `control: agent ${agent} is to hold ${set.revision}`);
    this.#commit(agent, before, this.#env.protocol.reduce.setSchedules(before, set));
  }

  #create(agent: number, job: JobDescription): void {
    const before = this.#ledgerFor(agent, [job.jobId]);
    const ledger = this.#env.protocol.reduce.createJob(before, job);
    if (ledger === before) return;
    this.#env.oracle.created(job.jobId, agent, job.spec);
    this.#env.note(() => `control: creates ${job.jobId} for agent ${agent}: ${job.spec.command} ${job.spec.target}`);
    // A person whose request died with the process repeats it: the job is only owed once it is stored.
    this.disk.set(agent, { ...ledger, jobs: new Map([...this.ledger(agent).jobs, ...ledger.jobs]) });
    this.#memory.set(agent, this.#env.protocol.reduce.withoutEndedJobs(ledger));
    this.#env.oracle.controlCommits(agent, this.ledger(agent));
  }

  cancelOne(): void {
    const agent = this.#env.random.below(this.disk.size);
    const open = [...this.ledger(agent).jobs.values()].filter((job) => !TERMINAL_STATES.has(job.state));
    const job = this.#env.random.pick(open);
    if (job === undefined) return;
    this.#env.note(() => `control: cancel of ${job.jobId} (${job.state})`);
    const before = this.#ledgerFor(agent);
    this.#commit(agent, before, this.#env.protocol.reduce.requestCancel(before, job.jobId, this.#now));
  }

  expire(): void {
    for (const agent of this.disk.keys()) {
      const before = this.#ledgerFor(agent);
      this.#commit(agent, before, this.#env.protocol.reduce.expireLeases(before, this.#now));
    }
  }

  /** Sends what waits to one of the connected agents; now and then from the start again, as a repeated subscription does. */
  push(session: Session | undefined = this.#env.random.pick([...this.#sessions.values()])): void {
    if (session === undefined) return;
    const { reduce } = this.#env.protocol;
    const before = this.#ledgerFor(session.agent);
    if (!this.#env.healed && this.#env.random.chance(0.05)) session.sentSeq = Math.min(session.sentSeq, before.acked);
    const limit = this.#env.healed ? LIMITS.commandWindow : 1 + this.#env.random.below(LIMITS.commandWindow);
    const { ledger, commands } = reduce.dispatch(before, session.sentSeq, limit);
    const early = !this.#env.protocol.duties.commitBeforeSend;
    if (!early) this.#commit(session.agent, before, ledger);
    for (const command of commands) {
      this.#send(session, { type: 'command', command });
      session.sentSeq = command.seq;
      this.#cursors.set(session.agent, command.seq);
    }
    if (early) this.#commit(session.agent, before, ledger);
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
    const { agent } = session;
    if (message.type === 'ack') {
      const before = this.#ledgerFor(agent);
      this.#commit(agent, before, reduce.acknowledge(before, message.upToSeq));
    } else if (message.type === 'heartbeat') {
      const before = this.#ledgerFor(
        agent,
        message.running.map(({ jobId }) => jobId),
      );
      const received = reduce.receiveHeartbeat(before, message.running, this.#now, LEASE_MS);
      this.#answer(session, before, received.ledger, { type: 'heartbeat', cancel: received.cancel });
      if (session.more && message.outboxDepth === 0) this.close(session.link);
    } else if (message.type === 'begin') {
      const { jobId, attempt, nonce } = message;
      const before = this.#ledgerFor(agent, [jobId]);
      const { ledger, granted, reason } = reduce.grantStart(before, jobId, attempt, nonce, this.#now);
      if (granted) this.#env.oracle.granted(agent, { jobId, attempt }, nonce);
      this.#answer(session, before, ledger, { type: 'begin', nonce, granted, reason });
    } else {
      this.#receiveReport(session, message.report);
    }
  }

  #receiveReport(session: Session, report: JobReport): void {
    const { agent } = session;
    const before = this.#ledgerFor(
      agent,
      report.events.map(({ jobId }) => jobId),
    );
    const received = this.#env.protocol.reduce.receiveReport(before, report, this.#now, LEASE_MS);
    if (received.diverged) {
      this.#env.oracle.accused(agent, this.#env.unharmed);
      this.#env.note(() => `control: another history from agent ${agent}`);
      this.#commit(agent, before, received.ledger);
      this.close(session.link);
    } else {
      this.#answer(session, before, received.ledger, { type: 'report', acceptedIds: received.acceptedIds });
    }
  }

  #hello(link: Link, input: HelloInput): void {
    const { reduce, duties } = this.#env.protocol;
    if (duties.refuseOlderLinks && link.id < (this.#newest.get(link.agent) ?? 0)) {
      this.close(link);
      return;
    }
    this.#newest.set(link.agent, link.id);
    // Some answers have space for nothing but what must be sent at once.
    const resetBytes = link.id % 2 === 0 ? 1 : undefined;
    const before = this.#ledgerFor(
      link.agent,
      input.jobs.map(({ jobId }) => jobId),
    );
    const { ledger, merged, reset, more } = reduce.receiveHello(before, input, this.#now, LEASE_MS, resetBytes);
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
    this.#answer(session, before, ledger, { type: 'hello', answer });
    this.#sessions.set(link.id, session);
  }

  quiet(agent: number): boolean {
    const ledger = this.ledger(agent);
    return ledger.outbox.length === 0 && [...ledger.jobs.values()].every((job) => TERMINAL_STATES.has(job.state));
  }
}
