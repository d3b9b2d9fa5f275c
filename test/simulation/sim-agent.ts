import {
  type AgentJob,
  type AgentLedger,
  adoptScheduleSet,
  classOf,
  deniedOutcome,
  type EventFactory,
  emptyAgentLedger,
  expiredOutcome,
  type HelloAnswer,
  type JobOutcome,
  type JournalJob,
  jobKey,
  wireErrorOf,
} from '@lastgood/protocol';
import { type Environment, GRANT_MS, occurrenceAt, scheduleSetOf } from './environment.ts';
import type { Down, Link, Up } from './network.ts';

interface Grant {
  readonly nonce: string;
  sentAt: number;
  state: 'asked' | 'valid' | 'denied';
  reason: string;
  link: number;
}
/** What a crash ends. */
interface Process {
  ledger: AgentLedger;
  link: Link | null;
  live: boolean;
  sentJobs: JournalJob[];
  reporting: boolean;
  readonly grants: Map<string, Grant>;
  /** Running attempts and whether they were asked to stop. */
  readonly runs: Map<string, { stopping: boolean }>;
}
/** Each success has a result of its own, so that one that is lost or mixed up is noticed. */
const doneWith = (what: string): JobOutcome => ({ type: 'succeeded', error: null, result: { what } });
const broke: JobOutcome = { type: 'failed', error: wireErrorOf('TOOL_FAILED', 'the tool failed'), result: null };
const stopped: JobOutcome = { type: 'canceled', error: wireErrorOf('JOB_CANCELED', 'it was stopped'), result: null };

/** What this host does not allow. */
const refuse = (spec: AgentJob['spec']) =>
  spec.command === 'undo' ? wireErrorOf('HOST_LIMIT', 'not allowed here') : null;

/** An agent: a journal that survives, a process that does not. The real reducers decide, this class only carries out. */
export class SimAgent {
  readonly index: number;
  readonly #env: Environment;
  disk: AgentLedger;
  process: Process | null = null;
  skewMs = 0;
  life = 0;
  snapshots: AgentLedger[];

  constructor(index: number, env: Environment) {
    this.index = index;
    this.#env = env;
    const set = scheduleSetOf(env.schedules, index, 0);
    this.disk = env.schedules.length > 0 ? adoptScheduleSet(emptyAgentLedger, set, 0) : emptyAgentLedger;
    this.snapshots = [this.disk];
  }

  get #eventFactory(): EventFactory {
    return { now: this.#env.now() + this.skewMs, eventId: () => this.#env.newId('e') };
  }

  #commit(process: Process, ledger: AgentLedger): void {
    this.#env.mayCrash(this.index);
    this.#noteBirths(this.disk, ledger);
    process.ledger = ledger;
    this.disk = ledger;
    this.#env.mayCrash(this.index);
    this.#follow(process);
  }

  #noteBirths(before: AgentLedger, after: AgentLedger): void {
    if (before.jobs === after.jobs) return;
    for (const [key, job] of after.jobs)
      if (job.local && !before.jobs.has(key)) this.#env.oracle.born(job, this.index, this.life);
  }

  /** The runner follows the journal: what was overruled ends at once, what was canceled is asked to stop. */
  #follow(process: Process): void {
    for (const [key, run] of process.runs) {
      const job = process.ledger.jobs.get(key);
      if (job?.state === 'running') run.stopping ||= job.cancelRequested;
      else if (this.#env.protocol.duties.stopOverruled) {
        this.#env.oracle.effectEnds(jobOf(key), false);
        process.runs.delete(key);
      }
    }
  }

  #send(process: Process, message: Up): void {
    this.#env.mayCrash(this.index);
    if (process.link !== null && !process.link.broken) process.link.up.push(message);
  }

  boot(): void {
    const { reduce, duties } = this.#env.protocol;
    const ledger = duties.durableOutbox ? this.disk : { ...this.disk, outbox: [] };
    this.process = {
      ledger,
      link: null,
      live: false,
      sentJobs: [],
      reporting: false,
      grants: new Map(),
      runs: new Map(),
    };
    const recovered = reduce.recoverAfterCrash(ledger, this.#eventFactory);
    this.#commit(this.process, duties.waitForHello ? recovered : { ...recovered, reconciled: true });
  }

  die(): void {
    if (this.process === null) return;
    this.hangUp();
    for (const key of this.process.runs.keys()) this.#env.oracle.effectEnds(jobOf(key), false);
    this.process = null;
  }

  /** The host is set back to an older snapshot of itself. */
  rollBack(snapshot: AgentLedger): void {
    this.die();
    this.disk = snapshot;
    this.life += 1;
    this.#env.oracle.hostSetBack(this.index, this.life);
  }

  hangUp(): void {
    const process = this.process;
    if (process?.link == null) return;
    process.link.agentOpen = false;
    process.link.down.length = 0;
    process.link = null;
    process.live = false;
    process.reporting = false;
  }

  dial(): void {
    const process = this.process;
    if (process === null) return;
    this.hangUp();
    process.link = this.#env.connect(this.index);
    const told = this.#env.protocol.reduce.helloOf(process.ledger);
    process.sentJobs = told.jobs;
    const input = {
      instanceId: `00000000-0000-4000-8000-00000000000${this.index}`,
      capabilities: ['backup'],
      clock: this.#eventFactory.now,
      agentVersion: '0.1.0',
      signingKey: 'ed25519:test',
      newestEpoch: 0,
      protocol: 1,
      ...told,
    };
    this.#send(process, { type: 'hello', input });
  }

  receive(link: Link, message: Down): void {
    const process = this.process;
    if (process === null || process.link !== link) return;
    if (message.type === 'hello') this.#adopt(process, message.answer);
    else if (message.type === 'command') this.#take(process, message.command);
    else if (message.type === 'begin') this.#receiveGrant(process, message);
    else if (message.type === 'heartbeat')
      for (const one of message.cancel) this.#cancel(process, one.jobId, one.attempt);
    else {
      this.#commit(process, this.#env.protocol.reduce.confirmReported(process.ledger, message.acceptedIds));
      process.reporting = false;
    }
  }

  #adopt(process: Process, answer: HelloAnswer): void {
    this.#env.oracle.answered(this.index, answer, this.#env.unharmed);
    const { reduce, duties } = this.#env.protocol;
    const sent = duties.keepSentJobs ? process.sentJobs : reduce.helloOf(process.ledger).jobs;
    this.#commit(process, reduce.adoptHelloAnswer(process.ledger, sent, answer, this.#eventFactory));
    process.live = true;
  }

  #take(process: Process, command: Extract<Down, { type: 'command' }>['command']): void {
    const { reduce, duties } = this.#env.protocol;
    const { ledger, refused } = reduce.acceptCommand(process.ledger, command, this.#eventFactory, refuse);
    if (refused !== null) {
      this.hangUp();
      return;
    }
    if (!duties.journalBeforeAck) this.#send(process, { type: 'ack', upToSeq: ledger.lastSeq });
    this.#commit(process, ledger);
    if (duties.journalBeforeAck) this.#send(process, { type: 'ack', upToSeq: ledger.lastSeq });
  }

  #cancel(process: Process, jobId: string, attempt: number): void {
    const { cancelAttempt } = this.#env.protocol.reduce;
    const ledger = cancelAttempt(process.ledger, jobId, attempt, this.#eventFactory);
    if (ledger !== process.ledger) this.#commit(process, ledger);
  }

  #receiveGrant(process: Process, message: Extract<Down, { type: 'begin' }>): void {
    for (const grant of process.grants.values()) {
      if (grant.nonce !== message.nonce) continue;
      grant.state = message.granted ? 'valid' : 'denied';
      grant.reason = message.reason;
    }
  }

  /** A schedule that this host holds fires, connected or not. */
  fire(): void {
    const process = this.process;
    const entry = this.#env.random.pick(process?.ledger.schedules?.entries ?? []);
    const schedule = this.#env.schedules.find(({ scheduleId }) => scheduleId === entry?.scheduleId);
    if (process === null || schedule === undefined) return;
    const { scheduleId } = schedule;
    const job = occurrenceAt(schedule, this.#eventFactory.now, this.#env.random.below(3));
    const { jobId, startBy, origin, createdAt } = job;
    const dueMs = origin.kind === 'schedule' ? origin.due : 0;
    const isHandled = process.ledger.handled.get(scheduleId)?.some((instant) => instant.dueMs === dueMs) === true;
    if (createdAt > startBy || isHandled) return;
    const decision = { scheduleId, jobId, dueMs, repeat: 0, action: 'fire', startBy } as const;
    const { reduce, duties } = this.#env.protocol;
    const ledger = reduce.handleOccurrences(process.ledger, [decision], this.#eventFactory, refuse);
    this.#env.note(() => `agent ${this.index}: creates ${jobId}: ${job.spec.command} ${job.spec.target}`);
    if (!duties.journalOccurrencesWhole) this.#commit(process, { ...process.ledger, handled: ledger.handled });
    this.#commit(process, ledger);
  }

  report(): void {
    const process = this.process;
    if (process === null || !process.live || process.reporting) return;
    const report = this.#env.protocol.reduce.reportBatch(process.ledger, 700);
    if (report.events.length === 0) return;
    process.reporting = true;
    this.#send(process, { type: 'report', report });
  }

  heartbeat(): void {
    const process = this.process;
    if (process === null || !process.live) return;
    const open = [...process.runs.keys()].map((key) => ({ jobId: jobOf(key), attempt: Number(key.split('#')[1]) }));
    this.#send(process, { type: 'heartbeat', running: open, outboxDepth: process.ledger.outbox.length });
  }

  /** Advances one of the jobs that may start. */
  work(): void {
    const process = this.process;
    if (process === null) return;
    const job = this.#env.random.pick(this.#env.protocol.reduce.startableJobs(process.ledger));
    if (job !== undefined) this.#advance(process, job);
  }

  #advance(process: Process, job: AgentJob): void {
    const { reduce, duties } = this.#env.protocol;
    const key = jobKey(job.jobId, job.attempt);
    const grant = process.grants.get(key);
    const live = grant?.state === 'valid' && (!duties.endGrants || this.#env.now() < grant.sentAt + GRANT_MS);
    const state = live ? 'valid' : grant?.state === 'denied' ? 'denied' : 'none';
    const step = reduce.nextStep(process.ledger, job, { now: this.#eventFactory.now, grant: state });
    if (step === 'wait') return;
    if (step === 'ask') {
      this.#ask(process, job, grant);
    } else if (step === 'expire') {
      const outcome = grant?.state === 'denied' ? deniedOutcome(grant.reason) : expiredOutcome;
      this.#commit(process, reduce.finishJob(process.ledger, key, outcome, this.#eventFactory));
    } else {
      this.#begin(process, job, grant);
    }
  }

  #begin(process: Process, job: AgentJob, grant: Grant | undefined): void {
    const { reduce, duties } = this.#env.protocol;
    const key = jobKey(job.jobId, job.attempt);
    const ledger = reduce.markRunning(process.ledger, key, this.#eventFactory);
    if (ledger.jobs.get(key)?.state !== 'running') return;
    const begin = () => {
      process.runs.set(key, { stopping: false });
      const { index: agent, life } = this;
      const trulyLive = grant !== undefined && this.#env.now() < grant.sentAt + GRANT_MS && grant.state === 'valid';
      const nonce = trulyLive ? grant.nonce : null;
      this.#env.note(() => `agent ${agent}: EFFECT of ${key} (${classOf(job.spec)})`);
      const { healed } = this.#env;
      this.#env.oracle.effectBegins({ agent, life, job, hostClock: this.#eventFactory.now, nonce, healed });
    };
    if (!duties.journalBeforeEffect) begin();
    this.#commit(process, ledger);
    if (duties.journalBeforeEffect) begin();
  }

  #ask(process: Process, job: AgentJob, before: Grant | undefined): void {
    if (!process.live || process.link === null) return;
    const now = this.#env.now();
    const waiting = before?.state === 'asked' && before.link === process.link.id;
    if (waiting) return;
    const nonce = before?.nonce ?? this.#env.newId('nonce');
    const grant: Grant = { nonce, sentAt: now, state: 'asked', reason: '', link: process.link.id };
    process.grants.set(jobKey(job.jobId, job.attempt), grant);
    this.#send(process, { type: 'begin', jobId: job.jobId, attempt: job.attempt, nonce });
  }

  /** Ends one of the running attempts. */
  finish(): void {
    const process = this.process;
    if (process === null) return;
    const run = this.#env.random.pick([...process.runs]);
    if (run === undefined) return;
    const [key, { stopping }] = run;
    const outcome =
      stopping && this.#env.random.chance(0.8)
        ? stopped
        : this.#env.random.chance(0.8)
          ? doneWith(`${key} in life ${this.life}`)
          : broke;
    this.#env.oracle.effectEnds(jobOf(key), outcome.type === 'succeeded');
    process.runs.delete(key);
    this.#commit(process, this.#env.protocol.reduce.finishJob(process.ledger, key, outcome, this.#eventFactory));
  }

  /** Forgets what ended some time ago and is confirmed. */
  forget(afterMs: number): void {
    const process = this.process;
    if (process === null) return;
    const before = this.#eventFactory.now - afterMs;
    this.#commit(process, this.#env.protocol.reduce.forgetFinished(process.ledger, before));
  }

  get quiet(): boolean {
    const ledger = this.process?.ledger;
    if (ledger === undefined) return false;
    return ledger.outbox.length === 0 && [...ledger.jobs.values()].every((job) => job.state === 'finished');
  }
}

const jobOf = (key: string): string => key.slice(0, key.indexOf('#'));
