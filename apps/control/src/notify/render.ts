import { ALERTS, type Alert, describeAlert, type Notification, severityOf, subjectName } from '@lastgood/core/alerts';
import type { OutgoingMessage } from './sender.ts';

/** Alerts that a message lists; a fleet that is down as a whole must still fit into one. */
const MAX_LISTED = 50;

const escapeHtml = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

const instant = (ms: number | null): string =>
  ms === null
    ? '-'
    : new Date(ms)
        .toISOString()
        .replace('T', ' ')
        .replace(/:\d\d\.\d{3}Z$/, '+00');

function subjectLine({ environment, kind, firing, resolved, isEscalation }: Notification): string {
  const scope = environment ?? 'Lastgood';
  const prefix = isEscalation ? `[${scope}] escalated: ` : `[${scope}] `;
  if (kind === 'resolved') return `${prefix}resolved: ${nameAlerts(resolved)}`;
  return `${prefix}${kind === 'repeat' ? 'still firing: ' : ''}${nameAlerts(firing)}`;
}

/** One alert in full, several by their number and the first. */
function nameAlerts(alerts: readonly Alert[]): string {
  const [first] = alerts;
  if (first === undefined) return 'nothing';
  const name = `${subjectName(first.subject)}: ${ALERTS[first.code].title}`;
  return alerts.length === 1 ? name : `${alerts.length} alerts, first ${name}`;
}

const remarkOf = ({ state, acknowledged, firedAtMs }: Alert): string =>
  state === 'acknowledged'
    ? `acknowledged by ${acknowledged?.by ?? '-'} at ${instant(acknowledged?.atMs ?? null)}`
    : `since ${instant(firedAtMs)}`;

interface Section {
  readonly title: string;
  readonly lines: readonly string[];
}
function sectionsOf({ firing, resolved }: Notification): Section[] {
  const list = (alerts: readonly Alert[], line: (alert: Alert) => string): string[] => {
    const more = alerts.length - MAX_LISTED;
    return [...alerts.slice(0, MAX_LISTED).map(line), ...(more > 0 ? [`and ${more} more`] : [])];
  };
  const all = [
    {
      title: 'Firing',
      lines: list(
        firing,
        (alert) => `${severityOf(alert.code)}  ${describeAlert(alert)}  [${alert.code}, ${remarkOf(alert)}]`,
      ),
    },
    { title: 'Resolved', lines: list(resolved, (alert) => `${describeAlert(alert)}  [${alert.code}]`) },
  ];
  return all.filter(({ lines }) => lines.length > 0);
}

const toJson = (alert: Alert): Record<string, unknown> => ({
  alertId: alert.alertId,
  code: alert.code,
  severity: severityOf(alert.code),
  state: alert.state,
  subject: alert.subject,
  params: alert.params,
  text: describeAlert(alert),
  firedAt: alert.firedAtMs === null ? null : new Date(alert.firedAtMs).toISOString(),
  acknowledgedBy: alert.acknowledged?.by ?? null,
});

function pageOf(sections: readonly Section[], footer: readonly string[]): Pick<OutgoingMessage, 'text' | 'html'> {
  const text = [
    ...sections.flatMap(({ title, lines }) => [title, ...lines.map((line) => `  ${line}`), '']),
    ...footer,
  ].join('\n');
  const html = [
    '<!doctype html><html><body>',
    ...sections.map(
      ({ title, lines }) =>
        `<h3>${escapeHtml(title)}</h3><ul>${lines.map((line) => `<li>${escapeHtml(line)}</li>`).join('')}</ul>`,
    ),
    ...footer.map((line) => `<p>${escapeHtml(line)}</p>`),
    '</body></html>',
  ].join('\n');
  return { text: `${text}\n`, html };
}

/**
 * A notification as it is sent. Holds names, codes, numbers and instants only: nothing that a server or a tool wrote, and no secret.
 */
export function renderNotification(notification: Notification, baseUrl: string | null): OutgoingMessage {
  const { messageId, threadId, environment, contact, kind, firing, resolved, isEscalation } = notification;
  const footer = [
    ...(baseUrl === null ? [] : [`${baseUrl.replace(/\/+$/, '')}/alerts`]),
    `Sent to contact ${contact}. Acknowledge: lastgood alerts ack.`,
  ];
  return {
    messageId,
    threadId,
    subject: subjectLine(notification),
    ...pageOf(sectionsOf(notification), footer),
    payload: {
      version: 1,
      type: `alerts.${kind}`,
      messageId,
      environment,
      contact,
      isEscalation,
      firing: firing.slice(0, MAX_LISTED).map(toJson),
      firingCount: firing.length,
      resolved: resolved.slice(0, MAX_LISTED).map(toJson),
      resolvedCount: resolved.length,
    },
  };
}

/** What `contacts test` sends: a message that says that the way works. */
export function renderTestMessage(contact: string, messageId: string, nowMs: number): OutgoingMessage {
  const lines = [`This is a test of contact ${contact}, sent at ${instant(nowMs)}.`, 'Nothing has happened.'];
  return {
    messageId,
    threadId: messageId,
    subject: `[Lastgood] test of contact ${contact}`,
    ...pageOf([], lines),
    payload: { version: 1, type: 'test', messageId, contact, sentAt: new Date(nowMs).toISOString() },
  };
}
