import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type Clock, Failure, toWireError } from '@lastgood/core';
import { lockFolder, makePrivateFolder } from '@lastgood/host';
import {
  createLocalJob,
  type Finding,
  forgetFinished,
  forgetHandled,
  type JobDescription,
  type JobSpec,
  makeFinding,
  type WireError,
} from '@lastgood/protocol';
import { type AgentConfig, readAgentConfig } from './config/agent-config.ts';
import { type Identity, readIdentity } from './config/identity.ts';
import { InventoryCollector, PROBE_MS, probeContext } from './inventory/collector.ts';
import { Activity } from './jobs/activity.ts';
import { ClockWatch } from './jobs/clock-watch.ts';
import { sweepCopies } from './jobs/copies.ts';
import { hostCommandsOf } from './jobs/host-jobs.ts';
import { refusalOf } from './jobs/host-limits.ts';
import { JobRunner } from './jobs/job-runner.ts';
import { recoverInterrupted, settleInterrupted } from './jobs/recover.ts';
import { type Target, targetsOf } from './jobs/targets.ts';
import { eventsNow } from './journal/event-factory.ts';
import { Journal } from './journal/journal.ts';
import { ControlClock } from './link/control-clock.ts';
import { Link } from './link/link.ts';
import type { Log } from './log.ts';
import { raceWithAbort } from './race-with-abort.ts';
import { ScheduleRunner } from './schedules/schedule-runner.ts';
import { SerialQueue } from './serial-queue.ts';
import { type CompensationHandler, Compensations } from './steps/compensations.ts';
import { Compensator } from './steps/compensator.ts';
import { stepFindings } from './steps/step-findings.ts';
import { StreamSupervisor } from './streams/stream-supervisor.ts';

const FORGET_MS = 30 * 86_400_000;
const FORGET_EVERY_MS = 3_600_000;
const WATCH_MS = 10_000;
const SWEEP_AGAIN_MS = 60_000;
/** Tools that are deaf to SIGTERM are killed within seconds; what takes longer waits for a disk. */
const STOP_MS = 30_000;
/** After so long a call into a disk is left behind. */
const ABANDON_MS = 3_000;
/** After this time without contact and with nothing running, the process ends, and its supervisor starts a new one. */
const NO_CONTACT_EXIT_MS = 24 * 3_600_000;

export interface AgentOptions {
  readonly configFile: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly random?: () => number;
  /** Take back the steps of jobs, by kind. */
  readonly compensations?: Readonly<Record<string, CompensationHandler>>;
}
export interface Agent {
  /** Resolves when the agent ends by itself, because the control plane did not answer for a day. */
  readonly ended: Promise<void>;
  /** Creates a job on this host without the control plane, as a schedule does. At most once per id (createLocalJob). */
  createJob(job: Omit<JobDescription, 'createdAt'>): 'created' | 'known' | 'too-large' | 'full';
  /** Reads the agent file again; an invalid one is refused with CONFIG_INVALID and the old one stays in force (J6). */
  reload(): Promise<void>;
  /** Ends running jobs, waits for their tools and closes the journal. Returns what it could not end: calls into disks that do not answer. */
  close(): Promise<readonly string[]>;
}

class RunningAgent implements Agent {
  readonly ended: Promise<void>;
  readonly #options: AgentOptions;
  #config: AgentConfig;
  #identity: Identity;
  #targets: ReadonlyMap<string, Target>;
  readonly #journal: Journal;
  readonly #runner: JobRunner;
  readonly #link: Link;
  readonly #compensations: Compensations;
  #compensator: Compensator | undefined;
  #schedules: ScheduleRunner | undefined;
  readonly #stop = new AbortController();
  readonly #repositoryQueue = new SerialQueue();
  readonly #collector: InventoryCollector;
  readonly #streams: StreamSupervisor;
  readonly #timer: NodeJS.Timeout;
  readonly #watching: NodeJS.Timeout;
  #tasks: Promise<unknown>[] = [];
  /** Why the agent file on the disk is not in force. Every target reports it as a finding (J6). */
  #refusedFile: Finding | undefined;

  constructor(options: AgentOptions, config: AgentConfig, journal: Journal, identity: Identity) {
    this.#options = options;
    this.#config = config;
    this.#journal = journal;
    this.#targets = targetsOf(config, journal, this.#repositoryQueue);
    const { clock, log, random = Math.random } = options;
    const watch = new ClockWatch(clock);
    this.#identity = identity;
    this.#watching = setInterval(() => {
      watch.jumpedMs;
      this.#readIdentity().catch((error: unknown) =>
        log.warn({ error: toWireError(error) }, 'the identity cannot be read'),
      );
    }, WATCH_MS);
    const activity = new Activity(clock);
    this.#compensations = new Compensations({
      journal,
      clock,
      log,
      engineOf: (target) => this.#targets.get(target)?.engine,
    });
    const handlers = Object.entries(options.compensations ?? {});
    for (const [kind, handler] of handlers) this.#compensations.register(kind, handler);
    const controlClock = new ControlClock(clock);
    this.#streams = this.#makeStreams();
    this.#collector = new InventoryCollector({
      dataDir: config.dataDir,
      clock,
      targets: () => this.#targets,
      commands: () => hostCommandsOf(this.#config),
      generation: (target) => activity.generation(target),
      remarks: (target) => this.#remarks(target),
      stream: (target) => this.#streams.report(target),
      signal: this.#stop.signal,
    });
    this.#link = new Link({
      url: () => this.#config.control.url,
      identity: () => this.#identity,
      journal,
      refuse: (spec) => this.#refuse(spec),
      progress: () => activity.progress,
      inventory: () => this.#collector.collect(),
      streams: () => this.#streams.reports,
      clock,
      controlClock,
      random,
      log,
    });
    this.#runner = new JobRunner({
      journal,
      clock,
      log,
      workDir: join(config.dataDir, 'jobs'),
      targets: () => this.#targets,
      commands: () => hostCommandsOf(this.#config),
      grants: this.#link,
      activity,
      compensations: this.#compensations,
      controlNow: () => controlClock.now,
      jumpedMs: () => watch.jumpedMs,
    });
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ended = promise;
    this.#timer = setInterval(() => {
      const before = clock.now() - FORGET_MS;
      journal.update((ledger) => forgetHandled(forgetFinished(ledger, before), before));
      if (this.#link.sinceContactMs > NO_CONTACT_EXIT_MS && this.#runner.runningKeys.size === 0) resolve();
    }, FORGET_EVERY_MS);
  }

  #remarks(target: string): Finding[] {
    return [
      ...(this.#refusedFile === undefined ? [] : [this.#refusedFile]),
      ...stepFindings(this.#journal.ledger, target),
      ...this.#streams.findings(target),
    ];
  }

  #makeStreams(): StreamSupervisor {
    const { clock, log, random = Math.random } = this.#options;
    const onChange = (): void => this.#link.sendInventorySoon();
    return new StreamSupervisor({ dataDir: this.#config.dataDir, clock, random, log, onChange });
  }

  /** What a crash left is recovered first; then connection and targets come up side by side. */
  async start(): Promise<void> {
    const { clock, log } = this.#options;
    await recoverInterrupted(this.#journal, this.#targets, clock, log);
    this.#compensator = new Compensator({
      journal: this.#journal,
      compensations: this.#compensations,
      isRunning: (key) => this.#runner.runningKeys.has(key),
      settle: (job) => settleInterrupted(this.#journal, this.#targets, clock, log, job),
    });
    await rm(join(this.#config.dataDir, 'jobs'), { recursive: true, force: true });
    for (const target of this.#targets.values()) this.#tasks.push(this.#prepare(target));
    this.#streams.update(this.#targets);
    this.#tasks.push(this.#link.run());
    this.#schedules = new ScheduleRunner({ journal: this.#journal, clock, log, refuse: (spec) => this.#refuse(spec) });
  }

  /** Removes the leftovers of a crash, before the first job of the target and, when that failed, between two of its jobs. */
  async #prepare(target: Target): Promise<void> {
    const { log } = this.#options;
    const { signal } = this.#stop;
    // A service that a crash has left stopped, for example, is started before anything is looked for in it.
    await this.#compensator?.firstTry(target.name);
    while (!signal.aborted && this.#targets.get(target.name) === target) {
      try {
        if (await this.#runner.whileIdle(target.name, () => this.#sweep(target))) break;
        await delay(SWEEP_AGAIN_MS, undefined, { signal }).catch(() => undefined);
      } catch (error) {
        const failure = error instanceof Failure ? error : undefined;
        log.warn(
          { target: target.name, code: failure?.code, error: failure?.message ?? String(error) },
          'the target could not be swept',
        );
        // A server or disk that does not answer is reported by the job that needs it.
        this.#runner.targetReady(target.name);
        await delay(SWEEP_AGAIN_MS, undefined, { signal }).catch(() => undefined);
      }
    }
    this.#runner.targetReady(target.name);
  }

  async #sweep(target: Target): Promise<void> {
    const { clock, log } = this.#options;
    const sweeping = target.repository().then((repository) => repository.sweep(target.ref, new Set()));
    const stopped = (): Failure => new Failure('IO_ERROR', 'the agent stops before the repository answers');
    const sweepingCopies = sweeping.then((swept) => sweepCopies(target).then((copies) => [...swept, ...copies]));
    const unfinished = await raceWithAbort(sweepingCopies, this.#stop.signal, stopped);
    await using context = await probeContext(
      this.#config.dataDir,
      `sweep-${target.name}`,
      clock,
      AbortSignal.any([this.#stop.signal, AbortSignal.timeout(5 * PROBE_MS)]),
    );
    const leftovers = await target.engine.sweep(context, () => this.#runner.runningJobs);
    const swept = [...unfinished.map((id) => `unfinished backup ${id}`), ...leftovers];
    if (swept.length > 0) log.info({ target: target.name, swept }, 'removed what an interrupted job left');
  }

  /** A host that was enrolled anew while its agent runs is known by its new key from the next dial on, and dials at once. */
  async #readIdentity(): Promise<void> {
    const identity = await readIdentity(this.#config);
    if (identity.sameAs(this.#identity)) return;
    this.#identity = identity;
    this.#options.log.info({ agent: identity.agentId }, 'this host was enrolled anew');
    this.#link.redial();
  }

  #refuse(spec: JobSpec): WireError | null {
    return refusalOf(this.#targets, hostCommandsOf(this.#config), spec);
  }

  createJob(job: Omit<JobDescription, 'createdAt'>): 'created' | 'known' | 'too-large' | 'full' {
    const events = eventsNow(this.#options.clock);
    return this.#journal.apply((ledger) => createLocalJob(ledger, job, events, (spec) => this.#refuse(spec))).value;
  }

  async reload(): Promise<void> {
    try {
      const config = await readAgentConfig(this.#options.configFile);
      if (
        config.environment !== this.#config.environment ||
        config.host !== this.#config.host ||
        config.dataDir !== this.#config.dataDir
      )
        throw new Failure('CONFIG_INVALID', 'environment, host and dataDir change with a restart alone');
      const before = this.#targets;
      this.#targets = targetsOf(config, this.#journal, this.#repositoryQueue, {
        config: this.#config,
        targets: before,
      });
      this.#config = config;
      this.#refusedFile = undefined;
      this.#streams.update(this.#targets);
      for (const target of this.#targets.values())
        if (before.get(target.name) !== target) this.#tasks.push(this.#prepare(target));
    } catch (error) {
      const { code, message } = toWireError(error);
      this.#refusedFile = makeFinding('AGENT_FILE_REFUSED', null, { error: code, reason: message });
      throw error;
    } finally {
      // Only now: the file may name another address.
      this.#link.redial();
      this.#link.sendInventorySoon();
    }
  }

  async close(): Promise<readonly string[]> {
    clearInterval(this.#timer);
    clearInterval(this.#watching);
    this.#schedules?.[Symbol.dispose]();
    this.#stop.abort();
    const late = delay(STOP_MS, 'late' as const, { ref: false });
    const stopped = Promise.all([this.#runner.stop(), this.#compensator?.stop(), this.#streams.stop()]);
    const left = (await Promise.race([stopped, late])) === 'late' ? ['a job that does not end'] : [];
    this.#link.stop();
    await Promise.allSettled([...this.#tasks, this.#collector.settled()]);
    const unresponsive = (): string[] => [
      ...new Set([...this.#repositoryQueue.unresponsive, ...this.#collector.unresponsive]),
    ];
    // A reading that was broken off still ends by itself, unless it is of a dead disk.
    for (let waited = 0; unresponsive().length > 0 && waited < ABANDON_MS; waited += 50) await delay(50);
    return [...left, ...unresponsive()];
  }
}

/** Starts the agent of this host. Throws CONFIG_INVALID, UNAUTHENTICATED (not enrolled), ALREADY_RUNNING, DATA_FOLDER_UNSAFE. */
export async function startAgent(options: AgentOptions): Promise<Agent> {
  const config = await readAgentConfig(options.configFile);
  const identity = await readIdentity(config);
  await makePrivateFolder(config.dataDir);
  await using cleanup = new AsyncDisposableStack();
  cleanup.use(await lockFolder(config.dataDir));
  const journal = cleanup.use(await Journal.open(join(config.dataDir, 'journal.sqlite'), options.clock.now()));
  if (journal.damaged !== undefined)
    options.log.error(
      { file: journal.damaged },
      'the journal was damaged and put aside; the control plane is asked what was open',
    );
  const agent = new RunningAgent(options, config, journal, identity);
  await agent.start();
  const open = cleanup.move();
  let closing: Promise<readonly string[]> | undefined;
  return {
    ended: agent.ended,
    createJob: (job) => agent.createJob(job),
    reload: () => agent.reload(),
    close: () => {
      closing ??= agent.close().then(async (left) => {
        await open.disposeAsync();
        return left;
      });
      return closing;
    },
  };
}
