import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  ALERT_EVENTS,
  ALERT_STATES,
  ALERTS,
  type Alert,
  type AlertCondition,
  acknowledge,
  nextAlertState,
  stepAlerts,
} from '../../src/alerts/index.ts';
import { alert, HOUR, MINUTE, NOW } from './support.ts';

const subject = { kind: 'target', environment: 'prod', host: 'db-1', target: 'postgres' } as const;
const failed: AlertCondition = { code: 'backup_failed', subject, params: { cause: 'NO_SPACE' } };
/** Fires after five minutes, is resolved after five minutes. */
const lag: AlertCondition = { code: 'log_lag', subject, params: { lagMs: 1, limitMs: 0 } };

/** The state of the only alert after each minute; `-` for none. */
function run(condition: AlertCondition, minutes: readonly boolean[]): string {
  let open: readonly Alert[] = [];
  return minutes
    .map((holds, minute) => {
      const step = stepAlerts(open, holds ? [condition] : [], NOW + minute * MINUTE);
      open = step.alerts.filter(({ state }) => state !== 'resolved');
      return step.alerts[0]?.state.charAt(0) ?? '-';
    })
    .join('');
}
const minutes = (text: string): boolean[] => [...text].map((each) => each === 'x');

describe('an alert', () => {
  test('without a waiting time fires and is resolved at once', () => {
    expect(run(failed, minutes('.xx..x'))).toBe('-ffr-f');
  });
  test('waits until its condition has held long enough', () => {
    expect(run(lag, minutes('xxxxxxx'))).toBe('pppppff');
  });
  test('is dropped when its condition ends before it fires', () => {
    expect(run(lag, minutes('xxx......'))).toBe('ppppppp--');
  });
  test('that fires survives a short end of its condition', () => {
    expect(run(lag, minutes('xxxxxxx..xx....x'))).toBe('pppppfffffffffff');
    expect(run(lag, minutes('xxxxxx.....x'))).toBe('pppppfffffrp');
  });
  test('that returns is a new one', () => {
    const first = stepAlerts([], [failed], NOW).alerts[0];
    const again = stepAlerts([], [failed], NOW + HOUR).alerts[0];
    expect(first?.alertId).not.toBe(again?.alertId);
  });
  test('keeps its identity and the newest numbers while it fires', () => {
    const first = stepAlerts([], [failed], NOW).alerts;
    const [later] = stepAlerts(first, [{ ...failed, params: { cause: 'IO_ERROR' } }], NOW + MINUTE).alerts;
    expect(later).toEqual({ ...first[0], params: { cause: 'IO_ERROR' }, lastSeenMs: NOW + MINUTE });
  });
  test('that was acknowledged stays so until it is resolved', () => {
    const taken = acknowledge(alert(), 'anna', 'looking into it', NOW + MINUTE);
    expect(taken).toMatchObject({ state: 'acknowledged', acknowledged: { by: 'anna', atMs: NOW + MINUTE } });
    expect(stepAlerts([taken], [failed], NOW + HOUR).alerts[0]?.state).toBe('acknowledged');
    expect(stepAlerts([taken], [], NOW + HOUR).alerts[0]).toMatchObject({
      state: 'resolved',
      resolvedAtMs: NOW + HOUR,
    });
  });
  test('is acknowledged only while it fires', () => {
    for (const state of ['pending', 'acknowledged', 'resolved'] as const)
      expect(acknowledge(alert({ state }), 'anna', null, NOW)).toEqual(alert({ state }));
  });
  test('is not resolved by a clock that was set back', () => {
    const open = stepAlerts([], [lag], NOW).alerts;
    expect(stepAlerts(open, [], NOW - HOUR).alerts).toEqual(open);
  });
});

test('alerts of different subjects and codes are independent', () => {
  const other = { ...failed, subject: { ...subject, target: 'crm' } };
  const step = stepAlerts(stepAlerts([], [failed, other, lag], NOW).alerts, [other], NOW + HOUR);
  expect(step.alerts.map(({ code, state }) => `${code} ${state}`)).toEqual([
    'backup_failed resolved',
    'backup_failed firing',
  ]);
  expect(step.dropped).toHaveLength(1);
});

test('every event has a meaning in every state, and resolved is final', () => {
  for (const state of ALERT_STATES)
    for (const event of ALERT_EVENTS) expect(ALERT_STATES).toContain(nextAlertState(state, event));
  for (const event of ALERT_EVENTS) expect(nextAlertState('resolved', event)).toBe('resolved');
});

test('whatever holds and when: at most one open alert of a subject, and none that fires before its time', () => {
  fc.assert(
    fc.property(fc.array(fc.boolean(), { maxLength: 60 }), (holds) => {
      let open: readonly Alert[] = [];
      holds.forEach((each, minute) => {
        const nowMs = NOW + minute * MINUTE;
        const { alerts } = stepAlerts(open, each ? [lag] : [], nowMs);
        open = alerts.filter(({ state }) => state !== 'resolved');
        expect(open.length).toBeLessThanOrEqual(1);
        for (const { firedAtMs, sinceMs } of alerts)
          if (firedAtMs !== null) expect(firedAtMs - sinceMs).toBeGreaterThanOrEqual(ALERTS.log_lag.forMs);
      });
    }),
  );
});
