import { describe, expect, test } from 'vitest';
import { unacceptedSkew } from '../../src/runbooks/index.ts';
import { backup, check, HOST, hook, instant, planOf, restore, target } from './support.ts';

const BOTH = { a: restore('a'), b: restore('b', { after: ['a'] }) };

describe('the recovery set', () => {
  test('takes the newest backup of each target, and names those that lag behind', () => {
    const { set, refusals } = planOf(BOTH);
    expect(refusals).toEqual([]);
    expect(set).toMatchObject({ instant: null, skewMs: 30 * 60_000, allowedSkewMs: 0, lagging: [`${HOST}/a`] });
    expect(set.members.map(({ target: name, point, lagMs }) => [name, point.at, lagMs])).toEqual([
      [`${HOST}/a`, instant('11:00'), 30 * 60_000],
      [`${HOST}/b`, instant('11:30'), 0],
    ]);
    expect(unacceptedSkew(set, [])).toEqual([`${HOST}/a`]);
    expect(unacceptedSkew(set, [`${HOST}/a`])).toEqual([]);
  });

  test('takes what each target has at or before one instant', () => {
    const { set } = planOf(BOTH, { instantMs: Date.parse(instant('10:30')) });
    expect(set.members.map(({ point }) => point.at)).toEqual([instant('10:00'), instant('09:00')]);
    expect(set).toMatchObject({ instant: instant('10:30'), skewMs: 60 * 60_000, lagging: [`${HOST}/b`] });
  });

  test('allows the skew that the runbook allows', () => {
    expect(planOf(BOTH, {}, { objectives: { skew: '30m' } }).set.lagging).toEqual([]);
    expect(planOf(BOTH, {}, { objectives: { skew: '29m' } }).set.lagging).toEqual([`${HOST}/a`]);
  });

  test('passes over backups that are bad or suspect', () => {
    const targets = new Map([[`${HOST}/a`, target([backup(1, '10:00'), backup(2, '11:00', { state: 'bad' })])]]);
    expect(planOf({ a: restore('a') }, { targets }).set.members[0]?.point.at).toBe(instant('10:00'));
  });

  test('takes the exact instant from a log stream, and asks for the newest as such', () => {
    const windows = [
      {
        from: instant('08:00'),
        to: instant('11:45'),
        isOpen: true,
        branch: '1',
        backups: [backup(1, '08:00').backupId],
      },
    ];
    const targets = new Map([[`${HOST}/a`, target([backup(1, '08:00')], { reported: { windows } })]]);
    const steps = { a: { restore: { target: `${HOST}/a`, into: { folder: 'f' } } } };
    const exact = planOf(steps, { targets, instantMs: Date.parse(instant('10:07')) });
    expect(exact.set.members[0]?.point).toMatchObject({ at: instant('10:07'), basis: 'log' });
    expect(exact.steps[0]?.main[0]).toMatchObject({ request: { point: { kind: 'time', time: instant('10:07') } } });
    const newest = planOf(steps, { targets });
    expect(newest.steps[0]?.main[0]).toMatchObject({ request: { point: { kind: 'latest' } } });
    // An instant that the log has not been reported to yet stays the end of the restore: it never goes past it.
    const ahead = planOf(steps, { targets, instantMs: Date.parse(instant('11:59')) });
    expect(ahead.steps[0]?.main[0]).toMatchObject({ request: { point: { kind: 'time', time: instant('11:59') } } });
    // A drill tests the base backup, and claims no more.
    const drill = planOf(steps, { targets, mode: 'drill' });
    expect(drill.steps[0]?.main[0]).toMatchObject({
      kind: 'restore-test',
      point: { at: instant('08:00'), basis: 'backup' },
    });
    // The log goes on between plan and start; the consent stands.
    const later = [{ ...windows[0], to: instant('11:50') }] as typeof windows;
    const moved = new Map([[`${HOST}/a`, target([backup(1, '08:00')], { reported: { windows: later } })]]);
    expect(planOf(steps, { targets: moved }).hash).toBe(newest.hash);
  });
});

describe('the plan', () => {
  test('is refused when a target has no backup at the instant, and names it', () => {
    const { refusals } = planOf(BOTH, { instantMs: Date.parse(instant('09:30')) });
    expect(refusals).toEqual([
      {
        code: 'RUNBOOK_NO_RECOVERY_POINT',
        severity: 'error',
        subject: { kind: 'target', name: `${HOST}/a` },
        params: {},
      },
    ]);
  });

  test('is refused for unknown targets, hosts, checks and hooks', () => {
    const steps = {
      a: restore('z'),
      b: check('missing'),
      c: hook('missing'),
      d: { check: { host: 'prod/db-9', name: 'ok' } },
    };
    expect(planOf(steps).refusals.map(({ code }) => code)).toEqual([
      'RUNBOOK_TARGET_UNKNOWN',
      'RUNBOOK_CHECK_UNDEFINED',
      'RUNBOOK_HOOK_UNDEFINED',
      'RUNBOOK_HOST_UNKNOWN',
    ]);
  });

  test('is refused when it is unclear which database is meant, and not when the step names it', () => {
    const contents = ['one', 'two'].map((name) => ({ kind: 'database' as const, name, bytes: 1 }));
    const targets = new Map([[`${HOST}/a`, target([backup(1, '10:00', { contents })])]]);
    expect(planOf({ a: restore('a') }, { targets }).refusals.map(({ code }) => code)).toEqual([
      'RUNBOOK_SCOPE_UNCLEAR',
    ]);
    const named = { a: { restore: { target: `${HOST}/a`, database: 'two', into: 'swap' } } };
    const plan = planOf(named, { targets });
    expect(plan.refusals).toEqual([]);
    expect(plan.steps[0]?.main[0]).toMatchObject({ request: { scope: { kind: 'database', database: 'two' } } });
  });

  test('begins with an alternative that was chosen, although the step itself is impossible', () => {
    const steps = { a: restore('z', { alternative: [hook('rebuild'), check('counts')] }) };
    const plan = planOf(steps, { alternatives: ['a'] });
    expect(plan.refusals).toEqual([]);
    expect(plan.steps[0]).toMatchObject({ choice: 'alternative', alternative: [{ kind: 'hook' }, { kind: 'check' }] });
    expect(plan.set.members).toEqual([]);
    expect(() => planOf(BOTH, { alternatives: ['a'] })).toThrow(expect.objectContaining({ code: 'BAD_INPUT' }));
  });

  test('has a hash of what is carried out: a newer backup or another order changes it, an estimate does not', () => {
    const plan = planOf(BOTH);
    const faster = new Map([
      [`${HOST}/a`, target([backup(1, '10:00'), backup(2, '11:00')], { restoreMs: 1000 })],
      [`${HOST}/b`, target([backup(3, '09:00'), backup(4, '11:30')])],
    ]);
    expect(planOf(BOTH, { targets: faster }).hash).toBe(plan.hash);
    const newer = new Map([...faster, [`${HOST}/a`, target([backup(9, '11:15')])]]);
    expect(planOf(BOTH, { targets: newer }).hash).not.toBe(plan.hash);
    expect(planOf({ a: restore('a'), b: restore('b') }).hash).not.toBe(plan.hash);
    expect(planOf(BOTH, { mode: 'drill' }).hash).not.toBe(plan.hash);
  });

  test('estimates the longest way from measured restores, and warns above the objective', () => {
    const timed = (ms: number | null) =>
      new Map([
        [`${HOST}/a`, target([backup(1, '10:00')], { restoreMs: 3_600_000 })],
        [`${HOST}/b`, target([backup(3, '10:00')], { restoreMs: ms })],
      ]);
    const objectives = { objectives: { rto: '90m' } };
    expect(planOf(BOTH, { targets: timed(null) }).estimatedMs).toBeNull();
    expect(planOf(BOTH, { targets: timed(1_800_000) }, objectives)).toMatchObject({
      estimatedMs: 5_400_000,
      warnings: [],
    });
    const parallel = { a: restore('a'), b: restore('b') };
    expect(planOf(parallel, { targets: timed(1_800_000) }).estimatedMs).toBe(3_600_000);
    const slow = planOf(BOTH, { targets: timed(1_900_000) }, objectives);
    expect(slow.warnings.map(({ code }) => code)).toEqual(['RUNBOOK_RTO_ESTIMATE']);
  });

  test('of a drill tests the restores and leaves out what would touch anything live', () => {
    const steps = { ...BOTH, c: check('missing'), d: hook('start'), e: { approve: {} }, f: { wait: '1h' } };
    const plan = planOf(steps, { mode: 'drill' });
    expect(plan.refusals).toEqual([]);
    expect(plan.steps.map(({ main: [action] }) => action?.kind)).toEqual([
      ...['restore-test', 'restore-test', 'left-out', 'left-out', 'left-out', 'left-out'],
    ]);
  });
});
