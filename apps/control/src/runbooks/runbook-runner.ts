import { type Clock, Failure, toWireError } from '@lastgood/core';
import { abortRun, advanceRun, isOpen, jobsOfRun, type RunJob, recordJob } from '@lastgood/core/runbooks';
import { type ControlJob, type ControlLedger, jobResultSchema, type RunbookRun } from '@lastgood/protocol';
import type { Catalog, Change } from '../catalog/catalog.ts';
import { cancelJob, queueJob } from '../dispatch/job-commands.ts';
import type { LedgerStore } from '../dispatch/ledger-store.ts';
import { withManifestHash } from '../dispatch/manifest-hash.ts';
import type { Log } from '../log.ts';
import type { Planner } from '../planner/planner.ts';
import type { AgentRegistry } from '../sessions/agent-registry.ts';
import type { EvidenceKey } from './evidence-key.ts';
import { messagesOf } from './run-messages.ts';
import { evidenceChanges } from './store-evidence.ts';

/** A job of a run waits this long for its host. */
const START_WITHIN_MS = 24 * 3_600_000;
/** It may run this long: a restore of many terabytes takes days. */
const RUN_WITHIN_MS = 7 * 24 * 3_600_000;

export interface RunbookRunnerParts {
  readonly catalog: Catalog;
  readonly ledgers: LedgerStore;
  readonly registry: AgentRegistry;
  readonly planner: Planner;
  /** Signs the reports of runs that have ended. */
  readonly evidenceKey: EvidenceKey;
  readonly clock: Clock;
  readonly log: Log;
  /** How often waits are looked at, and what could not be done is tried again. */
  readonly everyMs: number;
  /** Called after messages were put into the outbox. */
  readonly notified: () => void;
}

/**
 * Carries out the runs of runbooks: decide, commit, then the effects. The effects follow from the committed state alone (jobs with derived
 * ids that have to exist, or to be canceled), so they are made up for after a crash, and a job runs at most once.
 */
export class RunbookRunner implements AsyncDisposable {
  readonly #parts: RunbookRunnerParts;
  readonly #runs = new Map<string, RunbookRun>();
  readonly #unsubscribe: () => void;
  readonly #timer: NodeJS.Timeout;
  /** Serializes everything: each step reads what the one before it committed. */
  #tail: Promise<unknown> = Promise.resolve();
  #pumping = false;
  #closed = false;

  private constructor(parts: RunbookRunnerParts, open: readonly RunbookRun[]) {
    this.#parts = parts;
    for (const run of open) this.#runs.set(run.runId, run);
    this.#unsubscribe = parts.ledgers.subscribe((_agentId, before, after) => {
      if (this.#concernsRuns(before, after)) this.#pumpSoon();
    });
    this.#timer = setInterval(() => this.#runs.size > 0 && this.#pumpSoon(), parts.everyMs);
    this.#timer.unref();
    this.#pumpSoon();
  }

  /**
   * Carries on with the runs that have not ended. `isRestored`: the catalog is a copy from the past, which does not know what was done since;
   * its runs are aborted.
   */
  static async open(parts: RunbookRunnerParts, isRestored: boolean): Promise<RunbookRunner> {
    const { catalog, clock } = parts;
    const open = await catalog.runbooks.open();
    if (!isRestored) return new RunbookRunner(parts, open);
    const reason = 'the catalog was restored from a copy';
    const runner = new RunbookRunner(parts, []);
    for (const run of open)
      await runner.#serially(() => runner.#commit(run, abortRun(run, 'control', reason, clock.now())));
    runner.#pumpSoon();
    return runner;
  }

  /** Whether a step of a ledger has ended a job that a run waits for. */
  #concernsRuns(before: ControlLedger, after: ControlLedger): boolean {
    for (const run of this.#runs.values())
      for (const { jobId } of jobsOfRun(run))
        if (after.jobs.get(jobId) !== before.jobs.get(jobId) && after.jobs.get(jobId)?.endedAt !== null) return true;
    return false;
  }

  /** A run that has not ended; undefined for any other. */
  run(runId: string): RunbookRun | undefined {
    return this.#runs.get(runId);
  }

  async #serially<T>(work: () => Promise<T>): Promise<T> {
    const step = this.#tail.then(work);
    this.#tail = step.catch(() => undefined);
    return await step;
  }

  /** Stores a new run, together with `changes`, and begins it. Throws CONFLICT when its id exists or a run of its runbook is open. */
  async start(run: RunbookRun, changes: readonly Change[]): Promise<void> {
    await this.#serially(async () => {
      refuseSecond([...this.#runs.values()], run.plan.runbook);
      await this.#commit(undefined, run, changes);
    });
    this.#pumpSoon();
  }

  /** Decides about an open run and commits it. `decide` throws what it refuses. Undefined: there is no such open run. */
  async apply(
    runId: string,
    decide: (run: RunbookRun) => RunbookRun,
    changes: readonly Change[],
  ): Promise<RunbookRun | undefined> {
    const decided = await this.#serially(async () => {
      const before = this.#runs.get(runId);
      if (before === undefined) return undefined;
      const after = decide(before);
      await this.#commit(before, after, changes);
      return after;
    });
    this.#pumpSoon();
    return decided;
  }

  async #commit(before: RunbookRun | undefined, after: RunbookRun, changes: readonly Change[] = []): Promise<void> {
    if (after === before) return;
    const { catalog, planner, clock, notified, log, evidenceKey } = this.#parts;
    const entries = messagesOf(before, after, planner.fleet.file.contacts, clock.now());
    const evidence = isOpen(after) ? [] : await evidenceChanges(catalog, evidenceKey, after, clock.now());
    await catalog.commit([
      { type: before === undefined ? 'runbook.start' : 'runbook.step', run: after },
      ...(entries.length === 0 ? [] : [{ type: 'notification.add' as const, entries }]),
      ...evidence,
      ...changes,
    ]);
    if (isOpen(after)) this.#runs.set(after.runId, after);
    else this.#runs.delete(after.runId);
    if (entries.length > 0) notified();
    if (!isOpen(after))
      log.info({ run: after.runId, runbook: after.plan.runbook, state: after.state }, 'a run has ended');
  }

  #pumpSoon(): void {
    if (this.#pumping || this.#closed) return;
    this.#pumping = true;
    setImmediate(() => {
      this.#pumping = false;
      this.#serially(() => this.#pump()).catch((error: unknown) =>
        this.#parts.log.error({ error: toWireError(error) }, 'cannot carry on with a run; it is tried again'),
      );
    });
  }

  /** Carries on with every open run until nothing is left to do. */
  async #pump(): Promise<void> {
    for (const runId of [...this.#runs.keys()])
      await this.#carryOnWith(runId).catch((error: unknown) =>
        this.#parts.log.error(
          { run: runId, error: toWireError(error) },
          'cannot carry on with a run; it is tried again',
        ),
      );
  }

  async #carryOnWith(runId: string): Promise<void> {
    for (let run = this.#runs.get(runId); run !== undefined && !this.#closed; ) {
      const next = await this.#carryOn(run);
      if (next === run) return;
      await this.#commit(run, next);
      run = this.#runs.get(runId);
    }
  }

  /** The next state of a run; the same one when it waits. Its jobs are made or canceled on the way. */
  async #carryOn(run: RunbookRun): Promise<RunbookRun> {
    const { clock } = this.#parts;
    for (const job of jobsOfRun(run)) {
      const next = await this.#carryOutJob(run, job);
      if (next !== run) return next;
    }
    return advanceRun(run, clock.now());
  }

  async #carryOutJob(run: RunbookRun, job: RunJob): Promise<RunbookRun> {
    const { catalog, clock, ledgers } = this.#parts;
    const record = await catalog.jobs.get(job.jobId);
    if (record === undefined) return run.state === 'aborting' ? this.#neverSent(run, job) : await this.#send(run, job);
    const known = ledgers.ledger(record.agentId).jobs.get(job.jobId) ?? record.job;
    // After a restore of the catalog the state of a job is reported before its result.
    if (known.state === 'succeeded' && known.result === null) return run;
    if (known.endedAt !== null) return recordJob(run, endedJobOf(known), clock.now());
    if (run.state === 'aborting' && !known.cancelRequested)
      await cancelJob(ledgers, clock, { agentId: record.agentId, jobId: job.jobId }, []);
    return run;
  }

  #neverSent(run: RunbookRun, { jobId, spec }: RunJob): RunbookRun {
    const ended = {
      jobId,
      command: spec.command,
      state: 'canceled',
      error: null,
      result: null,
      durationMs: null,
    } as const;
    return recordJob(run, ended, this.#parts.clock.now());
  }

  async #send(run: RunbookRun, { jobId, spec, environment, host }: RunJob): Promise<RunbookRun> {
    const { registry, ledgers, clock } = this.#parts;
    const now = clock.now();
    const agent = registry.agentNamed(environment, host);
    const failed = (error: unknown): RunbookRun =>
      recordJob(
        run,
        { jobId, command: spec.command, state: 'failed', error: toWireError(error), result: null, durationMs: null },
        now,
      );
    if (agent === undefined) return failed(unknownHost(environment, host));
    const origin = { kind: 'command', by: `runbook ${run.plan.runbook} (${run.startedBy})` } as const;
    const times = { createdAt: now, startBy: now + START_WITHIN_MS, deadlineMs: RUN_WITHIN_MS };
    try {
      const checked = await withManifestHash(this.#parts.catalog.backups, agent.agentId, spec);
      await queueJob(ledgers, agent, { jobId, spec: checked, origin, ...times }, jobId, []);
      return run;
    } catch (error) {
      return failed(error);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    this.#unsubscribe();
    await this.#tail;
  }
}

/** Two runs of one runbook would work on the same targets. Throws CONFLICT. */
export function refuseSecond(open: readonly RunbookRun[], runbook: string): void {
  const other = open.find(({ plan }) => plan.runbook === runbook);
  if (other === undefined) return;
  throw new Failure('CONFLICT', `${other.plan.mode} ${other.runId} of runbook "${runbook}" has not ended`, {
    remedy: `Look at it with \`lastgood runbooks status ${other.runId}\`, carry on with it (resume) or abort it.`,
  });
}

const unknownHost = (environment: string, host: string): Failure =>
  new Failure('NOT_FOUND', `no agent is enrolled as ${environment}/${host}`, {
    remedy: 'Enroll the host (`lastgood tokens enroll`), then retry the step.',
  });

function endedJobOf({ jobId, spec, state, error, result, startedAt, endedAt }: ControlJob) {
  return {
    jobId,
    command: spec.command,
    state,
    error,
    result: jobResultSchema.safeParse(result).data ?? null,
    durationMs: startedAt === null || endedAt === null ? null : Math.max(0, endedAt - startedAt),
  };
}
