import { runbookRunSchema, type StepDecision, wireErrorOf } from '@lastgood/protocol';
import { describe, expect, test } from 'vitest';
import { abortRun, advanceRun, decideStep, jobsOfRun, recordJob, situationOf } from '../../src/runbooks/index.ts';
import {
  begin,
  check,
  end,
  endRestore,
  HOST,
  hook,
  instant,
  jobsNow,
  NOW,
  planOf,
  restore,
  statesOf,
  statusOf,
} from './support.ts';

const ORDER = {
  ready: { approve: {} },
  a: restore('a', { after: ['ready'] }),
  b: restore('b', { after: ['a'], alternative: [hook('rebuild'), check('counts')] }),
  ok: check('ok', { after: ['a'] }),
  start: hook('start', { after: ['b', 'ok'] }),
};
const failed = { state: 'failed', error: wireErrorOf('TOOL_FAILED', 'no'), result: null } as const;
const interrupted = { state: 'failed', error: wireErrorOf('JOB_INTERRUPTED', 'no'), result: null } as const;
const approve = { type: 'approve', step: 'ready' } as const;
const bob = { by: 'bob', isOffline: false };
const alice = { by: 'alice', isOffline: false };
/** Bob, when the host of the step is offline. */
const bobOffline = { by: 'bob', isOffline: true };
const started = () => decideStep(begin(planOf(ORDER)), approve, bob, NOW);

describe('a run', () => {
  test('begins each step after those that it waits for, and ends when all are done', () => {
    const asking = begin(planOf(ORDER));
    expect([statesOf(asking), situationOf(asking)]).toEqual([
      'ready asking, a pending, b pending, ok pending, start pending',
      'asking',
    ]);
    let run = decideStep(asking, approve, bob, NOW);
    expect(jobsNow(run)).toEqual(['plan of a']);
    run = end(run, 'a');
    expect(jobsOfRun(run)[0]?.spec).toMatchObject({ command: 'restore', planHash: 'a'.repeat(64) });
    run = end(run, 'a');
    expect(jobsNow(run)).toEqual(['plan of b', 'check of ok']);
    run = end(endRestore(run, 'b'), 'ok');
    expect(jobsNow(run)).toEqual(['hook of start']);
    run = end(run, 'start');
    expect(run).toMatchObject({ state: 'succeeded', endedAt: NOW });
    expect(run.events.map(({ what, step }) => [what, step].filter(Boolean).join(' ')).slice(0, 4)).toEqual([
      ...['started', 'step-started ready', 'approved ready', 'step-started a'],
    ]);
  });

  test('gives every try of a step a job of its own, and the same try the same one', () => {
    const run = started();
    const again = started();
    expect(jobsOfRun(run)).toEqual(jobsOfRun(again));
    const retried = decideStep(end(run, 'a', failed), { type: 'retry', step: 'a' }, bob, NOW);
    expect(jobsNow(retried)).toEqual(['plan of a']);
    expect(jobsOfRun(retried)[0]?.jobId).not.toBe(jobsOfRun(run)[0]?.jobId);
  });

  test('takes the end of a job once; a late report of another try changes nothing', () => {
    const run = started();
    const after = end(run, 'a');
    const [job] = jobsOfRun(run);
    const late = { jobId: job?.jobId ?? '', command: 'plan', ...failed, durationMs: null };
    expect(end(after, 'a', { jobId: late.jobId })).toBe(after);
  });

  test('a failed step stops what depends on it; the others go on', () => {
    const run = endRestore(started(), 'a');
    const stopped = end(end(run, 'b', failed), 'ok');
    expect(statesOf(stopped)).toBe('ready succeeded, a succeeded, b failed, ok succeeded, start pending');
    expect([situationOf(stopped), stopped.endedAt]).toEqual(['stopped', null]);
    expect(statusOf(stopped, 'b')).toMatchObject({ error: { code: 'TOOL_FAILED' }, choice: 'main', index: 0 });
  });

  test('a plan that the agent refuses fails the step before anything is restored', () => {
    const refusal = {
      code: 'DATABASE_EXISTS',
      severity: 'error',
      subject: null,
      params: {},
      error: 'TARGET_NOT_EMPTY',
    };
    const result = { command: 'plan', plan: { hash: 'b'.repeat(64), refusals: [refusal] } } as never;
    const run = end(started(), 'a', { result });
    expect(statusOf(run, 'a')).toMatchObject({ state: 'failed', error: { code: 'TARGET_NOT_EMPTY' } });
    expect(jobsNow(run)).toEqual([]);
  });

  test('a check that does not pass fails its step, although its job succeeded', () => {
    const finding = { code: 'CHECK_VALUE', severity: 'error', subject: null, params: {} } as const;
    const result = { command: 'check', passed: false, findings: [finding], details: [] } as never;
    const run = end(endRestore(started(), 'a'), 'ok', { result });
    expect(statusOf(run, 'ok')).toMatchObject({
      state: 'failed',
      error: { code: 'CHECK_FAILED' },
      findings: [finding],
    });
  });

  test('tries an interrupted job again by itself, as often as the runbook says', () => {
    let run = begin(planOf({ a: restore('a', { retries: 1 }) }));
    run = end(run, 'a', interrupted);
    expect(jobsNow(run)).toEqual(['plan of a']);
    run = end(run, 'a', interrupted);
    expect(statusOf(run, 'a')).toMatchObject({ state: 'failed', error: { code: 'JOB_INTERRUPTED' } });
    // Any other failure needs a person.
    const other = end(begin(planOf({ a: restore('a', { retries: 1 }) })), 'a', failed);
    expect(statusOf(other, 'a').state).toBe('failed');
  });

  test('does not run a job again that has succeeded and whose result cannot be read', () => {
    const run = begin(planOf({ a: restore('a', { retries: 1 }) }));
    const unreadable = end(run, 'a', { result: null });
    expect(statusOf(unreadable, 'a')).toMatchObject({ state: 'failed', error: { code: 'PROTOCOL_UNSUPPORTED' } });
  });

  test('fails the step of a plan whose hash cannot be read, and stays readable itself', () => {
    const plan = { hash: 'no hash', refusals: [] };
    const run = end(begin(planOf({ a: restore('a') })), 'a', { result: { command: 'plan', plan } as never });
    expect(statusOf(run, 'a')).toMatchObject({ state: 'failed', error: { code: 'PROTOCOL_UNSUPPORTED' } });
    expect(runbookRunSchema.safeParse(run).success).toBe(true);
  });

  test('a wait ends at its instant', () => {
    const run = begin(planOf({ w: { wait: '10m' }, c: check('ok', { after: ['w'] }) }));
    expect(advanceRun(run, NOW + 599_999)).toBe(run);
    expect(jobsNow(advanceRun(run, NOW + 600_000))).toEqual(['check of ok']);
  });
});

describe('a person', () => {
  const stopped = () => end(endRestore(started(), 'a'), 'b', failed);

  test('takes the alternative of a failed step, whose actions run in order', () => {
    let run = decideStep(stopped(), { type: 'alternative', step: 'b', acceptedSkew: [] }, bob, NOW);
    expect(jobsNow(run)).toContain('hook of rebuild');
    run = end(run, 'b');
    expect(jobsNow(run)).toContain('check of counts');
    // A retry of the second action does not run the hook again.
    run = decideStep(end(run, 'b', failed), { type: 'retry', step: 'b' }, bob, NOW);
    expect(jobsNow(run)).toContain('check of counts');
    expect(statusOf(end(run, 'b'), 'b').state).toBe('succeeded');
  });

  test('accepts by name the skew of an alternative that goes further back, also when it is chosen later', () => {
    const planned = planOf(
      {
        a: restore('a'),
        b: {
          ...restore('b'),
          alternative: [{ restore: { target: `${HOST}/b`, into: 'swap', point: instant('09:30') } }],
        },
      },
      {},
      { objectives: { skew: '1h' } },
    );
    const run = end(endRestore(begin(planned), 'a'), 'b', failed);
    const take = (acceptedSkew: string[]) =>
      decideStep(run, { type: 'alternative', step: 'b', acceptedSkew }, bob, NOW);
    expect(() => take([])).toThrow(expect.objectContaining({ code: 'NOT_CONFIRMED' }));
    const taken = take([`${HOST}/b`]);
    expect([jobsNow(taken), taken.acceptedSkew]).toEqual([['plan of b'], [`${HOST}/b`]]);
    expect(taken.events.at(-1)).toMatchObject({ what: 'alternative', by: 'bob', detail: `accepted skew: ${HOST}/b` });
  });

  test('skips a failed step with a reason, and what depends on it goes on', () => {
    const run = decideStep(stopped(), { type: 'skip', step: 'b', reason: 'cache only' }, bob, NOW);
    expect(statusOf(run, 'b')).toMatchObject({ state: 'skipped', by: 'bob', reason: 'cache only' });
    expect(jobsNow(end(run, 'ok'))).toEqual(['hook of start']);
  });

  test('gives up a step that runs on a host that is offline, by skipping it or by its alternative', () => {
    const running = endRestore(started(), 'a');
    const skip = { type: 'skip', step: 'b', reason: 'the host is gone' } as const;
    expect(() => decideStep(running, skip, bob, NOW)).toThrow(expect.objectContaining({ code: 'CONFLICT' }));
    const skipped = decideStep(running, skip, bobOffline, NOW);
    expect(statusOf(skipped, 'b').state).toBe('skipped');
    expect(
      jobsNow(decideStep(running, { type: 'alternative', step: 'b', acceptedSkew: [] }, bobOffline, NOW)),
    ).toContain('hook of rebuild');
    // What the host reports later concerns no step any more.
    const [job] = jobsOfRun(running).filter(({ step }) => step === 'b');
    const late = {
      jobId: job?.jobId ?? '',
      command: 'restore',
      state: 'succeeded',
      error: null,
      result: null,
    } as const;
    expect(recordJob(skipped, { ...late, durationMs: 1 }, NOW)).toBe(skipped);
  });

  test('ends an abort that waits for a host that is offline, by giving up its step', () => {
    const aborting = end(abortRun(endRestore(started(), 'a'), 'bob', 'wrong day', NOW), 'ok');
    const skip = { type: 'skip', step: 'b', reason: 'the host is gone' } as const;
    expect(() => decideStep(aborting, skip, bob, NOW)).toThrow(expect.objectContaining({ code: 'CONFLICT' }));
    expect(decideStep(aborting, skip, bobOffline, NOW).state).toBe('aborted');
  });

  test('aborts a run: nothing more starts, and it ends when its jobs have ended', () => {
    const aborting = abortRun(endRestore(started(), 'a'), 'bob', 'wrong day', NOW);
    expect(aborting.state).toBe('aborting');
    const one = end(aborting, 'b', { state: 'canceled', error: null, result: null });
    expect(one.state).toBe('aborting');
    const ended = end(one, 'ok');
    expect(ended).toMatchObject({ state: 'aborted', endedAt: NOW });
    expect(statesOf(ended)).toBe('ready succeeded, a succeeded, b canceled, ok succeeded, start pending');
  });

  test('an abort keeps a restore from starting whose plan is under way', () => {
    const ended = end(abortRun(started(), 'bob', 'stop', NOW), 'a');
    expect(ended.state).toBe('aborted');
    expect(statusOf(ended, 'a').state).toBe('canceled');
  });

  test('cannot decide what does not fit the state of a step', () => {
    const run = started();
    const decisions: [StepDecision, string][] = [
      [{ type: 'retry', step: 'a' }, 'CONFLICT'],
      [{ type: 'skip', step: 'a', reason: 'x' }, 'CONFLICT'],
      [{ type: 'approve', step: 'ready' }, 'CONFLICT'],
      [{ type: 'alternative', step: 'a', acceptedSkew: [] }, 'CONFLICT'],
      [{ type: 'retry', step: 'z' }, 'NOT_FOUND'],
    ];
    for (const [decision, code] of decisions)
      expect(() => decideStep(run, decision, bob, NOW)).toThrow(expect.objectContaining({ code }));
  });

  test('approves as another than the one who has started the run, when the step asks for that', () => {
    const run = begin(planOf({ ready: { approve: { by: 'another' } } }), { approved: ['ready'] });
    expect(statusOf(run, 'ready').state).toBe('asking');
    expect(() => decideStep(run, approve, alice, NOW)).toThrow(expect.objectContaining({ code: 'FORBIDDEN' }));
    expect(decideStep(run, approve, bob, NOW).state).toBe('succeeded');
  });

  test('gives an approval with the start', () => {
    expect(jobsNow(begin(planOf(ORDER), { approved: ['ready'] }))).toEqual(['plan of a']);
  });
});

describe('a drill', () => {
  const drill = () => begin(planOf(ORDER, { mode: 'drill' }));

  test('tests the restores in their order, and ends without a person', () => {
    let run = drill();
    expect(jobsNow(run)).toEqual(['verify of a']);
    run = end(end(run, 'a'), 'b');
    expect(run.state).toBe('succeeded');
    expect(statesOf(run)).toBe('ready left-out, a succeeded, b succeeded, ok left-out, start left-out');
  });

  test('fails when a restore test does not pass', () => {
    const result = { command: 'verify', passed: false, reached: 2, level: 5, findings: [] } as never;
    const run = end(drill(), 'a', { result });
    expect(run).toMatchObject({ state: 'failed', endedAt: NOW });
    expect(statusOf(run, 'a')).toMatchObject({ error: { code: 'BACKUP_CORRUPT' } });
  });
});

test('names the host of each job', () => {
  const [job] = jobsOfRun(started());
  expect(`${job?.environment}/${job?.host}`).toBe(HOST);
});
