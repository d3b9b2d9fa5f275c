import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '@lastgood/core';
import type { Alert, Notification } from '@lastgood/core/alerts';
import type { Log } from '../../src/log.ts';
import type { OutgoingMessage } from '../../src/notify/sender.ts';

export const NOW = Date.parse('2027-06-01T12:00:00Z');
export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
export const never = new AbortController().signal;

export const clockAt = (now: number): Clock => ({ now: () => now, monotonic: () => now });

export const MESSAGE_ID = '2ed6657d-e927-568b-95e1-2665a8aea6a2';
export const message = (more: Partial<OutgoingMessage> = {}): OutgoingMessage => ({
  messageId: MESSAGE_ID,
  threadId: MESSAGE_ID,
  subject: '[prod] prod/db-1/shop: last backup failed',
  text: 'Firing\n  critical  prod/db-1/shop: last backup failed (NO_SPACE)\n',
  html: '<p>prod/db-1/shop</p>',
  payload: { version: 1, type: 'alerts.firing', firing: [{ code: 'backup_failed' }] },
  ...more,
});

export const alert = (more: Partial<Alert> = {}): Alert => ({
  alertId: 'a1',
  code: 'backup_failed',
  subject: { kind: 'target', environment: 'prod', host: 'db-1', target: 'shop' },
  params: { cause: 'NO_SPACE' },
  state: 'firing',
  sinceMs: NOW - MINUTE,
  lastSeenMs: NOW,
  firedAtMs: NOW - MINUTE,
  acknowledged: null,
  resolvedAtMs: null,
  ...more,
});
export const notification = (more: Partial<Notification> = {}): Notification => ({
  messageId: MESSAGE_ID,
  threadId: MESSAGE_ID,
  environment: 'prod',
  contact: 'dba',
  kind: 'firing',
  firing: [alert()],
  resolved: [],
  isEscalation: false,
  ...more,
});

/** Writes a file that only its owner can read, unless another mode is given. */
export async function secretFile(folder: string, name: string, content: string, mode = 0o600): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, content, { mode });
  return path;
}

/** Keeps what was logged, as text. */
export class LogBook implements Log {
  readonly lines: string[] = [];
  info(fields: object, text: string): void {
    this.lines.push(`info ${text} ${JSON.stringify(fields)}`);
  }
  warn(fields: object, text: string): void {
    this.lines.push(`warn ${text} ${JSON.stringify(fields)}`);
  }
  error(fields: object, text: string): void {
    this.lines.push(`error ${text} ${JSON.stringify(fields)}`);
  }
}
