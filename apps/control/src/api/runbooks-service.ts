import { Failure, failureOfRefusals } from '@lastgood/core';
import type { Runbook } from '@lastgood/core/fleet-file';
import { abortRun, decideStep, drillTimetable, jobsOfRun, startRun, unacceptedSkew } from '@lastgood/core/runbooks';
import { deriveUuid } from '@lastgood/core/schedules';
import type { AdminApi, RunbookPlan, RunbookRun, RunbookRunView, RunbookView } from '@lastgood/protocol';
import { cancelJob } from '../dispatch/job-commands.ts';
import { makePlan, runbookNamed, targetsOf } from '../runbooks/make-plan.ts';
import { readDrills } from '../runbooks/read-drills.ts';
import { refuseSecond } from '../runbooks/runbook-runner.ts';
import { type ApiParts, auditChange } from './api-parts.ts';
import { isOnline } from './host-state.ts';

type PlanInput = Parameters<AdminApi['planRunbook']>[0];
type StartInput = Parameters<AdminApi['startRunbook']>[0];

/** Ids of runs are derived from the caller and the key of the call: the same call is the same run. */
const RUN_IDS = '0f6f4f1c-6f38-5c0e-9d1b-7f2a5b1f4e63';

function summaryOf(run: RunbookRun | undefined): RunbookView['lastRun'] {
  if (run === undefined) return null;
  const { runId, state, startedAt, endedAt } = run;
  return { runId, state, startedAt, endedAt, durationMs: endedAt === null ? null : endedAt - startedAt };
}

/** Runbooks of the fleet file in force, and their runs. */
export class RunbooksService {
  readonly #parts: ApiParts;

  constructor(parts: ApiParts) {
    this.#parts = parts;
  }

  async list(): Promise<RunbookView[]> {
    const { catalog, planner, clock } = this.#parts;
    const { runbooks } = planner.fleet.file;
    const views: RunbookView[] = [];
    const drills = await readDrills(catalog, planner.fleet.file, clock.now());
    for (const [name, runbook] of Object.entries(runbooks)) {
      const drilled = drills.find((each) => each.runbook === name);
      const { description = null, steps, objectives } = runbook;
      const [run] = await catalog.runbooks.list({ runbook: name, mode: 'run' }, 1);
      const [drill] = await catalog.runbooks.list({ runbook: name, mode: 'drill', ended: true }, 1);
      views.push({
        ...{ name, description, steps: Object.keys(steps).length, rtoMs: objectives?.rto ?? null },
        lastRun: summaryOf(run),
        lastDrill: summaryOf(drill),
        drillOverdueSince: drilled?.overdueSinceMs ?? null,
        rto: drilled?.rto ?? 'none',
        targets: [...targetsOf(runbook)],
        nextDrillAt: drillTimetable(name, runbook)?.nextAfter(clock.now()) ?? null,
      });
    }
    return views;
  }

  #runbook(name: string): Runbook {
    const { file } = this.#parts.planner.fleet;
    const found = runbookNamed(file, name);
    if (found !== undefined) return found;
    const names = Object.keys(file.runbooks);
    throw new Failure('NOT_FOUND', `the fleet file in force has no runbook "${name}"`, {
      remedy: names.length === 0 ? 'Apply a fleet file with runbooks.' : `Its runbooks are: ${names.join(', ')}.`,
    });
  }

  /** What a run or drill would do now. */
  async plan(input: PlanInput): Promise<RunbookPlan> {
    return await makePlan(this.#parts, this.#parts.planner.fleet, this.#runbook(input.runbook), input);
  }

  /** Throws what keeps a plan from being started by this caller. */
  #checkConsent(plan: RunbookPlan, { planHash, confirm, acceptedSkew, runbook, mode }: StartInput): void {
    if (plan.hash !== planHash)
      throw new Failure('PLAN_CHANGED', `the plan is now ${plan.hash.slice(0, 12)}, not ${planHash.slice(0, 12)}`);
    const refusals = plan.refusals.map((finding) => ({ ...finding, error: 'CONFLICT' as const }));
    if (refusals.length > 0) throw failureOfRefusals(refusals);
    if (mode === 'drill') return;
    if (confirm !== runbook)
      throw new Failure('NOT_CONFIRMED', `a run of "${runbook}" replaces live data; it is confirmed by its name`);
    const missing = unacceptedSkew(plan.set, acceptedSkew);
    if (missing.length > 0)
      throw new Failure('NOT_CONFIRMED', `these targets go back further than the others: ${missing.join(', ')}`, {
        remedy: `Accept them by name with ${missing.map((target) => `--accept-skew ${target}`).join(' ')}, or choose an earlier instant for all with --at.`,
      });
  }

  /** Starts a run or a drill of exactly the plan that was consented to; the same call again returns the same run. */
  async start(input: StartInput): Promise<RunbookRunView> {
    const { actor, catalog, clock, runbooks } = this.#parts;
    const { mode, runbook, acceptedSkew, approved } = input;
    if (mode === 'run' && actor.scope !== 'destroy' && actor.scope !== 'admin')
      throw new Failure('FORBIDDEN', 'running a runbook needs a token with scope destroy');
    const runId = deriveUuid(RUN_IDS, `${actor.name} ${input.idempotencyKey}`);
    if ((await this.#find(runId)) !== undefined) return await this.get(runId);
    refuseSecond(await catalog.runbooks.open(), runbook);
    const plan = await this.plan(input);
    this.#checkConsent(plan, input);
    for (const step of approved)
      if (!plan.steps.some(({ name, main }) => name === step && main[0]?.kind === 'approve') && mode === 'run')
        throw new Failure('BAD_INPUT', `runbook "${runbook}" has no step "${step}" to approve`);
    const run = startRun(plan, { runId, by: actor.name, at: clock.now(), acceptedSkew, approved });
    const audit = auditChange(this.#parts, `runbook.${mode}`, runbook, `${runId} plan ${plan.hash}`);
    try {
      await runbooks.start(run, [audit]);
    } catch (error) {
      // The same call may have come twice at once.
      if ((await catalog.runbooks.get(runId)) === undefined) throw error;
    }
    return await this.get(runId);
  }

  async #find(runId: string): Promise<RunbookRun | undefined> {
    return this.#parts.runbooks.run(runId) ?? (await this.#parts.catalog.runbooks.get(runId));
  }
  async #require(runId: string): Promise<RunbookRun> {
    const run = await this.#find(runId);
    if (run !== undefined) return run;
    throw new Failure('NOT_FOUND', `there is no run ${runId}`, {
      remedy: 'List the runs with `lastgood runbooks status`.',
    });
  }

  #activityOf(run: RunbookRun): RunbookRunView['activity'] {
    const { registry, ledgers } = this.#parts;
    return jobsOfRun(run).map(({ step, jobId, environment, host }) => {
      const agentId = registry.agentNamed(environment, host)?.agentId;
      if (agentId === undefined) return { step, jobId, state: null, hostOnline: false, progress: null };
      const job = ledgers.ledger(agentId).jobs.get(jobId);
      const progress = registry.session(agentId)?.progressOf(jobId) ?? null;
      return { step, jobId, state: job?.state ?? null, hostOnline: isOnline(registry, agentId), progress };
    });
  }

  async get(runId: string): Promise<RunbookRunView> {
    const run = await this.#require(runId);
    return { run, activity: this.#activityOf(run) };
  }

  async runs({ runbook, limit }: Parameters<AdminApi['runbookRuns']>[0]): Promise<RunbookRun[]> {
    return await this.#parts.catalog.runbooks.list({ runbook }, limit);
  }

  /** Carries out what a person has decided about a step. */
  async resume({ runId, decision }: Parameters<AdminApi['resumeRunbook']>[0]): Promise<RunbookRunView> {
    const { actor, clock, runbooks } = this.#parts;
    const detail = decision.type === 'skip' ? `${decision.step}: ${decision.reason}` : decision.step;
    const audit = auditChange(this.#parts, `runbook.${decision.type}`, runId, detail);
    const run = await this.#require(runId);
    const work = this.#activityOf(run).find(({ step }) => step === decision.step);
    const decider = { by: actor.name, isOffline: work?.hostOnline === false };
    const decide = (before: RunbookRun): RunbookRun => decideStep(before, decision, decider, clock.now());
    if ((await runbooks.apply(runId, decide, [audit])) === undefined) this.#refuseEnded(await this.#require(runId));
    if (work !== undefined) await this.#cancelGivenUp(run, work.jobId);
    return await this.get(runId);
  }

  /** A job that no step waits for any more ends when its host is back. */
  async #cancelGivenUp(before: RunbookRun, jobId: string): Promise<void> {
    const { catalog, clock, ledgers } = this.#parts;
    const after = await this.#require(before.runId);
    if (jobsOfRun(after).some((job) => job.jobId === jobId)) return;
    const record = await catalog.jobs.get(jobId);
    if (record !== undefined && record.job.endedAt === null)
      await cancelJob(ledgers, clock, { agentId: record.agentId, jobId }, []);
  }

  #refuseEnded({ runId, state }: RunbookRun): never {
    throw new Failure('CONFLICT', `run ${runId} has ended (${state})`, {
      remedy: 'Start another run with `lastgood runbooks run`.',
    });
  }

  async abort({ runId, reason }: Parameters<AdminApi['abortRunbook']>[0]): Promise<RunbookRunView> {
    const { actor, clock, runbooks } = this.#parts;
    const audit = auditChange(this.#parts, 'runbook.abort', runId, reason);
    const decide = (run: RunbookRun): RunbookRun => abortRun(run, actor.name, reason, clock.now());
    if ((await runbooks.apply(runId, decide, [audit])) === undefined) this.#refuseEnded(await this.#require(runId));
    return await this.get(runId);
  }
}
