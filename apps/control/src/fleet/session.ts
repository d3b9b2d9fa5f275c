import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises';
import { type Clock, Failure, MAX_SKEW_MS } from '@lastgood/core';
import {
  type AgentCommand,
  type AgentSession,
  acknowledge,
  CLOSE,
  type ControlLedger,
  dispatch,
  grantStart,
  type HelloAnswer,
  type HelloInput,
  type inventoryInputSchema,
  type JobSpec,
  LIMITS,
  PROTOCOL_VERSION,
  type Progress,
  receiveHeartbeat,
  receiveReport,
} from '@lastgood/protocol';
import type { WebSocket } from 'ws';
import type { z } from 'zod';
import type { Catalog } from '../catalog/catalog.ts';
import type { ControlLimits } from '../limits.ts';
import { type Fleet, HEARTBEAT_MS, LEASE_MS, type Step } from './fleet.ts';
import { isOutdated } from './holds.ts';
import { changesOf } from './job-changes.ts';

const GRANT_MS = 30_000;
type Ack = Parameters<AgentSession['ack']>[0];
type GrantRequest = Parameters<AgentSession['requestGrant']>[0];
type Report = Parameters<AgentSession['report']>[0];
type Heartbeat = Parameters<AgentSession['heartbeat']>[0];
type InventoryReport = z.infer<typeof inventoryInputSchema>;

/** Fleet sizes decide how long agents spread their return after a restart of the control plane (K6). */
const spreadOf = (agents: number): number => (agents < 500 ? 0 : Math.max(2_000, (agents / 150) * 1_000));

/** One connection of one agent, from its hello on. Every answer leaves after its change is committed. */
export class Session implements AgentSession {
  readonly sessionId = randomUUID();
  /** Counts up with every upgrade, so that the older of two is known whatever the network does. */
  readonly connection: number;
  readonly #agentId: string;
  readonly #fleet: Fleet;
  readonly #catalog: Catalog;
  readonly #clock: Clock;
  readonly #socket: WebSocket;
  readonly #wakeUp = new EventTarget();
  #hello: HelloInput | undefined;
  #epoch = 0;
  #inFlight = 0;
  #heardAt: number;
  #clockSkewMs: number | null = null;
  #outboxDepth = 0;
  #factsHash = '';
  /** The agent has lost more jobs than fitted into the answer to its hello. */
  #moreToTell = false;
  #progress: ReadonlyMap<string, Progress> = new Map();
  #subscribed = false;
  /** Why nothing is read from the socket at the moment. */
  readonly #holds = new Set<'calls' | 'reader'>();
  readonly #drainMs: number;
  readonly #helloTimer: NodeJS.Timeout;

  constructor(
    { agentId, connection }: { agentId: string; connection: number },
    socket: WebSocket,
    fleet: Fleet,
    catalog: Catalog,
    clock: Clock,
    limits: ControlLimits,
  ) {
    this.#agentId = agentId;
    this.connection = connection;
    this.#socket = socket;
    this.#fleet = fleet;
    this.#catalog = catalog;
    this.#clock = clock;
    this.#drainMs = limits.drainMs;
    this.#heardAt = clock.monotonic();
    this.#helloTimer = setTimeout(
      () => this.#hello === undefined && this.close(CLOSE.protocol, 'no hello'),
      limits.helloMs,
    );
    socket.on('message', () => this.#arrived());
    socket.on('ping', () => this.#arrived());
    socket.once('close', () => {
      clearTimeout(this.#helloTimer);
      this.#fleet.detach(this.#agentId, this);
      this.wake();
    });
  }

  get instanceId(): string {
    return this.#hello?.instanceId ?? '';
  }
  get open(): boolean {
    return this.#socket.readyState === this.#socket.OPEN;
  }
  get epoch(): number {
    return this.#epoch;
  }
  get clockSkewMs(): number | null {
    return this.#clockSkewMs;
  }
  get outboxDepth(): number {
    return this.#outboxDepth;
  }
  progressOf(jobId: string): Progress | null {
    return this.#progress.get(jobId) ?? null;
  }
  /** Heard of within the time that decides between online and offline. */
  get alive(): boolean {
    return this.#clock.monotonic() - this.#heardAt < 3 * HEARTBEAT_MS;
  }
  checkAlive(): void {
    if (this.#clock.monotonic() - this.#heardAt > LEASE_MS) this.close(CLOSE.slowConsumer, 'silent');
  }
  begins(epoch: number): void {
    this.#epoch = epoch;
  }
  wake(): void {
    this.#wakeUp.dispatchEvent(new Event('wake'));
  }
  close(code: number, reason: string): void {
    this.#socket.close(code, reason);
    setTimeout(() => this.#socket.terminate(), 2_000).unref();
  }

  #hold(why: 'calls' | 'reader'): void {
    this.#holds.add(why);
    this.#socket.pause();
  }
  #release(why: 'calls' | 'reader'): void {
    if (this.#holds.delete(why) && this.#holds.size === 0) this.#socket.resume();
  }

  /** Counts the calls that one socket has in flight, and stops reading from it above the limit (K5). */
  readonly throttle = async <T>(work: () => Promise<T>): Promise<T> => {
    this.#inFlight += 1;
    if (this.#inFlight > LIMITS.inFlightCalls) this.#hold('calls');
    try {
      return await work();
    } finally {
      this.#inFlight -= 1;
      if (this.#inFlight <= LIMITS.inFlightCalls / 2) this.#release('calls');
    }
  };

  /** Whoever asks and does not read the answers is not read any more, and ended when that does not help (K5). */
  #arrived(): void {
    if (this.#socket.bufferedAmount <= LIMITS.maxBufferedBytes || this.#holds.has('reader')) return;
    this.#hold('reader');
    void this.#drained().then(() => this.#release('reader'));
  }

  /** A call of a session that was taken over changes nothing (R10). */
  #fence(sessionId: string): void {
    if (this.#hello === undefined || sessionId !== this.sessionId || this.#fleet.session(this.#agentId) !== this)
      throw new Failure('CONFLICT', 'this session is over');
    this.#heardAt = this.#clock.monotonic();
  }

  /** A step of this session; one that waited behind the hello of a newer session changes nothing (R10). */
  async #step<T>(decide: (ledger: ControlLedger) => Step<T> | Promise<Step<T>>): Promise<T> {
    return await this.#fleet.step(this.#agentId, (ledger) => {
      if (ledger.epoch !== this.#epoch) {
        this.close(CLOSE.superseded, 'a newer session took over');
        throw new Failure('CONFLICT', 'this session is over');
      }
      return decide(ledger);
    });
  }

  /** How far the agent's clock is off, as it says now. */
  #noteClock(clock: number | undefined): void {
    if (clock !== undefined) this.#clockSkewMs = Math.round(clock - this.#clock.now());
  }

  async hello(input: HelloInput): Promise<HelloAnswer> {
    if (input.protocol > PROTOCOL_VERSION || input.protocol < PROTOCOL_VERSION - 2) {
      this.close(CLOSE.protocol, 'protocol');
      throw new Failure('PROTOCOL_UNSUPPORTED', `protocol ${input.protocol} is not spoken here`);
    }
    if (this.#hello !== undefined) throw new Failure('CONFLICT', 'one hello per connection');
    this.#hello = input;
    const now = this.#clock.now();
    this.#noteClock(input.clock);
    const answer = await this.#fleet.welcome(this.#agentId, this, input).catch((error: unknown) => {
      // Its journal may have gone on since: the agent begins anew, with a hello of now.
      this.close(CLOSE.superseded, 'the hello was refused');
      throw error;
    });
    this.#heardAt = this.#clock.monotonic();
    this.#moreToTell = answer.more;
    return {
      sessionId: this.sessionId,
      epoch: this.#epoch,
      incarnation: answer.ledger.incarnation,
      protocol: PROTOCOL_VERSION,
      controlClock: now,
      heartbeatMs: HEARTBEAT_MS,
      leaseMs: LEASE_MS,
      spreadMs: spreadOf(this.#fleet.members().length),
      merged: answer.merged,
      reset: answer.reset,
    };
  }

  async *commands(sessionId: string, signal: AbortSignal): AsyncIterable<AgentCommand> {
    this.#fence(sessionId);
    if (this.#subscribed) throw new Failure('CONFLICT', 'one subscription per session');
    this.#subscribed = true;
    try {
      yield* this.#commands(signal);
    } finally {
      this.#subscribed = false;
    }
  }

  async *#commands(signal: AbortSignal): AsyncIterable<AgentCommand> {
    let after = this.#fleet.ledger(this.#agentId).acked;
    const over = (): boolean => signal.aborted || this.#fleet.session(this.#agentId) !== this;
    while (!over()) {
      const woken = once(this.#wakeUp, 'wake', { signal }).catch(() => undefined);
      const room = LIMITS.commandWindow - (after - this.#fleet.ledger(this.#agentId).acked);
      const commands =
        room <= 0
          ? []
          : await this.#step((ledger) => {
              const dispatched = dispatch(ledger, after, room);
              return { ledger: dispatched.ledger, value: dispatched.commands };
            });
      for (const command of commands) {
        if (!(await this.#drained()) || over()) return;
        after = command.seq;
        yield command;
        // A source that is always ready runs in micro-tasks alone and starves timers and all other sockets.
        await nextTurn();
      }
      if (commands.length === 0) await woken;
    }
  }

  async #drained(): Promise<boolean> {
    const until = this.#clock.monotonic() + this.#drainMs;
    while (this.open && this.#socket.bufferedAmount > LIMITS.maxBufferedBytes) {
      if (this.#clock.monotonic() > until) {
        this.close(CLOSE.slowConsumer, 'slow consumer');
        return false;
      }
      await delay(20);
    }
    return true;
  }

  async ack(input: Ack): Promise<Record<string, never>> {
    this.#fence(input.sessionId);
    await this.#step((ledger) => ({
      ledger: acknowledge(ledger, input.upToSeq),
      value: undefined,
    }));
    this.wake();
    return {};
  }

  async requestGrant(input: GrantRequest): Promise<{ granted: boolean; ttlMs: number; reason: string }> {
    this.#fence(input.sessionId);
    this.#noteClock(input.clock);
    if (Math.abs(this.#clockSkewMs ?? 0) > MAX_SKEW_MS) return { granted: false, ttlMs: 0, reason: 'clock' };
    return await this.#step(async (before) => {
      // In the step: a backup is held in a step of the agent as well, so it is either known here or refused there.
      if (await this.#holdsChanged(before.jobs.get(input.jobId)?.spec))
        return { ledger: before, value: { granted: false, ttlMs: 0, reason: 'holds' } };
      const { ledger, granted, reason } = grantStart(
        before,
        input.jobId,
        input.attempt,
        input.nonce,
        this.#clock.now(),
      );
      return { ledger, value: { granted, ttlMs: granted ? GRANT_MS : 0, reason } };
    });
  }

  async #holdsChanged(spec: JobSpec | undefined): Promise<boolean> {
    if (spec?.command !== 'rotate') return false;
    return isOutdated(spec, await this.#catalog.holds({ agentId: this.#agentId, target: spec.target }));
  }

  async report(input: Report): Promise<{ acceptedIds: string[] }> {
    this.#fence(input.sessionId);
    const { acceptedIds, diverged } = await this.#step((before) => {
      const received = receiveReport(before, input.events, this.#clock.now(), LEASE_MS);
      return {
        ledger: received.ledger,
        value: received,
        changes: changesOf(this.#agentId, before, received.ledger),
      };
    });
    // The catalog may now differ from facts that are the same as before.
    this.#factsHash = '';
    const stopped = new Set(
      input.events.filter(({ type }) => type !== 'running' && type !== 'accepted').map(({ jobId }) => jobId),
    );
    this.#progress = new Map([...this.#progress].filter(([jobId]) => !stopped.has(jobId)));
    if (diverged) this.close(CLOSE.diverged, 'history diverged');
    this.wake();
    return { acceptedIds };
  }

  async heartbeat(input: Heartbeat): Promise<{ controlClock: number; cancel: { jobId: string; attempt: number }[] }> {
    this.#fence(input.sessionId);
    this.#noteClock(input.clock);
    this.#outboxDepth = input.outboxDepth;
    this.#progress = new Map(input.progress.map((progress) => [progress.jobId, progress]));
    const cancel = await this.#step((before) => {
      const { ledger, cancel } = receiveHeartbeat(before, input.running, this.#clock.now(), LEASE_MS);
      const changed = [...ledger.jobs].some(([jobId, job]) => before.jobs.get(jobId)?.state !== job.state);
      return { ledger, value: cancel, volatile: !changed };
    });
    // Of what it was told it has told the end: the next hello gets more.
    if (this.#moreToTell && input.outboxDepth === 0) this.close(CLOSE.diverged, 'more of the history is to be told');
    return { controlClock: this.#clock.now(), cancel };
  }

  async inventory(input: InventoryReport): Promise<Record<string, never>> {
    this.#fence(input.sessionId);
    if (input.hash === this.#factsHash) return {};
    const { targets, complete, backups, removed } = input;
    const read = input.scanned ?? targets.map((target) => target.name);
    await this.#step((ledger) => ({
      ledger,
      value: undefined,
      changes: [
        { type: 'inventory', agentId: this.#agentId, targets, seenAt: this.#clock.now() },
        { type: 'scan', agentId: this.#agentId, complete, backups, removed, targets: read },
      ],
    }));
    this.#factsHash = input.hash;
    return {};
  }
}
