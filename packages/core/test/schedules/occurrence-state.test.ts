import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  nextOccurrenceState,
  OCCURRENCE_EVENTS,
  OCCURRENCE_STATES,
  type OccurrenceEvent,
  type OccurrenceState,
  shareOf,
} from '../../src/schedules/index.ts';

const run = (events: readonly OccurrenceEvent[], from: OccurrenceState = 'expected'): OccurrenceState =>
  events.reduce(nextOccurrenceState, from);

describe('an occurrence', () => {
  test.for<{ events: OccurrenceEvent[]; end: OccurrenceState }>([
    { events: ['start', 'succeed'], end: 'succeeded' },
    { events: ['start', 'fail'], end: 'failed' },
    { events: ['start', 'fail', 'start', 'succeed'], end: 'succeeded' },
    { events: ['skip'], end: 'skipped' },
    { events: ['wait'], end: 'waiting' },
    { events: ['wait', 'expire'], end: 'waiting' },
    { events: ['wait', 'start', 'succeed'], end: 'succeeded' },
    { events: ['expire'], end: 'missed' },
    { events: ['expire', 'start'], end: 'running' },
    { events: ['expire', 'succeed'], end: 'succeeded' },
    { events: ['expire', 'skip'], end: 'skipped' },
    { events: ['start', 'expire'], end: 'running' },
    { events: ['start', 'skip'], end: 'running' },
    { events: ['succeed', 'start', 'expire'], end: 'succeeded' },
    { events: ['fail', 'expire'], end: 'failed' },
  ])('expected, $events → $end', ({ events, end }) => {
    expect(run(events)).toBe(end);
  });

  test('has a next state for every event in every state', () => {
    for (const state of OCCURRENCE_STATES)
      for (const event of OCCURRENCE_EVENTS) expect(OCCURRENCE_STATES).toContain(nextOccurrenceState(state, event));
  });

  test('ends in the same state when a report arrives more than once in a row', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...OCCURRENCE_EVENTS), { maxLength: 8 }), (events) => {
        expect(run(events.flatMap((event) => [event, event]))).toBe(run(events));
      }),
    );
  });

  test('that succeeded stays so, and one that began or ended is never missed', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...OCCURRENCE_EVENTS), { maxLength: 12 }), (events) => {
        const state = run(events);
        if (events.includes('succeed')) expect(state).toBe('succeeded');
        if (events.some((event) => event !== 'expire')) expect(['expected', 'missed']).not.toContain(state);
      }),
    );
  });
});

test('the share counts what was due: missed, skipped and failed runs lower it, later ones do not exist yet', () => {
  const due = (state: OccurrenceState, dueMs = 1): { dueMs: number; state: OccurrenceState } => ({ dueMs, state });
  const all = OCCURRENCE_STATES.map((state) => due(state));
  expect(shareOf([...all, due('expected', 9)], 5)).toEqual({ due: 7, succeeded: 1, unsuccessful: 3, open: 3 });
});
