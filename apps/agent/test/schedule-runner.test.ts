import { join } from 'node:path';
import { occurrenceIdOf } from '@lastgood/core/schedules';
import {
  type AgentLedger,
  adoptScheduleSet,
  finishJob,
  forgetHandled,
  type JobSpec,
  jobKey,
  type ScheduleEntry,
} from '@lastgood/protocol';
import { temporaryFolder } from '@lastgood/testkit';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Journal } from '../src/journal/journal.ts';
import { ScheduleRunner } from '../src/schedules/schedule-runner.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const START = Date.UTC(2026, 2, 1, 0, 30);
const DAILY = '11111111-1111-4111-8111-111111111111';
const backup: JobSpec = { command: 'backup', target: 'shop', method: null, contents: null, options: {} };
const rotate: JobSpec = { command: 'rotate', target: 'shop', retention: { minimum: 1 }, holds: [], dryRun: false };
const entry = (more: Partial<ScheduleEntry> = {}): ScheduleEntry => ({
  scheduleId: DAILY,
  name: 'daily',
  cron: '0 2 * * *',
  timezone: 'UTC',
  spreadMs: 0,
  spreadKey: 'test/db-1/shop',
  windowMs: HOUR,
  maxRunMs: 4 * HOUR,
  catchUp: 'last',
  spec: backup,
  ...more,
});

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let journal: Journal;
let nowMs: number;
const logged: string[] = [];
const log = (message: string): void => void logged.push(message);
const clock = { now: () => nowMs, monotonic: () => nowMs };

beforeEach(async () => {
  folder = await temporaryFolder();
  nowMs = START;
  logged.length = 0;
  journal = await Journal.open(join(folder.path, 'journal.sqlite'), nowMs);
});
afterEach(async () => {
  journal[Symbol.dispose]();
  await folder[Symbol.asyncDispose]();
});

const hold = (...entries: ScheduleEntry[]): void =>
  void journal.update((ledger) =>
    adoptScheduleSet(ledger, { revision: '22222222-2222-4222-8222-222222222222', entries }, nowMs),
  );
/** A process of the agent that decides at each of these instants, and ends. */
function decideAt(...instants: number[]): void {
  const parts = { journal, clock, refuse: () => null };
  const logs = {
    info: (_: object, text: string) => log(text),
    warn: () => undefined,
    error: (_: object, text: string) => log(text),
  };
  using runner = new ScheduleRunner({ ...parts, log: logs as never });
  for (const instant of instants) {
    nowMs = instant;
    runner.decide();
  }
}
async function restart(): Promise<void> {
  journal[Symbol.dispose]();
  journal = await Journal.open(join(folder.path, 'journal.sqlite'), nowMs);
}
const jobs = (ledger: AgentLedger = journal.ledger) =>
  [...ledger.jobs.values()].map(({ jobId, lastType, origin, error }) => ({
    jobId,
    lastType,
    due: origin.kind === 'schedule' ? origin.due : null,
    code: error?.code ?? null,
  }));
const endJobs = (): void =>
  void journal.update((ledger) =>
    [...ledger.jobs.values()].reduce(
      (next, { jobId }) =>
        finishJob(
          next,
          jobKey(jobId, 1),
          { type: 'succeeded', error: null, result: null },
          {
            now: nowMs,
            eventId: () => `${jobId} end`,
          },
        ),
      ledger,
    ),
  );
const DUE = Date.UTC(2026, 2, 1, 2);

test('a schedule fires when it is due, once, also when the agent is restarted in between', async () => {
  hold(entry());
  decideAt(START, DUE - 1);
  expect(jobs()).toEqual([]);
  decideAt(DUE, DUE + 1);
  await restart();
  decideAt(DUE + 2, DUE + MINUTE);
  expect(jobs()).toEqual([{ jobId: occurrenceIdOf(DAILY, DUE), lastType: 'accepted', due: DUE, code: null }]);
});

test('H4: the run before that has not ended makes the next one skipped, which is reported', () => {
  hold(entry());
  decideAt(START, DUE, DUE + DAY);
  expect(jobs()).toMatchObject([
    { due: DUE, lastType: 'accepted' },
    { due: DUE + DAY, lastType: 'rejected', code: 'OCCURRENCE_SKIPPED' },
  ]);
  endJobs();
  decideAt(DUE + 2 * DAY);
  expect(jobs().at(-1)).toMatchObject({ due: DUE + 2 * DAY, lastType: 'accepted' });
});

test('H2: after three days without the agent the newest run is caught up, and the others are reported as skipped', async () => {
  hold(entry());
  decideAt(START);
  await restart();
  decideAt(DUE + 2 * DAY + 2 * HOUR);
  expect(jobs().map(({ due, lastType }) => [due, lastType])).toEqual([
    [DUE, 'rejected'],
    [DUE + DAY, 'rejected'],
    [DUE + 2 * DAY, 'accepted'],
  ]);
});

test('a catch-up waits for its part of the spread, so that the agents of a site do not start at once', () => {
  const spread = entry({ spreadMs: 30 * MINUTE });
  hold(spread);
  decideAt(START);
  const back = DUE + 6 * HOUR;
  const parts = { journal, clock, refuse: () => null, log: { info: () => undefined } as never };
  using runner = new ScheduleRunner(parts);
  nowMs = back;
  runner.decide();
  expect(jobs()).toEqual([]);
  nowMs = back + 30 * MINUTE;
  runner.decide();
  expect(jobs()).toMatchObject([{ lastType: 'accepted' }]);
});

test('a destructive run keeps waiting for its grant after its window, a safe one does not', () => {
  const weekly = '33333333-3333-4333-8333-333333333333';
  hold(entry(), entry({ scheduleId: weekly, name: 'rotate', spec: rotate }));
  decideAt(START, DUE);
  const startBy = new Map([...journal.ledger.jobs.values()].map((job) => [job.spec.command, job.startBy - DUE]));
  expect(startBy.get('backup')).toBe(HOUR);
  expect(startBy.get('rotate')).toBe(30 * DAY);
});

test('a schedule that this host cannot run is logged, and the others fire', () => {
  const other = '44444444-4444-4444-8444-444444444444';
  hold(entry({ timezone: 'Mars/Olympus' }), entry({ scheduleId: other }));
  decideAt(START, DUE);
  expect(jobs()).toMatchObject([{ jobId: occurrenceIdOf(other, DUE) }]);
  expect(logged).toContain('this host cannot run a schedule');
});

test('a set that no longer has a schedule ends it, and what was handled survives a restart', async () => {
  hold(entry());
  decideAt(START, DUE);
  hold();
  decideAt(DUE + DAY);
  expect(jobs()).toHaveLength(1);
  const { ledger } = journal;
  await restart();
  expect(journal.ledger).toEqual(ledger);
  journal.update((before) => forgetHandled(before, DUE + 1));
  await restart();
  expect(journal.ledger.handled.size).toBe(0);
});
