import { OCCURRENCE_STATES } from '@lastgood/protocol';

/*
 * An occurrence is one due run of a schedule. It exists before it runs.
 *
 *   expected ─start─► running ─succeed─► succeeded
 *      │ │ └─wait──► waiting ─start─►    └─fail──► failed ─start (a retry)─► running
 *      │ └─skip────► skipped
 *      └─expire────► missed ─(a late report)─► any state that the report says
 *
 * Reports come from the agent, in any delay. `expire` comes from the control plane, when an occurrence was due, its window and grace
 * have passed, and nothing was reported (see `isMissed`).
 */
export { OCCURRENCE_STATES };
export type OccurrenceState = (typeof OCCURRENCE_STATES)[number];

/**
 * `start`: its job began, again after a retry as well · `wait`: it is due, and its destructive job has no grant yet · `skip`: the agent
 * decided not to run it · `expire`: no report came in time.
 */
export const OCCURRENCE_EVENTS = ['start', 'wait', 'succeed', 'fail', 'skip', 'expire'] as const;
export type OccurrenceEvent = (typeof OCCURRENCE_EVENTS)[number];

type Row = Readonly<Record<OccurrenceEvent, OccurrenceState>>;

/** What a report sets in every state that a report may still change. */
const REPORTED = {
  start: 'running',
  wait: 'waiting',
  succeed: 'succeeded',
  fail: 'failed',
  skip: 'skipped',
} as const satisfies Partial<Row>;

const TRANSITIONS: Readonly<Record<OccurrenceState, Row>> = {
  expected: { ...REPORTED, expire: 'missed' },
  // It began, so it is not skipped: such a report is older than the start.
  running: { ...REPORTED, skip: 'running', expire: 'running' },
  // Waits for the control plane as long as that takes, and is never missed meanwhile.
  waiting: { ...REPORTED, expire: 'waiting' },
  // A success stands: whatever arrives after it is a late or repeated report.
  succeeded: {
    start: 'succeeded',
    wait: 'succeeded',
    succeed: 'succeeded',
    fail: 'succeeded',
    skip: 'succeeded',
    expire: 'succeeded',
  },
  // A safe job may be tried again.
  failed: { ...REPORTED, skip: 'failed', expire: 'failed' },
  // The outcome of a run that was reported late replaces the guess.
  missed: { ...REPORTED, expire: 'missed' },
  skipped: { ...REPORTED, expire: 'skipped' },
};

/** The state after an event. Total: every event has a meaning in every state, however late it comes. */
export const nextOccurrenceState = (state: OccurrenceState, event: OccurrenceEvent): OccurrenceState =>
  TRANSITIONS[state][event];

/** States that count as done well, as done badly, or not yet: every list and share of occurrences uses this. */
export function outcomeOf(state: OccurrenceState): 'good' | 'bad' | 'open' {
  switch (state) {
    case 'succeeded':
      return 'good';
    // A run that did not take place protects nothing, whatever kept it from running.
    case 'failed':
    case 'missed':
    case 'skipped':
      return 'bad';
    case 'expected':
    case 'running':
    case 'waiting':
      return 'open';
  }
}

export interface OccurrenceShare {
  readonly due: number;
  readonly succeeded: number;
  /** Failed, missed or skipped. */
  readonly unsuccessful: number;
  /** Due, and neither ended nor missed yet. */
  readonly open: number;
}

/** How many of the occurrences that were due until `nowMs` succeeded. Those of offline hosts count like all others. */
export function shareOf(
  occurrences: Iterable<{ readonly dueMs: number; readonly state: OccurrenceState }>,
  nowMs: number,
): OccurrenceShare {
  const counts = { good: 0, bad: 0, open: 0 };
  for (const { dueMs, state } of occurrences) if (dueMs <= nowMs) counts[outcomeOf(state)] += 1;
  return {
    due: counts.good + counts.bad + counts.open,
    succeeded: counts.good,
    unsuccessful: counts.bad,
    open: counts.open,
  };
}
