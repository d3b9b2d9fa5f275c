import { type Clock, toWireError } from '@lastgood/core';
import { drillTimetable, dueDrill, startRun } from '@lastgood/core/runbooks';
import type { Log } from '../log.ts';
import { makePlan } from './make-plan.ts';
import type { FleetKnowledge } from './plan-scope.ts';
import type { RunbookRunner } from './runbook-runner.ts';

export interface DrillSchedulerParts extends FleetKnowledge {
  readonly runbooks: RunbookRunner;
  readonly clock: Clock;
  readonly log: Log;
  readonly everyMs: number;
}

/**
 * Starts the drills of runbooks that are due, each once: the id of the run is derived from schedule and instant. A drill whose plan is refused,
 * because a backup is missing, for example, is a failed drill.
 */
export class DrillScheduler implements AsyncDisposable {
  readonly #parts: DrillSchedulerParts;
  readonly #timer: NodeJS.Timeout;
  #running: Promise<void> | undefined;

  constructor(parts: DrillSchedulerParts) {
    this.#parts = parts;
    this.#timer = setInterval(() => this.#round(), parts.everyMs);
    this.#timer.unref();
  }

  #round(): void {
    // A slow round must not pile others up.
    this.#running ??= this.#startDue()
      .catch((error: unknown) =>
        this.#parts.log.error({ error: toWireError(error) }, 'cannot start the drills that are due; it is tried again'),
      )
      .finally(() => {
        this.#running = undefined;
      });
  }

  async #startDue(): Promise<void> {
    const { catalog, planner } = this.#parts;
    const activeSinceMs = (await catalog.fleetFiles.current())?.appliedAt;
    if (activeSinceMs === undefined) return;
    for (const name of Object.keys(planner.fleet.file.runbooks)) await this.#startOne(name, activeSinceMs);
  }

  async #startOne(name: string, activeSinceMs: number): Promise<void> {
    const { catalog, planner, clock, runbooks, log } = this.#parts;
    const runbook = planner.fleet.file.runbooks[name];
    const timetable = runbook === undefined ? null : drillTimetable(name, runbook);
    if (runbook === undefined || timetable === null) return;
    const now = clock.now();
    const due = dueDrill(timetable, activeSinceMs, now);
    if (due === null || (await catalog.runbooks.get(due.runId)) !== undefined) return;
    // Another run of it goes on: this one begins after it, or with the next instant.
    if ((await catalog.runbooks.open()).some(({ plan }) => plan.runbook === name)) return;
    const order = { runbook: name, mode: 'drill', atMs: null, alternatives: [] } as const;
    const plan = await makePlan(this.#parts, planner.fleet, runbook, order);
    const { runId, dueMs } = due;
    const run = startRun(plan, { runId, by: 'schedule', at: now, acceptedSkew: [], approved: [] });
    const detail = `${runId} due ${new Date(dueMs).toISOString()}`;
    await runbooks.start(run, [
      { type: 'audit', entry: { at: now, actor: 'schedule', action: 'runbook.drill', subject: name, detail } },
    ]);
    log.info({ run: runId, runbook: name, due: dueMs }, 'a drill that was due has started');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.#running;
  }
}
