import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, Failure, type JobProgress, jobsAheadOf, type QueuedJob, toWireError } from '@lastgood/core';
import { makePrivateFolder } from '@lastgood/host';
import {
  type AgentJob,
  type AgentLedger,
  creatorOf,
  deniedOutcome,
  expiredOutcome,
  finishJob,
  isHostJob,
  type JobOutcome,
  type JobResult,
  type JobSpec,
  jobKey,
  laneOf,
  markRunning,
  nextStep,
  startableJobs,
} from '@lastgood/protocol';
import { faultPoint } from '../fault-point.ts';
import { eventsNow } from '../journal/event-factory.ts';
import type { Journal } from '../journal/journal.ts';
import type { Log } from '../log.ts';
import type { Compensations } from '../steps/compensations.ts';
import { JobSteps } from '../steps/job-steps.ts';
import type { Activity } from './activity.ts';
import { execute } from './execute.ts';
import { type GrantSource, Grants } from './grants.ts';
import { executeHostJob, type HostCommands, NO_HOST_COMMANDS } from './host-jobs.ts';
import { refusalOf } from './host-limits.ts';
import type { Target } from './targets.ts';

const ASK_AGAIN_MS = 5_000;
/** The agent is being stopped: the journal keeps "running", and the next start reports the job as interrupted. */
const STOPPING = new Failure('JOB_INTERRUPTED', 'the agent is being stopped');

interface Running extends QueuedJob {
  readonly stop: AbortController;
  readonly done: Promise<void>;
}
const queuedJobOf = (jobId: string, spec: JobSpec): QueuedJob => ({
  jobId,
  command: spec.command,
  target: laneOf(spec),
});

export interface JobRunnerParts {
  readonly journal: Journal;
  readonly clock: Clock;
  readonly log: Log;
  readonly workDir: string;
  readonly targets: () => ReadonlyMap<string, Target>;
  /** Checks and hooks of the agent file; none when absent. */
  readonly commands?: () => HostCommands;
  readonly grants: GrantSource;
  readonly activity: Activity;
  readonly compensations: Compensations;
  /** Carries out a job; `execute` unless a test has another one. */
  readonly execute?: typeof execute;
  /** The control plane's clock, as far as it is known. */
  readonly controlNow: () => number | null;
  /** By how much the clock of this host was recently seen to jump (ClockWatch). */
  readonly jumpedMs: () => number;
  readonly askAgainMs?: number;
}

/**
 * Runs the accepted jobs of the journal: one per target, journaled before their first effect. It follows the journal: it starts
 * what may start, and stops what was canceled or overruled. It needs no connection, except to start destructive jobs.
 */
export class JobRunner {
  readonly #parts: JobRunnerParts;
  readonly #grants: Grants;
  readonly #running = new Map<string, Running>();
  readonly #ready = new Set<string>();
  readonly #sweeping = new Set<string>();
  /** What each waiting job waits for, as it was last logged. */
  readonly #noted = new Map<string, string>();
  readonly #unsubscribe: () => void;
  #stopping = false;
  #pumping: NodeJS.Immediate | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: JobRunnerParts) {
    this.#parts = parts;
    this.#grants = new Grants(parts.grants, parts.clock, () => this.#pump());
    this.#unsubscribe = parts.journal.subscribe((_before, after) => this.#follow(after));
    this.#pumpSoon();
  }

  get #commands(): HostCommands {
    return this.#parts.commands?.() ?? NO_HOST_COMMANDS;
  }
  get runningKeys(): ReadonlySet<string> {
    return new Set(this.#running.keys());
  }
  get runningJobs(): ReadonlySet<string> {
    return new Set([...this.#running.values()].map(({ jobId }) => jobId));
  }

  /** The leftovers of a crash on this target are gone. */
  targetReady(name: string): void {
    this.#ready.add(name);
    this.#pump();
  }

  /** Runs `sweep` while no job of the target runs and none can start. False: a job of the target is at work, `sweep` did not run. */
  async whileIdle(target: string, sweep: () => Promise<void>): Promise<boolean> {
    if (this.#sweeping.has(target) || this.#isAtWork(target)) return false;
    this.#sweeping.add(target);
    try {
      await sweep();
    } finally {
      this.#sweeping.delete(target);
      this.#pump();
    }
    return true;
  }
  /** A canceled job may be finished in the journal while its tools are still ending. */
  #isAtWork(target: string): boolean {
    return [...this.#running.values()].some((running) => running.target === target);
  }

  /** Stops what may not go on, at once; starts what may start in the next turn, after the change was acknowledged. */
  #follow(ledger: AgentLedger): void {
    for (const [key, { stop }] of this.#running) {
      const job = ledger.jobs.get(key);
      if (job?.state !== 'running' || job.cancelRequested)
        stop.abort(new Failure('JOB_CANCELED', 'the job was canceled'));
    }
    this.#pumpSoon();
  }
  #pumpSoon(): void {
    this.#pumping ??= setImmediate(() => this.#pump());
  }

  #pump(): void {
    clearImmediate(this.#pumping);
    this.#pumping = undefined;
    if (this.#stopping) return;
    this.#noteWaiting();
    for (const job of startableJobs(this.#parts.journal.ledger)) this.#consider(job);
    const waiting = startableJobs(this.#parts.journal.ledger).length > 0;
    // A timer that is set stays: frequent changes must not postpone what waits.
    if (waiting) this.#timer ??= setTimeout(() => this.#again(), this.#parts.askAgainMs ?? ASK_AGAIN_MS);
  }
  #again(): void {
    this.#timer = undefined;
    this.#grants.retry();
    this.#pump();
  }

  /** The accepted jobs, oldest first. */
  #queued(): QueuedJob[] {
    const accepted = [...this.#parts.journal.ledger.jobs.values()].filter(({ state }) => state === 'accepted');
    return accepted.map(({ jobId, spec }) => queuedJobOf(jobId, spec));
  }

  /** Whether jobs at work keep a startable job from starting. Older ones of its target do not: if one could start, it would be the startable one. */
  #isDelayed({ jobId, spec }: AgentJob): boolean {
    const queued = this.#queued();
    const fromHere = queued.slice(queued.findIndex((other) => other.jobId === jobId));
    return jobsAheadOf(queuedJobOf(jobId, spec), [...this.#running.values()], fromHere).length > 0;
  }

  /** Logs once what each waiting job waits for. */
  #noteWaiting(): void {
    const queued = this.#queued();
    const ids = new Set(queued.map(({ jobId }) => jobId));
    for (const jobId of this.#noted.keys()) if (!ids.has(jobId)) this.#noted.delete(jobId);
    for (const job of queued) {
      const ahead = jobsAheadOf(job, [...this.#running.values()], queued);
      const text = ahead.map(({ jobId, command, target }) => `${command} of ${target} (job ${jobId})`).join(', ');
      if (text === (this.#noted.get(job.jobId) ?? '')) continue;
      this.#noted.set(job.jobId, text);
      const { jobId, command, target } = job;
      if (text !== '') this.#parts.log.info({ job: jobId, command, target }, `job waits for ${text}`);
    }
  }

  #consider(job: AgentJob): void {
    const key = jobKey(job.jobId, job.attempt);
    const { clock, journal, controlNow } = this.#parts;
    const { grant, reason } = this.#grants.stateOf(key);
    const step = nextStep(journal.ledger, job, { now: controlNow() ?? clock.now(), grant });
    if (step === 'expire') return this.#finish(key, grant === 'denied' ? deniedOutcome(reason) : expiredOutcome);
    // The file may have changed since the job was accepted: its limits are checked where the job starts (I12).
    const refusal = refusalOf(this.#parts.targets(), this.#commands, job.spec);
    if (refusal !== null) return this.#finish(key, { type: 'rejected', error: refusal, result: null });
    if (step === 'wait') return;
    if (step === 'ask') return this.#grants.ask(job);
    const lane = laneOf(job.spec);
    if ((!this.#ready.has(lane) && !isHostJob(job.spec)) || this.#isDelayed(job)) return;
    if (this.#sweeping.has(lane) || this.#isAtWork(lane)) return;
    const { before, after } = journal.update((ledger) => markRunning(ledger, key, eventsNow(clock)));
    if (after === before) return;
    faultPoint('running');
    this.#start(key, job);
  }

  #start(key: string, job: AgentJob): void {
    const stop = new AbortController();
    const deadline = setTimeout(
      () => stop.abort(new Failure('JOB_DEADLINE', `the job ran longer than ${Math.round(job.deadlineMs / 1000)} s`)),
      Math.min(job.deadlineMs, 2 ** 31 - 1),
    );
    const done = this.#run(key, job, stop.signal).finally(() => {
      clearTimeout(deadline);
      this.#running.delete(key);
      this.#grants.delete(key);
      this.#parts.activity.clear(key);
      this.#pump();
    });
    this.#running.set(key, { ...queuedJobOf(job.jobId, job.spec), stop, done });
  }

  async #run(key: string, job: AgentJob, signal: AbortSignal): Promise<void> {
    const { log, workDir, activity, journal, compensations } = this.#parts;
    const folder = join(workDir, `${job.jobId}.${job.attempt}`);
    const fields = { job: job.jobId, attempt: job.attempt, command: job.spec.command, target: job.spec.target };
    log.info(fields, 'job started');
    const steps = new JobSteps(journal, compensations, key, signal);
    let outcome: JobOutcome;
    try {
      await makePrivateFolder(workDir);
      await mkdir(folder, { mode: 0o700 });
      signal.throwIfAborted();
      const result = await this.#execute(job, { folder, signal, steps, log: (text) => log.info(fields, text) });
      outcome = { type: 'succeeded', error: null, result: result as JobOutcome['result'] };
    } catch (error) {
      const reason: unknown = signal.aborted ? signal.reason : error;
      await steps.compensate();
      if (reason === STOPPING) return;
      const wire = toWireError(reason);
      if (wire.code === 'BUG')
        log.error({ ...fields, error: error instanceof Error ? error.stack : String(error) }, 'unexpected error');
      outcome = { type: wire.code === 'JOB_CANCELED' ? 'canceled' : 'failed', error: wire, result: null };
    } finally {
      await rm(folder, { recursive: true, force: true }).catch((error: unknown) =>
        log.warn({ ...fields, error: String(error) }, 'cannot remove the work folder'),
      );
    }
    log.info({ ...fields, outcome: outcome.type, error: outcome.error?.code }, 'job ended');
    activity.ended(laneOf(job.spec));
    this.#running.delete(key);
    this.#finish(key, outcome);
  }

  async #execute(
    job: AgentJob,
    own: { folder: string; signal: AbortSignal; steps: JobSteps; log: (message: string) => void },
  ): Promise<JobResult> {
    const { clock, controlNow, jumpedMs, activity, execute: carryOut = execute } = this.#parts;
    const { folder, signal, steps, log } = own;
    const { spec } = job;
    const progress = (note: JobProgress): void => activity.note(job, note);
    const context = { workDir: folder, signal, clock, steps, log, progress };
    const targets = this.#parts.targets();
    if (isHostJob(spec)) return await executeHostJob(spec, this.#commands, targets, context);
    const target = targets.get(spec.target);
    if (target === undefined) throw new Failure('NOT_FOUND', `this host has no target "${spec.target}"`);
    return await carryOut(spec, {
      target,
      jobId: job.jobId,
      attempt: job.attempt,
      createdBy: creatorOf(job.origin),
      context,
      controlNow: controlNow(),
      jumpedMs: jumpedMs(),
    });
  }

  /** A journal that cannot be written leaves no truth to act on: the process ends and the next start reads what is there (J8). */
  #finish(key: string, outcome: JobOutcome): void {
    const { journal, clock } = this.#parts;
    this.#grants.delete(key);
    journal.update((ledger) => finishJob(ledger, key, outcome, eventsNow(clock)));
    faultPoint('finished');
  }

  /** Ends what runs and waits until its tools are gone. The journal keeps it as running, to be reported as interrupted. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#unsubscribe();
    clearTimeout(this.#timer);
    clearImmediate(this.#pumping);
    for (const { stop } of this.#running.values()) stop.abort(STOPPING);
    await Promise.all([...this.#running.values()].map(({ done }) => done));
  }
}
