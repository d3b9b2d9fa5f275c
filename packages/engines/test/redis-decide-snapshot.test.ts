import { Bug } from '@lastgood/core';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  afterRequest,
  beginSnapshot,
  decideSnapshot,
  type SaveObservation,
  type SnapshotState,
} from '../src/redis/index.ts';

const idle: SaveObservation = {
  runId: 'a',
  serverTime: 1_000,
  saves: 7,
  lastSaveAt: 900,
  lastSaveFailed: false,
  isSaving: false,
  hasOtherChild: false,
  isLoading: false,
};
const waiting = beginSnapshot(idle);
const requested = afterRequest(waiting, idle, true, idle);

describe('before the request', () => {
  test.for<{ when: string; now: Partial<SaveObservation>; decision: object }>([
    { when: 'nothing runs', now: {}, decision: { do: 'request' } },
    { when: 'the last save failed', now: { lastSaveFailed: true }, decision: { do: 'request' } },
    { when: 'the AOF is rewritten', now: { hasOtherChild: true }, decision: { do: 'request' } },
    {
      when: 'another save, which began after the first observation, has ended well',
      now: { saves: 9, lastSaveAt: 1_002, isSaving: true },
      decision: { do: 'finish', notBefore: 1_000, savedAt: 1_002 },
    },
    { when: 'another save has failed', now: { saves: 8, lastSaveFailed: true }, decision: { do: 'request' } },
    { when: 'another save runs', now: { isSaving: true }, decision: { do: 'wait', for: 'other-save' } },
    { when: 'data is loaded', now: { isLoading: true }, decision: { do: 'wait', for: 'loading' } },
    { when: 'the server was restarted', now: { runId: 'b' }, decision: { do: 'fail', reason: 'restarted' } },
    { when: 'saves are not counted', now: { saves: null }, decision: { do: 'fail', reason: 'unsupported' } },
  ])('$when → $decision', ({ now, decision }) => {
    expect(decideSnapshot(waiting, { ...idle, ...now })).toEqual(decision);
  });
});

describe('after the request', () => {
  const ended = { saves: 8, lastSaveAt: 1_003, serverTime: 1_004 };
  test.for<{ when: string; now: Partial<SaveObservation>; decision: object }>([
    { when: 'it has not started', now: {}, decision: { do: 'wait', for: 'start' } },
    {
      when: 'it waits for the AOF',
      now: { hasOtherChild: true },
      decision: { do: 'wait', for: 'other-child' },
    },
    { when: 'it runs', now: { saves: 8, isSaving: true }, decision: { do: 'wait', for: 'save' } },
    { when: 'it has ended well', now: ended, decision: { do: 'finish', notBefore: 1_000, savedAt: 1_003 } },
    {
      when: 'it has ended well in the second of the save before',
      now: { ...ended, lastSaveAt: 1_000 },
      decision: { do: 'finish', notBefore: 1_000, savedAt: 1_000 },
    },
    {
      when: 'a later save has replaced it',
      now: { ...ended, saves: 9, lastSaveAt: 1_009 },
      decision: { do: 'finish', notBefore: 1_000, savedAt: 1_009 },
    },
    {
      when: 'it has ended well and a later save runs',
      now: { ...ended, saves: 9, isSaving: true },
      decision: { do: 'finish', notBefore: 1_000, savedAt: 1_003 },
    },
    {
      when: 'it has failed and a later save runs',
      now: { ...ended, saves: 9, isSaving: true, lastSaveFailed: true },
      decision: { do: 'wait', for: 'save' },
    },
    {
      when: 'it has failed',
      now: { ...ended, lastSaveAt: 900, lastSaveFailed: true },
      decision: { do: 'fail', reason: 'save-failed' },
    },
    {
      when: 'it has ended and the time of the last save has not moved (A19)',
      now: { ...ended, lastSaveAt: 900 },
      decision: { do: 'fail', reason: 'save-failed' },
    },
    {
      when: 'the server was restarted and counts from the start (A21)',
      now: { ...ended, runId: 'b' },
      decision: { do: 'fail', reason: 'restarted' },
    },
  ])('$when → $decision', ({ now, decision }) => {
    expect(decideSnapshot(requested, { ...idle, ...now })).toEqual(decision);
  });
});

describe('a refused request', () => {
  test('is repeated after another save, however often that happens', () => {
    let state: SnapshotState = waiting;
    for (let round = 0; round < 100; round += 1)
      state = afterRequest(state, idle, false, { ...idle, saves: 8, isSaving: true });
    expect(decideSnapshot(state, idle)).toEqual({ do: 'request' });
  });
  test('without a reason fails after the fifth', () => {
    let state: SnapshotState = waiting;
    for (let round = 0; round < 4; round += 1) state = afterRequest(state, idle, false, idle);
    expect(decideSnapshot(state, idle)).toEqual({ do: 'request' });
    state = afterRequest(state, idle, false, idle);
    expect(decideSnapshot(state, idle)).toEqual({ do: 'fail', reason: 'refused' });
  });
  test('that was counted is a save that could not be started', () => {
    const after = { ...idle, saves: 8, lastSaveFailed: true };
    expect(decideSnapshot(afterRequest(waiting, idle, false, after), after)).toEqual({
      do: 'fail',
      reason: 'save-failed',
    });
  });
});

/** A server as far as saves go, beside which others start saves, replicas ask for theirs, and processes fail. */
class ServerModel {
  time = 1_000;
  /** Orders starts of saves and observations within one second. */
  step = 0;
  #runId = 1;
  #saves = 3;
  #lastSaveAt = 900;
  #failed = false;
  #child: 'save' | 'sync' | 'other' | null = null;
  #childStartedAtStep = 0;
  #scheduled = false;
  #loading = false;
  /** The step at which the save began that wrote the file. */
  fileBeganAtStep = -1;

  observe(): SaveObservation {
    this.step += 1;
    return {
      runId: String(this.#runId),
      serverTime: this.time,
      saves: this.#saves,
      lastSaveAt: this.#lastSaveAt,
      lastSaveFailed: this.#failed,
      isSaving: this.#child === 'save' || this.#child === 'sync',
      hasOtherChild: this.#child === 'other',
      isLoading: this.#loading,
    };
  }
  requestSave(): boolean {
    if (this.#child === 'save' || this.#child === 'sync') return false;
    if (this.#child === 'other') this.#scheduled = true;
    else this.#startSave();
    return true;
  }
  #startSave(): void {
    this.step += 1;
    this.#saves += 1;
    this.#child = 'save';
    this.#childStartedAtStep = this.step;
  }
  #endChild(well: boolean): void {
    if (this.#child === 'save') {
      this.#failed = !well;
      if (well) {
        this.#lastSaveAt = this.time;
        this.fileBeganAtStep = this.#childStartedAtStep;
      }
    }
    this.#child = null;
  }
  happen(event: Event): void {
    this.step += 1;
    switch (event) {
      case 'second':
        this.time += 1;
        return;
      case 'save':
        if (this.#child === null) this.#startSave();
        return;
      case 'sync':
      case 'other':
        this.#child ??= event;
        return;
      case 'end':
        return this.#endChild(true);
      case 'fail':
        return this.#endChild(false);
      case 'cron':
        if (!this.#scheduled || this.#child !== null) return;
        this.#scheduled = false;
        return this.#startSave();
      case 'restart':
        this.#runId += 1;
        this.#saves = 0;
        this.#child = null;
        this.#scheduled = false;
        this.#failed = false;
        this.#lastSaveAt = this.time;
        return;
      case 'load':
        this.#loading = !this.#loading;
        return;
      default:
        throw new Bug(event satisfies never);
    }
  }
}
const EVENTS = ['second', 'save', 'sync', 'other', 'end', 'fail', 'cron', 'restart', 'load'] as const;
type Event = (typeof EVENTS)[number];
/** What brings a quiet server to rest. */
const QUIET: readonly Event[] = ['end', 'cron', 'second', 'end'];

/** Runs the machine beside the events, one group of them between any two of its steps; then beside nothing. */
function runBeside(groups: readonly (readonly Event[])[], isLoadingAtTheEnd: boolean) {
  const model = new ServerModel();
  const queue = [...groups];
  const between = (): void => {
    for (const event of queue.shift() ?? QUIET) model.happen(event);
  };
  let now = model.observe();
  let state = beginSnapshot(now);
  let observedAtStep = model.step;
  for (let round = 0; round < groups.length * 2 + 40; round += 1) {
    if (queue.length === 0 && isLoadingAtTheEnd && model.observe().isLoading) model.happen('load');
    const decision = decideSnapshot(state, now);
    if (decision.do === 'finish' || decision.do === 'fail') return { decision, model, observedAtStep };
    if (decision.do === 'request') {
      const before = now;
      const step = model.step;
      between();
      const isAccepted = model.requestSave();
      between();
      const next = afterRequest(state, before, isAccepted, model.observe());
      if (next.phase === 'requested') observedAtStep = step;
      state = next;
    }
    between();
    now = model.observe();
  }
  return { decision: null, model, observedAtStep };
}

test('beside anything that may happen, a finished snapshot is of a save that began after the request, and the machine ends', () => {
  const group = fc.array(fc.constantFrom(...EVENTS), { maxLength: 4 });
  fc.assert(
    fc.property(fc.array(group, { maxLength: 25 }), (groups) => {
      const { decision, model, observedAtStep } = runBeside(groups, true);
      expect(decision).not.toBeNull();
      if (decision?.do === 'finish') expect(model.fileBeganAtStep).toBeGreaterThan(observedAtStep);
    }),
    { numRuns: 5_000 },
  );
});
