import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import {
  type Clock,
  controlEndpoint,
  controlRedirected,
  controlUnreachable,
  Failure,
  isRedirect,
} from '@lastgood/core';
import { engines } from '@lastgood/engines';
import {
  type AgentLedger,
  type AgentRouter,
  acceptCommand,
  adoptHelloAnswer,
  blockedTargets,
  canAdopt,
  cancelAttempt,
  confirmReported,
  type HelloAnswer,
  helloOf,
  type JobSpec,
  LIMITS,
  PROTOCOL_VERSION,
  type Progress,
  readCommand,
  reportBatch,
  type StreamReport,
  type WireError,
} from '@lastgood/protocol';
import { createTRPCClient, createWSClient, type TRPCClient, type TRPCWebSocketClient, wsLink } from '@trpc/client';
import type { Identity } from '../config/identity.ts';
import { faultPoint } from '../fault-point.ts';
import { boundedInventory, type HostInventory } from '../inventory/bounded-inventory.ts';
import type { GrantAnswer, GrantSource } from '../jobs/grants.ts';
import { eventsNow } from '../journal/event-factory.ts';
import type { Journal } from '../journal/journal.ts';
import type { Log } from '../log.ts';
import { VERSION } from '../version.ts';
import { agentSocketClass, Refused } from './agent-socket.ts';
import { backoffMs } from './backoff.ts';
import { coalesce } from './coalesce.ts';
import type { ControlClock } from './control-clock.ts';
import { validatingCodec } from './frame-validation.ts';

/** What the link waits for. Times are shorter in tests, nothing else differs. */
export interface LinkLimits {
  /** A call that is not answered by then ends the session, so that the next one says it again. */
  readonly callMs: number;
  /** A session that lives so long has no failed tries behind it. */
  readonly stableMs: number;
  /** How often a heartbeat is sent while jobs run, for people watch them. */
  readonly watchedMs: number;
  readonly inventoryMs: number;
}
export const LINK_LIMITS: LinkLimits = {
  callMs: 30_000,
  stableMs: 60_000,
  watchedMs: 1_000,
  inventoryMs: 5 * 60_000,
};
/** Where the agent gets the address from. */
const ADDRESS_SETTING = '`control.url` of the agent file';
const REFUSED_REMEDY =
  'See `lastgood hosts list`; enroll this host again when the control plane does not know it. The agent dials as soon as it is enrolled, or at SIGHUP.';
/** Longer than the library gathers calls for one frame. */
const FRAME_GAP_MS = 5;
/** That fit into one heartbeat. The others are reported with the inventory. */
const MOST_STREAMS = 64;

export interface LinkParts {
  readonly url: () => string;
  /** Asked for each dial: a host may be enrolled anew while its agent runs. */
  readonly identity: () => Identity;
  readonly journal: Journal;
  /** Why this host does not accept a job; null if it does. */
  readonly refuse: (spec: JobSpec) => WireError | null;
  readonly progress: () => readonly Progress[];
  readonly inventory: () => Promise<HostInventory>;
  readonly streams: () => readonly { target: string; report: StreamReport }[];
  readonly clock: Clock;
  /** Learns the control plane's time from its answers. */
  readonly controlClock: ControlClock;
  readonly random: () => number;
  readonly log: Log;
  readonly limits?: Partial<LinkLimits>;
}
type Client = TRPCClient<AgentRouter>;

const isRunning = (ledger: AgentLedger): boolean => [...ledger.jobs.values()].some((job) => job.state === 'running');
/** True if a job that ran has ended: what the repositories hold may have changed. */
const hasEnded = (before: AgentLedger, after: AgentLedger): boolean =>
  [...before.jobs].some(([key, job]) => job.state === 'running' && after.jobs.get(key)?.state !== 'running');

/** True if jobs are blocked on other targets than before. */
const isBlockingOther = (before: AgentLedger, after: AgentLedger): boolean => {
  const [old, now] = [blockedTargets(before), blockedTargets(after)];
  return old.size !== now.size || [...now].some((target) => !old.has(target));
};

/**
 * The connection to the control plane: dials, says hello, journals commands, reports what the journal holds, and starts again
 * when it breaks. No job waits for it.
 */
export class Link implements GrantSource {
  readonly #parts: LinkParts;
  readonly #instanceId = randomUUID();
  readonly #stop = new AbortController();
  readonly #limits: LinkLimits;
  #large: Promise<void> = Promise.resolve();
  #contactAt: number;
  readonly #unsubscribe: () => void;
  #session:
    | { client: Client; sessionId: string; end: (why: string) => void; report: () => void; inventory: () => void }
    | undefined;
  #spreadMs = 0;
  /** The newest session of this process, so that a control plane that runs from an older copy can tell (C6). */
  #newest = { incarnation: '', epoch: 0 };
  #waiting = new AbortController();
  /** Also when it comes while a dial is on its way: that one knows nothing of the change. */
  #redialWanted = false;

  constructor(parts: LinkParts) {
    this.#parts = parts;
    this.#limits = { ...LINK_LIMITS, ...parts.limits };
    this.#contactAt = parts.clock.monotonic();
    this.#unsubscribe = parts.journal.subscribe((before, after) => this.#follow(before, after));
  }

  /** Everything in the journal is reported, also jobs that this agent created. */
  #follow(before: AgentLedger, after: AgentLedger): void {
    if (after.outbox.length > 0 && after.outbox.at(-1) !== before.outbox.at(-1)) this.#session?.report();
    if (hasEnded(before, after) || isBlockingOther(before, after)) this.#session?.inventory();
  }

  /** Milliseconds since the last answer of the control plane. */
  get sinceContactMs(): number {
    return this.#parts.clock.monotonic() - this.#contactAt;
  }
  sendInventorySoon(): void {
    this.#session?.inventory();
  }
  async requestGrant(jobId: string, attempt: number, nonce: string): Promise<GrantAnswer> {
    const session = this.#session;
    if (session === undefined) throw new Failure('CONTROL_UNREACHABLE', 'there is no connection');
    return await session.client.requestGrant.mutate(
      { sessionId: session.sessionId, jobId, attempt, nonce, clock: this.#parts.clock.now() },
      { signal: AbortSignal.timeout(this.#limits.callMs) },
    );
  }

  /** Something has changed that may mend a refusal: dials now, if it waits to; a session that lives is left alone. */
  redial(): void {
    this.#redialWanted = this.#session === undefined;
    this.#waiting.abort();
  }

  /** Ends the session, or the dial or hello on the way to one. */
  stop(): void {
    this.#unsubscribe();
    this.#stop.abort();
  }

  /** Keeps a session until stopped. */
  async run(): Promise<void> {
    const { clock, log, random } = this.#parts;
    let tries = 0;
    let waitMs = backoffMs(tries, this.#spreadMs, false, random);
    while (!this.#stop.signal.aborted) {
      this.#waiting = new AbortController();
      const signal = AbortSignal.any([this.#stop.signal, this.#waiting.signal]);
      if (!this.#redialWanted) await delay(waitMs, undefined, { signal }).catch(() => undefined);
      this.#redialWanted = false;
      if (this.#stop.signal.aborted) return;
      const startedAt = clock.monotonic();
      const why = await this.#connect();
      let refused = false;
      if (why instanceof Refused) {
        if (why.controlTime !== undefined) this.#parts.controlClock.record(why.controlTime, clock.monotonic());
        // A wrong clock of this host must not end the attempts: the next signature uses the control plane's time.
        refused = why.reason !== 'clock' && [401, 403, 426].includes(why.status);
      }
      tries = clock.monotonic() - startedAt > this.#limits.stableMs ? 0 : tries + 1;
      const { reason, remedy = refused ? REFUSED_REMEDY : undefined } = this.#explain(why);
      waitMs = Math.round(backoffMs(tries, this.#spreadMs, refused, random));
      if (!this.#stop.signal.aborted) log.warn({ reason, tries, waitMs, remedy }, 'no connection to the control plane');
    }
  }

  /** Why a session ended. A dial that failed names its address and the setting it comes from. */
  #explain(why: string | Error): { readonly reason: string; readonly remedy?: string } {
    if (typeof why === 'string') return { reason: why };
    const url = this.#parts.url();
    if (why instanceof Refused && !isRedirect(why.status)) return { reason: why.message };
    const failure =
      why instanceof Refused
        ? controlRedirected(controlEndpoint(url, 'agent'), why.location, 'agent', ADDRESS_SETTING)
        : controlUnreachable(url, why, ADDRESS_SETTING);
    const { message, remedy } = failure.wireError;
    return { reason: message, remedy };
  }

  /** One session from dial to end; resolves with why it ended. */
  async #connect(): Promise<string | Error> {
    const { promise, resolve } = Promise.withResolvers<string | Error>();
    const url = controlEndpoint(this.#parts.url().trim().replace(/^http/, 'ws'), 'agent');
    const scope = new AbortController();
    const ws: TRPCWebSocketClient = createWSClient({
      url,
      WebSocket: agentSocketClass(() =>
        this.#parts.identity().headers(this.#parts.controlClock.now ?? this.#parts.clock.now()),
      ) as never,
      retryDelayMs: () => 1e9,
      keepAlive: { enabled: true, intervalMs: 20_000, pongTimeoutMs: 10_000 },
      experimental_encoder: validatingCodec(() => end('bad frame')) as never,
      onClose: (cause) => end(`closed with ${cause?.code ?? 'no code'}`),
      onError: (event) =>
        end(event !== undefined && 'error' in event && event.error instanceof Error ? event.error : 'connection error'),
    });
    const end = (why: string | Error): void => {
      if (scope.signal.aborted) return;
      scope.abort();
      this.#session = undefined;
      // close() waits for hung calls; terminate() right after it does not.
      ws.close().catch(() => undefined);
      (ws.connection?.ws as { terminate?: () => void } | undefined)?.terminate?.();
      resolve(why);
    };
    const stopped = (): void => end('the agent stops');
    this.#stop.signal.addEventListener('abort', stopped, { once: true, signal: scope.signal });
    const client: Client = createTRPCClient<AgentRouter>({ links: [wsLink({ client: ws })] });
    this.#live(client, end, scope.signal).catch((error: unknown) =>
      end(error instanceof Error ? error : String(error)),
    );
    return await promise;
  }

  /** Hello first, then commands, reports and heartbeats until the session ends. */
  async #live(client: Client, end: (why: string) => void, signal: AbortSignal): Promise<void> {
    const { journal, clock, log } = this.#parts;
    const sent = helloOf(journal.ledger);
    const sentAt = clock.monotonic();
    const hello = await client.hello.mutate(
      {
        ...sent,
        instanceId: this.#instanceId,
        capabilities: engines.map(({ name }) => `engine.${name}/1`),
        clock: clock.now(),
        agentVersion: VERSION,
        signingKey: this.#parts.identity().signer.keyId,
        newestEpoch: this.#newest.incarnation === sent.incarnation ? this.#newest.epoch : 0,
        protocol: PROTOCOL_VERSION,
      },
      { signal: AbortSignal.any([signal, AbortSignal.timeout(LIMITS.helloMs)]) },
    );
    if (!canAdopt(journal.ledger, hello)) return end('the answer to the hello sets a sequence that is out of reach');
    this.#answered(hello.controlClock, sentAt);
    this.#spreadMs = hello.spreadMs;
    const { sessionId, incarnation, epoch } = hello;
    const known = this.#newest.incarnation === incarnation ? this.#newest.epoch : 0;
    if (known > 0 && epoch <= known)
      log.warn({ epoch, known }, 'this control plane runs from an older copy of the catalog');
    this.#newest = { incarnation, epoch: Math.max(known, epoch) };
    const report = coalesce(() => this.#report(client, sessionId, signal), end);
    const inventory = coalesce(() => this.#sendInventory(client, sessionId, signal), end);
    this.#session = { client, sessionId, end, report, inventory };
    this.#redialWanted = false;
    journal.update((ledger) => adoptHelloAnswer(ledger, sent.jobs, hello, eventsNow(clock)));
    log.info({ session: sessionId, epoch: hello.epoch }, 'connected to the control plane');
    report();
    inventory();
    this.#subscribe(client, sessionId, end);
    await this.#heartbeats(client, hello, signal);
  }

  #subscribe(client: Client, sessionId: string, end: (why: string) => void): void {
    client.commands.subscribe(
      { sessionId },
      {
        onData: (command) => {
          try {
            this.#take(client, sessionId, command, end);
          } catch (error) {
            end(`cannot take a command: ${error instanceof Error ? error.message : String(error)}`);
          }
        },
        onError: (error) => end(`commands ended: ${error.message}`),
        onComplete: () => end('commands ended'),
      },
    );
  }

  #contact(): void {
    this.#contactAt = this.#parts.clock.monotonic();
  }
  #answered(controlClock: number, sentAt: number): void {
    this.#contact();
    this.#parts.controlClock.record(controlClock, sentAt);
  }

  /** Journals a command, then acknowledges it (R1). What it starts or stops follows from the journal. */
  #take(client: Client, sessionId: string, raw: unknown, end: (why: string) => void): void {
    const read = readCommand(raw);
    if (read === null) return end('received something that is not a command');
    const { command, refusal } = read;
    const { journal, clock, refuse } = this.#parts;
    const { after, value: refused } = journal.apply((before) => {
      const taken = acceptCommand(before, command, eventsNow(clock), (spec) => refusal ?? refuse(spec));
      return { ledger: taken.ledger, value: taken.refused };
    });
    if (refused === 'gap') return end('a command is missing');
    if (refused === 'full') return end('the journal is full of jobs that are not reported yet');
    if (command.type === 'job.start') faultPoint('accepted');
    client.ack.mutate({ sessionId, upToSeq: after.lastSeq }, { signal: AbortSignal.timeout(this.#limits.callMs) }).then(
      () => this.#contact(),
      (error: Error) => end(`an acknowledgement failed: ${error.message}`),
    );
  }

  async #report(client: Client, sessionId: string, signal: AbortSignal): Promise<void> {
    const { journal } = this.#parts;
    for (;;) {
      const { events, jobs } = reportBatch(journal.ledger);
      if (events.length === 0 || signal.aborted) return;
      const { acceptedIds } = await this.#alone(() =>
        client.report.mutate({ sessionId, events, jobs }, { signal: this.#callSignal(signal) }),
      );
      this.#contact();
      if (events.some((event) => event.type === 'succeeded' || event.type === 'failed')) faultPoint('reported');
      const { before, after } = journal.update((ledger) => confirmReported(ledger, acceptedIds));
      if (after === before) throw new Failure('CONFLICT', 'the control plane accepted none of the events');
    }
  }

  async #sendInventory(client: Client, sessionId: string, signal: AbortSignal): Promise<void> {
    const inventory = await this.#parts.inventory();
    if (signal.aborted) return;
    // Bounded as it is sent: what a job has changed meanwhile is left out.
    await this.#alone(() =>
      client.inventory.mutate({ sessionId, ...boundedInventory(inventory) }, { signal: this.#callSignal(signal) }),
    );
    this.#contact();
  }

  #callSignal(session: AbortSignal): AbortSignal {
    return AbortSignal.any([session, AbortSignal.timeout(this.#limits.callMs)]);
  }
  /** Calls that are made at once leave as one frame, and two large calls do not fit into one. */
  async #alone<T>(call: () => Promise<T>): Promise<T> {
    const before = this.#large;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#large = promise;
    await before;
    setTimeout(resolve, FRAME_GAP_MS);
    return await call();
  }

  /** One at a time: a heartbeat that is not answered is not followed by another; two in a row end the session. */
  async #heartbeats(client: Client, { sessionId, heartbeatMs }: HelloAnswer, signal: AbortSignal): Promise<void> {
    const { journal, clock, progress, streams } = this.#parts;
    let missed = 0;
    let beatAt = clock.monotonic();
    let inventoryAt = clock.monotonic();
    while (!signal.aborted) {
      await delay(this.#limits.watchedMs, undefined, { signal }).catch(() => undefined);
      const now = clock.monotonic();
      if (signal.aborted || (!isRunning(journal.ledger) && now - beatAt < heartbeatMs)) continue;
      beatAt = now;
      if (now - inventoryAt > this.#limits.inventoryMs) {
        inventoryAt = now;
        this.sendInventorySoon();
      }
      const running = [...journal.ledger.jobs.values()]
        .filter((job) => job.state === 'running')
        .map(({ jobId, attempt }) => ({ jobId, attempt }));
      const beat = {
        sessionId,
        ackSeq: journal.ledger.lastSeq,
        progress: [...progress()],
        running,
        outboxDepth: journal.ledger.outbox.length,
        streams: streams().slice(0, MOST_STREAMS),
        clock: clock.now(),
      };
      try {
        const { controlClock, cancel } = await client.heartbeat.mutate(beat, {
          signal: AbortSignal.any([signal, AbortSignal.timeout(heartbeatMs)]),
        });
        missed = 0;
        this.#answered(controlClock, now);
        for (const { jobId, attempt } of cancel)
          journal.update((ledger) => cancelAttempt(ledger, jobId, attempt, eventsNow(clock)));
      } catch (error) {
        missed += 1;
        if (missed >= 2) throw error;
      }
    }
  }
}
