import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  type AgentContact,
  decideFires,
  type FireDecision,
  type HandledInstant,
  isMissed,
  nextOccurrenceState,
  type OccurrenceEvent,
  type OccurrenceState,
  planOccurrences,
  scheduleIdOf,
  shareOf,
  Timetable,
  trackUptime,
  type Uptime,
} from '../../src/schedules/index.ts';
import { at, DAY, HOUR, MINUTE, schedule } from './support.ts';

const START = at('2027-03-27');
const STEP = 2 * MINUTE;
const target = { environment: 'prod', host: 'db-1', target: 'shop' };
/** Each side has its own, as in two processes. */
const makeTimetables = (): Timetable[] =>
  CONTENTS.map(
    ({ name, ...content }) => new Timetable(schedule({ scheduleId: scheduleIdOf(target, name), ...content })),
  );
const CONTENTS = [
  { name: 'postgres', cron: '0 2 * * *', timezone: 'Europe/Berlin' },
  { name: 'redis', cron: '0 */6 * * *', timezone: 'America/Sao_Paulo' },
  { name: 'neo4j', cron: '0 3 * * *', timezone: 'Australia/Lord_Howe' },
  { name: 'verify', cron: '30 5 * * *', timezone: 'Asia/Kathmandu', catchUp: 'none' as const },
];
const timetables = makeTimetables();

interface Span {
  readonly fromMs: number;
  readonly untilMs: number;
}
const within = (ms: number, spans: readonly Span[]): boolean =>
  spans.some(({ fromMs, untilMs }) => ms >= fromMs && ms < untilMs);

interface Report {
  readonly decision: FireDecision;
  readonly event: OccurrenceEvent;
}

/** One agent: it fires by itself, keeps what it did in a journal, and collects its reports. */
class Agent {
  readonly runs: string[] = [];
  readonly reports: Report[] = [];
  readonly #timetables = makeTimetables();
  readonly #handled = new Map<string, HandledInstant[]>();
  #lastAliveMs = START;

  decide(nowMs: number): void {
    const schedules = this.#timetables.map((timetable) => ({
      timetable,
      activeSinceMs: START,
      handled: this.#handled.get(timetable.schedule.scheduleId) ?? [],
      isBusy: false,
    }));
    for (const decision of decideFires({ schedules, nowMs, lastAliveMs: this.#lastAliveMs }).decisions) {
      const { scheduleId } = decision;
      this.#handled.set(scheduleId, [...(this.#handled.get(scheduleId) ?? []), decision]);
      if (decision.action === 'fire') this.runs.push(decision.occurrenceId);
      const events: OccurrenceEvent[] = decision.action === 'fire' ? ['start', 'succeed'] : ['skip'];
      this.reports.push(...events.map((event) => ({ decision, event })));
    }
    this.#lastAliveMs = nowMs;
  }
}

/** The control plane: it writes occurrences ahead, takes reports, and counts what is missed. */
class Control {
  readonly occurrences = new Map<string, { dueMs: number; state: OccurrenceState; wasMissed: boolean }>();
  readonly #timetables = makeTimetables();
  readonly #plannedUntil = new Map<Timetable, number>();
  #uptime: Uptime | null = null;

  plan(nowMs: number): void {
    this.#uptime = trackUptime(this.#uptime, { wallMs: nowMs, monotonicMs: nowMs });
    for (const timetable of this.#timetables) {
      const plannedUntilMs = this.#plannedUntil.get(timetable) ?? START;
      const plan = planOccurrences({ timetable, plannedUntilMs }, nowMs);
      this.#plannedUntil.set(timetable, plan.plannedUntilMs);
      for (const { occurrenceId, dueMs } of plan.add)
        if (!this.occurrences.has(occurrenceId))
          this.occurrences.set(occurrenceId, { dueMs, state: 'expected', wasMissed: false });
    }
  }
  take({ decision, event }: Report): void {
    const { occurrenceId, dueMs } = decision;
    const known = this.occurrences.get(occurrenceId) ?? { dueMs, state: 'expected' as const, wasMissed: false };
    this.occurrences.set(occurrenceId, { ...known, state: nextOccurrenceState(known.state, event) });
  }
  judge(nowMs: number, agent: AgentContact): void {
    const upSinceMs = this.#uptime?.upSinceMs ?? nowMs;
    for (const [id, occurrence] of this.occurrences)
      if (
        occurrence.state === 'expected' &&
        isMissed({ dueMs: occurrence.dueMs, windowMs: HOUR, nowMs, upSinceMs, agent })
      )
        this.occurrences.set(id, { ...occurrence, state: 'missed', wasMissed: true });
  }
}

interface Week {
  readonly agentDown: readonly Span[];
  readonly controlDown: readonly Span[];
  /** Reports arrive this much later than the connection. */
  readonly delayMs: number;
  /** For the counter-example: judges at once after an outage, before the agent has caught up. */
  readonly judgesAtOnce?: boolean;
}

function simulate(
  { agentDown, controlDown, delayMs, judgesAtOnce = false }: Week,
  days: number,
): {
  agent: Agent;
  control: Control;
} {
  const agent = new Agent();
  const control = new Control();
  let sent = 0;
  let connectedSinceMs: number | null = null;
  for (let nowMs = START; nowMs <= START + days * DAY; nowMs += STEP) {
    const agentUp = !within(nowMs, agentDown);
    const controlUp = !within(nowMs, controlDown);
    if (agentUp) agent.decide(nowMs);
    if (!(agentUp && controlUp)) connectedSinceMs = null;
    else connectedSinceMs ??= nowMs;
    if (!controlUp) continue;
    control.plan(nowMs);
    const isCaughtUp = connectedSinceMs !== null && nowMs >= connectedSinceMs + delayMs;
    if (isCaughtUp) while (sent < agent.reports.length) control.take(agent.reports[sent++] as Report);
    const contact: AgentContact =
      connectedSinceMs === null
        ? { state: 'offline' }
        : { state: 'online', connectedSinceMs, isCaughtUp: isCaughtUp || judgesAtOnce, clockSkewMs: 0 };
    control.judge(nowMs, contact);
  }
  return { agent, control };
}

const day = (from: number, until: number): Span => ({ fromMs: START + from * DAY, untilMs: START + until * DAY });

test('three days without the control plane: each run takes place once, all are in the catalog, none was ever missed', () => {
  const { agent, control } = simulate({ agentDown: [], controlDown: [day(1, 4)], delayMs: 2 * STEP }, 5);
  const due = timetables.flatMap((timetable) => timetable.dueBetween(START, START + 5 * DAY));
  expect(agent.runs).toHaveLength(due.length);
  expect(new Set(agent.runs).size).toBe(due.length);
  expect(shareOf(control.occurrences.values(), START + 5 * DAY)).toEqual({
    due: due.length,
    succeeded: due.length,
    unsuccessful: 0,
    open: 0,
  });
  expect([...control.occurrences.values()].filter(({ wasMissed }) => wasMissed)).toEqual([]);
});

test('a control plane that judged before the agent has caught up would report runs as missed', () => {
  const week = { agentDown: [], controlDown: [day(1, 4)], delayMs: 2 * STEP, judgesAtOnce: true };
  const { control } = simulate(week, 5);
  expect([...control.occurrences.values()].filter(({ wasMissed }) => wasMissed).length).toBeGreaterThan(10);
});

test('a host that stays down has its runs counted as missed, and as skipped once it reports', () => {
  const { control } = simulate({ agentDown: [day(1, 3)], controlDown: [], delayMs: STEP }, 2.9);
  const share = shareOf(control.occurrences.values(), START + 2.5 * DAY);
  expect(share.unsuccessful).toBe(share.due - share.succeeded);
  expect(share.unsuccessful).toBeGreaterThan(8);
  const later = simulate({ agentDown: [day(1, 3)], controlDown: [], delayMs: STEP }, 4);
  const states = [...later.control.occurrences.values()].filter(({ dueMs }) => dueMs <= START + 3 * DAY);
  expect(states.map(({ state }) => state)).not.toContain('missed');
  expect(states.filter(({ state }) => state === 'skipped').length).toBeGreaterThan(8);
});

test('whatever is down and when: nothing runs twice, every run is in the catalog, every due instant has one occurrence', () => {
  const span = fc
    .tuple(fc.integer({ min: 0, max: 5 * 24 }), fc.integer({ min: 1, max: 72 }))
    .map(([from, hours]) => ({ fromMs: START + from * HOUR, untilMs: START + (from + hours) * HOUR }));
  const settled = 10;
  fc.assert(
    fc.property(fc.array(span, { maxLength: 3 }), fc.array(span, { maxLength: 2 }), (agentDown, controlDown) => {
      const { agent, control } = simulate({ agentDown, controlDown, delayMs: STEP }, settled);
      expect(new Set(agent.runs).size).toBe(agent.runs.length);
      for (const id of agent.runs) expect(control.occurrences.get(id)?.state).toBe('succeeded');
      const until = START + (settled - 0.5) * DAY;
      const due = timetables.flatMap((timetable) => timetable.dueBetween(START, until));
      const share = shareOf(control.occurrences.values(), until);
      expect(share).toMatchObject({ due: due.length, open: 0 });
      // A run is never counted as missed in the end when it took place.
      expect(share.succeeded).toBe(
        agent.runs.filter((id) => (control.occurrences.get(id)?.dueMs ?? 0) <= until).length,
      );
    }),
    { numRuns: 12 },
  );
});
