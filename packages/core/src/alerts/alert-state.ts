import { ALERT_STATES } from '@lastgood/protocol';
import { deriveUuid } from '../schedules/derived-id.ts';
import { ALERTS } from './codes.ts';
import { type AlertCondition, alertKey } from './condition.ts';

/*
 *   pending ─fire─► firing ─acknowledge─► acknowledged
 *      └─clear─► (dropped)   └────────clear────────┴─► resolved
 *
 * A condition that returns after it was resolved is a new alert.
 */
export { ALERT_STATES };
export type AlertState = (typeof ALERT_STATES)[number];

/**
 * `hold`: the condition holds, not long enough yet · `fire`: it holds long enough · `clear`: it has been over long enough ·
 * `acknowledge`: a person works on it.
 */
export const ALERT_EVENTS = ['hold', 'fire', 'clear', 'acknowledge'] as const;
export type AlertEvent = (typeof ALERT_EVENTS)[number];

const TRANSITIONS: Readonly<Record<AlertState, Readonly<Record<AlertEvent, AlertState>>>> = {
  pending: { hold: 'pending', fire: 'firing', clear: 'resolved', acknowledge: 'pending' },
  firing: { hold: 'firing', fire: 'firing', clear: 'resolved', acknowledge: 'acknowledged' },
  acknowledged: { hold: 'acknowledged', fire: 'acknowledged', clear: 'resolved', acknowledge: 'acknowledged' },
  resolved: { hold: 'resolved', fire: 'resolved', clear: 'resolved', acknowledge: 'resolved' },
};
export const nextAlertState = (state: AlertState, event: AlertEvent): AlertState => TRANSITIONS[state][event];

export interface Alert extends AlertCondition {
  readonly alertId: string;
  readonly state: AlertState;
  /** When the condition was first seen. */
  readonly sinceMs: number;
  /** When it was last seen. */
  readonly lastSeenMs: number;
  readonly firedAtMs: number | null;
  readonly acknowledged: { readonly by: string; readonly atMs: number; readonly note: string | null } | null;
  readonly resolvedAtMs: number | null;
}

const ALERT_IDS = '0b9c2f0e-8f5d-5c6e-9a86-5e1a0d3f7c21';

const openAlert = (condition: AlertCondition, nowMs: number): Alert => ({
  ...condition,
  alertId: deriveUuid(ALERT_IDS, `${alertKey(condition)} ${nowMs}`),
  state: 'pending',
  sinceMs: nowMs,
  lastSeenMs: nowMs,
  firedAtMs: null,
  acknowledged: null,
  resolvedAtMs: null,
});

function seen(alert: Alert, condition: AlertCondition, nowMs: number): Alert {
  const fires = nowMs - alert.sinceMs >= ALERTS[alert.code].forMs;
  const state = nextAlertState(alert.state, fires ? 'fire' : 'hold');
  const firedAtMs = state === 'firing' && alert.state === 'pending' ? nowMs : alert.firedAtMs;
  return { ...alert, params: condition.params, state, firedAtMs, lastSeenMs: nowMs };
}

function unseen(alert: Alert, nowMs: number): Alert {
  if (nowMs - alert.lastSeenMs < ALERTS[alert.code].clearMs) return alert;
  return { ...alert, state: nextAlertState(alert.state, 'clear'), resolvedAtMs: nowMs };
}

export interface AlertStep {
  /** Every open alert afterwards, and those that were resolved by this step. Store them. */
  readonly alerts: readonly Alert[];
  /** Pending alerts whose condition is over before they fired. Delete them. */
  readonly dropped: readonly string[];
}

/** The next states of all open alerts, given the conditions that hold now. Resolved alerts are not passed in again. */
export function stepAlerts(open: readonly Alert[], conditions: readonly AlertCondition[], nowMs: number): AlertStep {
  const holding = new Map(conditions.map((condition) => [alertKey(condition), condition]));
  const known = new Set(open.map(alertKey));
  const stepped = open.map((alert) => {
    const condition = holding.get(alertKey(alert));
    return condition === undefined ? unseen(alert, nowMs) : seen(alert, condition, nowMs);
  });
  const opened = [...holding.values()]
    .filter((condition) => !known.has(alertKey(condition)))
    .map((condition) => seen(openAlert(condition, nowMs), condition, nowMs));
  const isDropped = ({ state, firedAtMs }: Alert): boolean => state === 'resolved' && firedAtMs === null;
  const all = [...stepped, ...opened];
  return {
    alerts: all.filter((alert) => !isDropped(alert)),
    dropped: all.filter(isDropped).map(({ alertId }) => alertId),
  };
}

/** A person takes an alert. Alerts that do not fire stay as they are. */
export function acknowledge(alert: Alert, by: string, note: string | null, nowMs: number): Alert {
  if (alert.state !== 'firing') return alert;
  return { ...alert, state: nextAlertState(alert.state, 'acknowledge'), acknowledged: { by, atMs: nowMs, note } };
}
