import { deriveUuid } from '../schedules/derived-id.ts';
import type { Alert } from './alert-state.ts';
import { alertKey, environmentOf, severityOf } from './condition.ts';
import { type RoutingTable, routeOf } from './routing.ts';
import { type Muting, mutedBy } from './silence.ts';

/** The first notification of a group waits this long, so that what fails together is reported together. */
export const GROUP_WAIT_MS = 30_000;
/** Further alerts of a group that was notified wait until this long after the last notification. */
export const GROUP_INTERVAL_MS = 5 * 60_000;

/** What a contact was last notified of in one environment. Stored; null for `environment`: alerts of the control plane. */
export interface NotificationGroup {
  readonly environment: string | null;
  readonly contact: string;
  /** Notifications sent so far. The ids of messages are derived from it. */
  readonly sent: number;
  readonly lastSentMs: number;
  /** The first message since the group was last resolved: the others are shown as replies to it. */
  readonly threadId: string | null;
  /** The alerts that the contact knows to be firing. */
  readonly notified: readonly string[];
}

export interface Notification {
  /** Derived from group and number: a message that is planned again after a crash has the same id. */
  readonly messageId: string;
  readonly threadId: string;
  readonly environment: string | null;
  readonly contact: string;
  /** `repeat`: nothing is new, and alerts still fire · `resolved`: none fires any more. */
  readonly kind: 'firing' | 'repeat' | 'resolved';
  /** Critical ones first. Acknowledged alerts are listed as such. */
  readonly firing: readonly Alert[];
  /** Those that were resolved since the last notification. */
  readonly resolved: readonly Alert[];
  /** True when the contact gets one of them only because nobody has acknowledged it in time. */
  readonly isEscalation: boolean;
}

export interface NotificationInput {
  /** All open alerts, and the resolved ones that a group was notified of. */
  readonly alerts: readonly Alert[];
  readonly groups: readonly NotificationGroup[];
  readonly table: RoutingTable;
  readonly muting: Muting;
  readonly nowMs: number;
}

export interface NotificationPlan {
  readonly messages: readonly Notification[];
  /** The groups that changed. Store them together with the messages, in one transaction. */
  readonly groups: readonly NotificationGroup[];
}

interface Addressed {
  readonly alert: Alert;
  readonly contact: string;
  readonly isEscalation: boolean;
  readonly repeatMs: number;
}

/** Each alert once per contact that gets it now. */
function addressAlerts({ alerts, table, muting, nowMs }: NotificationInput): Addressed[] {
  const audible = alerts.filter(
    (alert) => alert.state !== 'pending' && alert.state !== 'resolved' && mutedBy(alert, muting, nowMs) === null,
  );
  return audible.flatMap((alert) => {
    const { contacts, repeatMs, escalate } = routeOf(alert, table);
    const isOverdue =
      escalate !== null && alert.state === 'firing' && nowMs - (alert.firedAtMs ?? nowMs) >= escalate.afterMs;
    const others = isOverdue ? escalate.contacts.filter((contact) => !contacts.includes(contact)) : [];
    return [
      ...contacts.map((contact) => ({ alert, contact, isEscalation: false, repeatMs })),
      ...others.map((contact) => ({ alert, contact, isEscalation: true, repeatMs })),
    ];
  });
}

const byImportance = (a: Alert, b: Alert): number => {
  const rank = ({ code }: Alert): number => (severityOf(code) === 'critical' ? 0 : 1);
  return rank(a) - rank(b) || (a.firedAtMs ?? 0) - (b.firedAtMs ?? 0) || (alertKey(a) < alertKey(b) ? -1 : 1);
};

const groupKey = (environment: string | null, contact: string): string => `${environment ?? ''}/${contact}`;
const MESSAGE_IDS = '5d6a4f60-2f4e-5a41-8a35-7e0f0f6d9b10';

type Kind = Notification['kind'];

/** Which notification a group gets now; undefined for none. */
function kindOf(
  group: NotificationGroup,
  active: readonly Addressed[],
  resolved: readonly Alert[],
  nowMs: number,
): Kind | undefined {
  // An escalated alert that was acknowledged is left to those who were notified before.
  const notified = new Set(group.notified);
  const isFiring = active.filter(({ alert }) => alert.state === 'firing');
  const fresh = isFiring.filter(({ alert }) => !notified.has(alert.alertId));
  const sinceLast = nowMs - group.lastSentMs;
  if (fresh.length > 0) {
    const firstMs = fresh.reduce((first, { alert }) => Math.min(first, alert.firedAtMs ?? nowMs), nowMs);
    const isDue = group.notified.length === 0 ? nowMs - firstMs >= GROUP_WAIT_MS : sinceLast >= GROUP_INTERVAL_MS;
    return isDue ? 'firing' : undefined;
  }
  if (active.length === 0) return resolved.length > 0 ? 'resolved' : undefined;
  if (isFiring.length === 0) return undefined;
  const repeatMs = isFiring.reduce((shortest, each) => Math.min(shortest, each.repeatMs), Number.POSITIVE_INFINITY);
  return sinceLast >= repeatMs ? 'repeat' : undefined;
}

function planGroup(
  group: NotificationGroup,
  active: readonly Addressed[],
  input: NotificationInput,
): { message: Notification | null; group: NotificationGroup } {
  const { alerts, muting, nowMs } = input;
  const before = new Set(group.notified);
  const open = new Set(alerts.filter(({ state }) => state !== 'resolved').map(({ alertId }) => alertId));
  const ended = alerts.filter(({ alertId, state }) => state === 'resolved' && before.has(alertId));
  const resolved = ended.filter((alert) => mutedBy(alert, muting, nowMs) === null).toSorted(byImportance);
  const kind = kindOf(group, active, resolved, nowMs);
  if (kind === undefined) {
    // Resolved ones are kept until they were reported; those that were silenced meanwhile, or deleted, are forgotten.
    const kept = new Set([...open, ...resolved.map(({ alertId }) => alertId)]);
    const notified = group.notified.filter((alertId) => kept.has(alertId));
    return { message: null, group: { ...group, notified, threadId: notified.length === 0 ? null : group.threadId } };
  }
  const { environment, contact, sent } = group;
  const messageId = deriveUuid(MESSAGE_IDS, `${groupKey(environment, contact)} ${sent + 1}`);
  const threadId = group.threadId ?? messageId;
  const firing = active.map(({ alert }) => alert).toSorted(byImportance);
  const isEscalation = active.some((each) => each.isEscalation && !before.has(each.alert.alertId));
  // Alerts that are silenced for now stay known, so that their end is not reported as something new.
  const stillKnown = group.notified.filter((alertId) => open.has(alertId));
  const notified = [...new Set([...stillKnown, ...firing.map(({ alertId }) => alertId)])];
  return {
    message: { messageId, threadId, environment, contact, kind, firing, resolved, isEscalation },
    group: { ...group, sent: sent + 1, lastSentMs: nowMs, threadId: notified.length === 0 ? null : threadId, notified },
  };
}

const isSame = (a: NotificationGroup, b: NotificationGroup): boolean => JSON.stringify(a) === JSON.stringify(b);

/**
 * What is sent to whom now. Alerts are grouped by environment and contact: one message when something new fires, repeated while it
 * fires and nobody has acknowledged it, and one when nothing fires any more.
 */
export function planNotifications(input: NotificationInput): NotificationPlan {
  const addressed = Map.groupBy(addressAlerts(input), ({ alert, contact }) =>
    groupKey(environmentOf(alert.subject), contact),
  );
  const known = new Map(input.groups.map((group) => [groupKey(group.environment, group.contact), group]));
  const fresh = [...addressed]
    .filter(([key]) => !known.has(key))
    .flatMap(([, [first]]): NotificationGroup[] =>
      first === undefined
        ? []
        : [
            {
              environment: environmentOf(first.alert.subject),
              contact: first.contact,
              sent: 0,
              lastSentMs: 0,
              threadId: null,
              notified: [],
            },
          ],
    );
  const planned = [...input.groups, ...fresh].map((before) => {
    // A contact that was removed from the fleet file is notified of nothing more, and knows nothing if it returns.
    if (!input.table.contacts.has(before.contact))
      return { before, message: null, group: { ...before, threadId: null, notified: [] } };
    return { before, ...planGroup(before, addressed.get(groupKey(before.environment, before.contact)) ?? [], input) };
  });
  return {
    messages: planned.flatMap(({ message }) => message ?? []),
    groups: planned.filter(({ before, group }) => !isSame(before, group)).map(({ group }) => group),
  };
}
