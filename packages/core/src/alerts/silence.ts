import type { Alert } from './alert-state.ts';
import type { AlertCode } from './codes.ts';
import type { AlertSubject } from './condition.ts';

/** Keeps the notifications of matching alerts back until its end. The alerts stay visible. */
export interface Silence {
  readonly silenceId: string;
  /** All keys that are given must match. At least one is. */
  readonly match: {
    readonly code?: AlertCode;
    readonly environment?: string;
    readonly host?: string;
    readonly target?: string;
  };
  readonly reason: string;
  readonly createdBy: string;
  readonly startsMs: number;
  readonly endsMs: number;
}

/** A host, or one target of it, is being worked on: nothing about it is notified until then. */
export interface Maintenance {
  readonly environment: string;
  readonly host: string;
  /** Null: the whole host. */
  readonly target: string | null;
  readonly untilMs: number;
  readonly reason: string;
}

const partOf = (subject: AlertSubject, key: 'environment' | 'host' | 'target'): string | undefined =>
  new Map<string, string>(Object.entries(subject)).get(key);

function matches({ match }: Silence, { code, subject }: Alert): boolean {
  const { code: wanted, ...parts } = match;
  if (wanted !== undefined && wanted !== code) return false;
  return (['environment', 'host', 'target'] as const).every(
    (key) => parts[key] === undefined || parts[key] === partOf(subject, key),
  );
}

function isMaintained({ environment, host, target }: Maintenance, { subject }: Alert): boolean {
  if (partOf(subject, 'environment') !== environment || partOf(subject, 'host') !== host) return false;
  return target === null || target === partOf(subject, 'target');
}

export interface Muting {
  readonly silences: readonly Silence[];
  readonly maintenances: readonly Maintenance[];
}

/** Why nobody is notified of an alert now, and until when; null when its notifications are sent. */
export function mutedBy(
  alert: Alert,
  { silences, maintenances }: Muting,
  nowMs: number,
): { readonly kind: 'silence' | 'maintenance'; readonly reason: string; readonly untilMs: number } | null {
  const maintenance = maintenances.find((each) => nowMs < each.untilMs && isMaintained(each, alert));
  if (maintenance !== undefined)
    return { kind: 'maintenance', reason: maintenance.reason, untilMs: maintenance.untilMs };
  const silence = silences.find((each) => nowMs >= each.startsMs && nowMs < each.endsMs && matches(each, alert));
  return silence === undefined ? null : { kind: 'silence', reason: silence.reason, untilMs: silence.endsMs };
}
