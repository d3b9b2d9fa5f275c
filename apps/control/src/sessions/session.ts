import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { setImmediate as nextTurn } from 'node:timers/promises';
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
  type StreamReport,
} from '@lastgood/protocol';
import type { WebSocket } from 'ws';
import type { z } from 'zod';
import type { Catalog } from '../catalog/catalog.ts';
import { isOutdated, protectedIds } from '../dispatch/holds.ts';
import { changesOf } from '../dispatch/job-changes.ts';
import type { Decide, LedgerStore } from '../dispatch/ledger-store.ts';
import { GRANT_MS, HEARTBEAT_MS, LEASE_MS } from '../dispatch/times.ts';
import type { ControlLimits } from '../limits.ts';
import type { AgentConnection } from './agent-connection.ts';
import type { AgentRates } from './agent-rates.ts';
import type { AgentRegistry } from './agent-registry.ts';
import { SocketFlow } from './socket-flow.ts';

type Ack = Parameters<AgentSession['ack']>[0];
type GrantRequest = Parameters<AgentSession['requestGrant']>[0];
type Report = Parameters<AgentSession['report']>[0];
type Heartbeat = Parameters<AgentSession['heartbeat']>[0];
type InventoryReport = z.infer<typeof inventoryInputSchema>;

/** What a ping costs, which is answered like a small call. */
const PING_BYTES = 256;

/** The size of the fleet decides over how long agents spread their return after a restart of the control plane (K6). */
const spreadOf = (agents: number): number => (agents < 500 ? 0 : Math.max(2_000, (agents / 150) * 1_000));

export interface SessionParts {
  readonly registry: AgentRegistry;
  readonly ledgers: LedgerStore;
  readonly catalog: Catalog;
  readonly clock: Clock;
  readonly limits: ControlLimits;
  readonly rates: AgentRates;
}

/** One connection of one agent, from its hello on. Every answer leaves after its change is committed. */
export class Session implements AgentSession, AgentConnection {
  readonly sessionId = randomUUID();
  readonly connection: number;
  readonly throttle: SocketFlow['throttle'];
  readonly #agentId: string;
  readonly #parts: SessionParts;
  readonly #socket: WebSocket;
  readonly #flow: SocketFlow;
  readonly #wakeUp = new EventTarget();
  readonly #unsubscribe: () => void;
  readonly #helloTimer: NodeJS.Timeout;
  #hello: HelloInput | undefined;
  #epoch = 0;
  #heardAt: number;
  #clockSkewMs: number | null = null;
  #outboxDepth = 0;
  #connectedAt = 0;
  #isCaughtUp = false;
  #inventoryHash = '';
  /** The agent has lost more jobs than fitted into the answer to its hello. */
  #hasMoreLost = false;
  #progress: ReadonlyMap<string, Progress> = new Map();
  #streams: ReadonlyMap<string, StreamReport> = new Map();
  #subscribed = false;

  constructor(
    { agentId, connection }: { agentId: string; connection: number },
    socket: WebSocket,
    parts: SessionParts,
  ) {
    this.#agentId = agentId;
    this.connection = connection;
    this.#socket = socket;
    this.#parts = parts;
    const { clock, limits, ledgers } = parts;
    const rate = parts.rates.of(agentId);
    this.#flow = new SocketFlow(socket, clock, limits.drainMs, rate, () =>
      this.close(CLOSE.slowConsumer, 'slow consumer'),
    );
    this.throttle = this.#flow.throttle;
    this.#heardAt = clock.monotonic();
    this.#helloTimer = setTimeout(
      () => this.#hello === undefined && this.close(CLOSE.protocol, 'no hello'),
      limits.helloMs,
    );
    this.#unsubscribe = ledgers.subscribe((agent, before, after) => this.#follow(agent, before, after));
    socket.on('message', (data) => this.#flow.received(Buffer.isBuffer(data) ? data.length : LIMITS.frameBytes));
    socket.on('ping', () => this.#flow.received(PING_BYTES));
    socket.once('close', () => this.#closed());
  }

  #closed(): void {
    clearTimeout(this.#helloTimer);
    this.#unsubscribe();
    this.#parts.registry.detach(this.#agentId, this);
    this.#wake();
  }

  /** Commands are sent when the outbox or its acknowledgement has moved. */
  #follow(agentId: string, before: ControlLedger, after: ControlLedger): void {
    if (agentId === this.#agentId && (before.outbox !== after.outbox || before.acked !== after.acked)) this.#wake();
  }
  #wake(): void {
    this.#wakeUp.dispatchEvent(new Event('wake'));
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
  get connectedAt(): number {
    return this.#connectedAt;
  }
  get isCaughtUp(): boolean {
    return this.#isCaughtUp;
  }
  get alive(): boolean {
    return this.#parts.clock.monotonic() - this.#heardAt < 3 * HEARTBEAT_MS;
  }
  progressOf(jobId: string): Progress | null {
    return this.#progress.get(jobId) ?? null;
  }
  streamOf(target: string): StreamReport | undefined {
    return this.#streams.get(target);
  }
  begin(epoch: number): void {
    this.#epoch = epoch;
    this.#connectedAt = this.#parts.clock.now();
  }
  closeIfSilent(): void {
    if (this.#parts.clock.monotonic() - this.#heardAt > LEASE_MS) this.close(CLOSE.slowConsumer, 'silent');
  }
  close(code: number, reason: string): void {
    this.#socket.close(code, reason);
    setTimeout(() => this.#socket.terminate(), 2_000).unref();
  }

  get #isCurrent(): boolean {
    return this.#parts.registry.session(this.#agentId) === this;
  }
  /** A call of a session that was taken over changes nothing (R10). */
  #fence(sessionId: string): void {
    if (this.#hello === undefined || sessionId !== this.sessionId || !this.#isCurrent)
      throw new Failure('CONFLICT', 'this session is over');
    this.#heardAt = this.#parts.clock.monotonic();
  }

  /**
   * A step of this session that may concern the jobs of `jobIds`. One that waited behind the hello of a newer session changes
   * nothing (R10).
   */
  async #step<T>(decide: Decide<T>, jobIds: Iterable<string> = []): Promise<T> {
    const fenced: Decide<T> = (ledger, foreign) => {
      if (ledger.epoch !== this.#epoch) {
        this.close(CLOSE.superseded, 'a newer session took over');
        throw new Failure('CONFLICT', 'this session is over');
      }
      return decide(ledger, foreign);
    };
    return await this.#parts.ledgers.apply(this.#agentId, fenced, jobIds);
  }

  /** Records how far the agent's clock is off. */
  #noteClock(clock: number | undefined): void {
    if (clock !== undefined) this.#clockSkewMs = Math.round(clock - this.#parts.clock.now());
  }

  async hello(input: HelloInput): Promise<HelloAnswer> {
    const { registry, clock } = this.#parts;
    if (input.protocol > PROTOCOL_VERSION || input.protocol < PROTOCOL_VERSION - 2) {
      this.close(CLOSE.protocol, 'protocol');
      throw new Failure('PROTOCOL_UNSUPPORTED', `unsupported protocol version ${input.protocol}`);
    }
    if (this.#hello !== undefined) throw new Failure('CONFLICT', 'one hello per connection');
    this.#hello = input;
    const now = clock.now();
    this.#noteClock(input.clock);
    const welcome = await registry.welcome(this.#agentId, this, input).catch((error: unknown) => {
      // The agent's journal may have moved on since: it starts again, with a new hello.
      this.close(CLOSE.superseded, 'the hello was refused');
      throw error;
    });
    this.#heardAt = clock.monotonic();
    this.#hasMoreLost = welcome.more;
    return {
      sessionId: this.sessionId,
      epoch: this.#epoch,
      incarnation: welcome.ledger.incarnation,
      protocol: PROTOCOL_VERSION,
      controlClock: now,
      heartbeatMs: HEARTBEAT_MS,
      leaseMs: LEASE_MS,
      spreadMs: spreadOf(registry.size),
      merged: welcome.merged,
      reset: welcome.reset,
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
    const { ledgers } = this.#parts;
    let after = ledgers.ledger(this.#agentId).acked;
    const over = (): boolean => signal.aborted || !this.#isCurrent;
    while (!over()) {
      const woken = once(this.#wakeUp, 'wake', { signal }).catch(() => undefined);
      const window = LIMITS.commandWindow - (after - ledgers.ledger(this.#agentId).acked);
      const commands =
        window <= 0
          ? []
          : await this.#step((ledger) => {
              const dispatched = dispatch(ledger, after, window);
              return { ledger: dispatched.ledger, value: dispatched.commands };
            });
      for (const command of commands) {
        if (!(await this.#flow.drained()) || over()) return;
        after = command.seq;
        yield command;
        // A source that is always ready runs in microtasks alone, which starves timers and all other sockets.
        await nextTurn();
      }
      if (commands.length === 0) await woken;
    }
  }

  async ack(input: Ack): Promise<Record<string, never>> {
    this.#fence(input.sessionId);
    await this.#step((ledger) => ({
      ledger: acknowledge(ledger, input.upToSeq),
      value: undefined,
    }));
    return {};
  }

  async requestGrant(input: GrantRequest): Promise<{ granted: boolean; ttlMs: number; reason: string }> {
    this.#fence(input.sessionId);
    this.#noteClock(input.clock);
    if (Math.abs(this.#clockSkewMs ?? 0) > MAX_SKEW_MS) return { granted: false, ttlMs: 0, reason: 'clock' };
    const { jobId, attempt, nonce } = input;
    const decide: Decide<{ granted: boolean; ttlMs: number; reason: string }> = async (before) => {
      // Inside the step: a backup is held in a step of the agent as well, so it is either known here or refused there.
      if (await this.#haveHoldsChanged(before, before.jobs.get(jobId)?.spec))
        return { ledger: before, value: { granted: false, ttlMs: 0, reason: 'holds' } };
      const { ledger, granted, reason } = grantStart(before, jobId, attempt, nonce, this.#parts.clock.now());
      return { ledger, value: { granted, ttlMs: granted ? GRANT_MS : 0, reason } };
    };
    return await this.#step(decide, [jobId]);
  }

  async #haveHoldsChanged(ledger: ControlLedger, spec: JobSpec | undefined): Promise<boolean> {
    if (spec?.command !== 'rotate') return false;
    const { backups } = this.#parts.catalog;
    const held = await backups.held({ agentId: this.#agentId, target: spec.target });
    return isOutdated(spec, protectedIds(ledger, spec.target, held));
  }

  async report(input: Report): Promise<{ acceptedIds: string[] }> {
    await this.#flow.jobsDescribed(input.jobs.length);
    this.#fence(input.sessionId);
    const decide: Decide<ReturnType<typeof receiveReport>> = (before, foreign) => {
      // The id of a job belongs to the host that reported it first.
      const jobs = input.jobs.filter(({ jobId }) => !foreign.has(jobId));
      const received = receiveReport(before, { events: input.events, jobs }, this.#parts.clock.now(), LEASE_MS);
      const { ledger } = received;
      return { ledger, value: received, changes: changesOf(this.#agentId, before, ledger) };
    };
    const { acceptedIds, diverged } = await this.#step(
      decide,
      input.events.map(({ jobId }) => jobId),
    );
    // The catalog may now differ from an inventory that is the same as before.
    this.#inventoryHash = '';
    const stopped = new Set(
      input.events.filter(({ type }) => type !== 'running' && type !== 'accepted').map(({ jobId }) => jobId),
    );
    this.#progress = new Map([...this.#progress].filter(([jobId]) => !stopped.has(jobId)));
    if (diverged) this.close(CLOSE.diverged, 'history diverged');
    return { acceptedIds };
  }

  async heartbeat(input: Heartbeat): Promise<{ controlClock: number; cancel: { jobId: string; attempt: number }[] }> {
    this.#fence(input.sessionId);
    this.#noteClock(input.clock);
    const { clock } = this.#parts;
    this.#outboxDepth = input.outboxDepth;
    this.#isCaughtUp ||= input.outboxDepth === 0;
    this.#progress = new Map(input.progress.map((progress) => [progress.jobId, progress]));
    this.#streams = new Map(input.streams.map(({ target, report }) => [target, report]));
    const decide: Decide<{ jobId: string; attempt: number }[]> = (before) => {
      const { ledger, cancel } = receiveHeartbeat(before, input.running, clock.now(), LEASE_MS);
      const changed = [...ledger.jobs].some(([jobId, job]) => before.jobs.get(jobId)?.state !== job.state);
      return { ledger, value: cancel, volatile: !changed };
    };
    const cancel = await this.#step(
      decide,
      input.running.map(({ jobId }) => jobId),
    );
    // The agent has reported the end of everything it was sent: the next hello gets the rest.
    if (this.#hasMoreLost && input.outboxDepth === 0) this.close(CLOSE.diverged, 'more lost jobs are to be sent');
    return { controlClock: clock.now(), cancel };
  }

  async inventory(input: InventoryReport): Promise<Record<string, never>> {
    this.#fence(input.sessionId);
    if (input.hash === this.#inventoryHash) return {};
    const { targets, complete, backups, removed, checks, hooks } = input;
    const agentId = this.#agentId;
    const scanned = input.scanned ?? targets.map((target) => target.name);
    await this.#step((ledger) => ({
      ledger,
      value: undefined,
      changes: [
        { type: 'inventory', agentId, targets, seenAt: this.#parts.clock.now() },
        { type: 'host.commands', agentId, checks, hooks },
        { type: 'backup.scan', agentId, complete, backups, removed, targets: scanned },
      ],
    }));
    this.#inventoryHash = input.hash;
    return {};
  }
}
