import { ALERTS, type AlertCode } from './codes.ts';

/** What an alert is about. */
export type AlertSubject =
  | { readonly kind: 'target'; readonly environment: string; readonly host: string; readonly target: string }
  | { readonly kind: 'host'; readonly environment: string; readonly host: string }
  | { readonly kind: 'repository'; readonly environment: string; readonly host: string; readonly repository: string }
  /** The control plane itself or one of its parts: a token, a contact, the catalog. */
  | { readonly kind: 'fleet'; readonly name: string };

/** A condition that holds now. It becomes an alert when it holds long enough. */
export interface AlertCondition {
  readonly code: AlertCode;
  readonly subject: AlertSubject;
  /** Numbers and names for the text; durations in ms. */
  readonly params: Readonly<Record<string, string | number | null>>;
}

/** The subject as text: `prod/db-1/shop`. */
export function subjectName(subject: AlertSubject): string {
  switch (subject.kind) {
    case 'target':
      return `${subject.environment}/${subject.host}/${subject.target}`;
    case 'host':
      return `${subject.environment}/${subject.host}`;
    case 'repository':
      return `${subject.environment}/${subject.host} repository ${subject.repository}`;
    case 'fleet':
      return subject.name;
  }
}

/** Null for alerts of the control plane, which belong to no environment. */
export const environmentOf = (subject: AlertSubject): string | null =>
  subject.kind === 'fleet' ? null : subject.environment;

/** There is at most one open alert of a key. */
export const alertKey = ({ code, subject }: Pick<AlertCondition, 'code' | 'subject'>): string =>
  `${code} ${subject.kind} ${subjectName(subject)}`;

export const severityOf = (code: AlertCode): 'critical' | 'warning' => ALERTS[code].severity;
