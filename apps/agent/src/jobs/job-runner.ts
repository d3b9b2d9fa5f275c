import { randomUUID } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, Failure, toWireError } from '@lastgood/core';
import { makePrivateFolder } from '@lastgood/host';
import {
  type AgentJob,
  type AgentLedger,
  deniedOutcome,
  type EventFactory,
  expiredOutcome,
  finishJob,
  type JobOutcome,
  type JobResult,
  jobKey,
  markRunning,
  nextStep,
  type Progress,
  startableJobs,
} from '@lastgood/protocol';
import { faultPoint } from '../fault-point.ts';
import type { Journal } from '../journal/journal.ts';
import type { Log } from '../log.ts';
import { execute } from './execute.ts';
import { refusalOf, type Target } from './targets.ts';

const MAX_RUNNING = 2;
const ASK_AGAIN_MS = 5_000;
/** The agent asks to be let go: the journal says "running", and the next start reports the job as interrupted. */
const STOPPING = new Failure('JOB_INTERRUPTED', 'the agent is being stopped');

type Asked = { readonly granted: boolean; readonly ttlMs: number; readonly reason: string };
interface Grant {
  readonly nonce: string;
  /** `waits`: not now (the clocks disagree); it is asked again when the timer says so, and not before. */
  state: 'none' | 'asking' | 'waits' | 'denied' | 'valid';
  until: number;
  reason: string;
}
interface Running {
  readonly jobId: string;
  readonly target: string;
  readonly stop: AbortController;
  readonly done: Promise<void>;
  progress: Progress | undefined;
  seen: { at: number; bytes: number };
}
export interface JobRunnerParts {
  readonly journal: Journal;
  readonly clock: Clock;
  readonly log: Log;
  readonly workDir: string;
  readonly targets: () => ReadonlyMap<string, Target>;
  /** Asks the control plane whether a destructive attempt may begin; rejects while there is no connection. */
  readonly requestGrant: (jobId: string, attempt: number, nonce: string) => Promise<Asked>;
  readonly controlNow: () => number | null;
  /** By how much the clock of this host was lately seen to jump (ClockWatch). */
  readonly jumpedMs: () => number;
  /** There is something new to report. */
  readonly onEvent: () => void;
  /** A job ended: what the repositories hold may have changed. */
  readonly onEnd: () => void;
  readonly askAgainMs?: number;
}

/** Runs accepted jobs: one per target, journaled before their first effect. It needs no connection, except to begin destruction. */
export class JobRunner {
  readonly #parts: JobRunnerParts;
  readonly #running = new Map<string, Running>();
  readonly #grants = new Map<string, Grant>();
  readonly #ready = new Set<string>();
  readonly #sweeping = new Set<string>();
  /** Counts the jobs that have ended, by target. */
  readonly #ends = new Map<string, number>();
  #mayStart = false;
  #stopping = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: JobRunnerParts) {
    this.#parts = parts;
  }

  get eventFactory(): EventFactory {
    return { now: this.#parts.clock.now(), eventId: randomUUID };
  }
  get runningKeys(): ReadonlySet<string> {
    return new Set(this.#running.keys());
  }
  get runningJobs(): ReadonlySet<string> {
    return new Set([...this.#running.values()].map(({ jobId }) => jobId));
  }
  get progress(): Progress[] {
    return [...this.#running.values()].flatMap(({ progress }) => (progress === undefined ? [] : [progress]));
  }

  /** Changes with the end of each job of the target: a look at its repository that began before tells of the past. */
  generation(target: string): number {
    return this.#ends.get(target) ?? 0;
  }

  /** The first hello was answered: the journal is known not to be an old copy. */
  allowStart(): void {
    this.#mayStart = true;
    this.pump();
  }
  /** The leftovers of a crash on this target are gone. */
  targetReady(name: string): void {
    this.#ready.add(name);
    this.pump();
  }

  /** Runs `sweep` while no job of the target runs and none can begin; tells whether it did, or found the target at work. */
  async whileIdle(target: string, sweep: () => Promise<void>): Promise<boolean> {
    if (this.#sweeping.has(target) || this.#isAtWork(target)) return false;
    this.#sweeping.add(target);
    try {
      await sweep();
    } finally {
      this.#sweeping.delete(target);
      this.pump();
    }
    return true;
  }
  /** A canceled job is over for its journal while its tools may still be dying. */
  #isAtWork(target: string): boolean {
    return [...this.#running.values()].some((running) => running.target === target);
  }

  cancel(jobId: string, attempt: number): void {
    this.#running.get(jobKey(jobId, attempt))?.stop.abort(new Failure('JOB_CANCELED', 'the job was canceled'));
  }

  /** Starts what may be started now; called whenever something changed. */
  pump(): void {
    if (!this.#mayStart || this.#stopping) return;
    for (const job of startableJobs(this.#parts.journal.ledger)) this.#consider(job);
    const waiting = startableJobs(this.#parts.journal.ledger).length > 0;
    // A timer that is set stays: what changes all the time must not put off what waits.
    if (waiting) this.#timer ??= setTimeout(() => this.#again(), this.#parts.askAgainMs ?? ASK_AGAIN_MS);
  }
  #again(): void {
    this.#timer = undefined;
    for (const grant of this.#grants.values()) if (grant.state === 'waits') grant.state = 'none';
    this.pump();
  }

  #consider(job: AgentJob): void {
    const key = jobKey(job.jobId, job.attempt);
    const target = this.#parts.targets().get(job.spec.target);
    const { clock, journal } = this.#parts;
    const grant = this.#grants.get(key) ?? { nonce: randomUUID(), state: 'none', until: 0, reason: '' };
    this.#grants.set(key, grant);
    if (grant.state === 'valid' && clock.monotonic() > grant.until) grant.state = 'none';
    const answer = grant.state === 'asking' || grant.state === 'waits' ? 'none' : grant.state;
    const step = nextStep(job, { now: this.#parts.controlNow() ?? clock.now(), grant: answer });
    if (step === 'expire') return this.#finish(key, answer === 'denied' ? deniedOutcome(grant.reason) : expiredOutcome);
    // The file may have changed since the job was accepted: what it allows is asked where the job begins (I12).
    const refusal = refusalOf(this.#parts.targets(), job.spec);
    if (refusal !== null || target === undefined)
      return this.#finish(key, { type: 'rejected', error: refusal, result: null });
    if (step === 'ask') {
      if (grant.state === 'none') this.#ask(job, grant);
      return;
    }
    if (this.#running.size >= MAX_RUNNING || !this.#ready.has(target.name)) return;
    if (this.#sweeping.has(target.name) || this.#isAtWork(target.name)) return;
    const ledger = markRunning(journal.ledger, key, this.eventFactory);
    if (ledger === journal.ledger) return;
    this.#save(ledger);
    faultPoint('running');
    this.#parts.onEvent();
    this.#start(key, job, target);
  }

  #ask(job: AgentJob, grant: Grant): void {
    grant.state = 'asking';
    const sentAt = this.#parts.clock.monotonic();
    this.#parts.requestGrant(job.jobId, job.attempt, grant.nonce).then(
      ({ granted, ttlMs, reason }) => {
        // The time runs from the sending: on the way the answer can only have become older.
        grant.state = granted ? 'valid' : reason === 'clock' ? 'waits' : 'denied';
        grant.until = sentAt + ttlMs;
        grant.reason = reason;
        this.pump();
      },
      () => {
        grant.state = 'none';
      },
    );
  }

  #start(key: string, job: AgentJob, target: Target): void {
    const stop = new AbortController();
    const deadline = setTimeout(
      () => stop.abort(new Failure('JOB_DEADLINE', `the job ran longer than ${Math.round(job.deadlineMs / 1000)} s`)),
      Math.min(job.deadlineMs, 2 ** 31 - 1),
    );
    const running: Running = {
      jobId: job.jobId,
      target: target.name,
      stop,
      progress: undefined,
      seen: { at: this.#parts.clock.monotonic(), bytes: 0 },
      done: Promise.resolve(),
    };
    const done = this.#run(key, job, target, running).finally(() => {
      clearTimeout(deadline);
      this.#running.delete(key);
      this.#grants.delete(key);
      this.#parts.onEnd();
      this.pump();
    });
    this.#running.set(key, Object.assign(running, { done }));
  }

  async #run(key: string, job: AgentJob, target: Target, running: Running): Promise<void> {
    const { clock, log, workDir } = this.#parts;
    const folder = join(workDir, `${job.jobId}.${job.attempt}`);
    const fields = { job: job.jobId, attempt: job.attempt, command: job.spec.command, target: target.name };
    log.info(fields, 'job begins');
    let outcome: JobOutcome;
    try {
      await makePrivateFolder(workDir);
      await mkdir(folder, { mode: 0o700 });
      const context = {
        workDir: folder,
        signal: running.stop.signal,
        clock,
        log: (message: string) => log.info(fields, message),
        progress: (progress: { phase: string; doneBytes: number; totalBytes: number | null }) =>
          this.#note(job, running, progress),
      };
      const result: JobResult = await execute(job.spec, {
        target,
        jobId: job.jobId,
        attempt: job.attempt,
        context,
        controlNow: this.#parts.controlNow(),
        jumpedMs: this.#parts.jumpedMs(),
      });
      outcome = { type: 'succeeded', error: null, result: result as JobOutcome['result'] };
    } catch (error) {
      const reason: unknown = running.stop.signal.aborted ? running.stop.signal.reason : error;
      if (reason === STOPPING) return;
      const wire = toWireError(reason);
      if (wire.code === 'BUG')
        log.error({ ...fields, error: error instanceof Error ? error.stack : String(error) }, 'unexpected error');
      outcome = { type: wire.code === 'JOB_CANCELED' ? 'canceled' : 'failed', error: wire, result: null };
    } finally {
      await rm(folder, { recursive: true, force: true }).catch((error: unknown) =>
        log.warn({ ...fields, error: String(error) }, 'the work folder could not be removed'),
      );
    }
    log.info({ ...fields, outcome: outcome.type, error: outcome.error?.code }, 'job ended');
    this.#ends.set(target.name, this.generation(target.name) + 1);
    this.#finish(key, outcome);
  }

  /** Latest wins: progress is a slot, never a queue. */
  #note(
    job: AgentJob,
    running: Running,
    { phase, doneBytes, totalBytes }: { phase: string; doneBytes: number; totalBytes: number | null },
  ): void {
    const at = this.#parts.clock.monotonic();
    // Each phase counts anew: the rate of another says nothing of this one.
    const same = running.progress?.phase.split(' ')[0] === phase.split(' ')[0];
    if (!same) running.seen = { at, bytes: doneBytes };
    const elapsed = (at - running.seen.at) / 1000;
    const before = same ? (running.progress?.bytesPerSecond ?? 0) : 0;
    const bytesPerSecond = elapsed > 1 ? Math.max(0, (doneBytes - running.seen.bytes) / elapsed) : before;
    if (elapsed > 1) running.seen = { at, bytes: doneBytes };
    running.progress = {
      jobId: job.jobId,
      attempt: job.attempt,
      phase: phase.slice(0, 64),
      doneBytes,
      totalBytes,
      bytesPerSecond: Math.round(bytesPerSecond),
      at: this.#parts.clock.now(),
    };
  }

  #finish(key: string, outcome: JobOutcome): void {
    this.#save(finishJob(this.#parts.journal.ledger, key, outcome, this.eventFactory));
    faultPoint('finished');
    this.#parts.onEvent();
  }

  /** A journal that cannot be written leaves no truth to act on: the process ends and the next start reads what is there (J8). */
  #save(ledger: AgentLedger): void {
    this.#parts.journal.save(ledger);
  }

  /** Ends what runs and waits until its tools are gone; the journal keeps it as running, to be reported as interrupted. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#timer);
    for (const { stop } of this.#running.values()) stop.abort(STOPPING);
    await Promise.all([...this.#running.values()].map(({ done }) => done));
  }
}
