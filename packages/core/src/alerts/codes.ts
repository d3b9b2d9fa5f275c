/** `critical`: data could be lost, or cannot be restored in time · `warning`: it will come to that if nobody acts. */
export type AlertSeverity = 'critical' | 'warning';

export interface AlertDefinition {
  readonly severity: AlertSeverity;
  /** What it is about; an alert names one such subject. */
  readonly subject: 'target' | 'host' | 'repository' | 'fleet';
  /** How long the condition must hold before the alert fires. */
  readonly forMs: number;
  /** How long the condition must be over before the alert is resolved, so that it does not flap. */
  readonly clearMs: number;
  readonly title: string;
}

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const once = { forMs: 0, clearMs: 0 };
const steady = { forMs: 5 * MINUTE_MS, clearMs: 5 * MINUTE_MS };

/** Every alert by its code. Codes are stable: rules, silences and scripts name them. */
export const ALERTS = {
  // Ages are whole hours in the field's scripts, so "older than 24 h" begins when the 25th hour is full.
  backup_age: { ...once, forMs: HOUR_MS, severity: 'critical', subject: 'target', title: 'newest backup is too old' },
  backup_size_change: { ...once, severity: 'warning', subject: 'target', title: 'size of the newest backup changed' },
  backup_duration: { ...once, severity: 'warning', subject: 'target', title: 'backup took too long' },
  backup_failed: { ...once, severity: 'critical', subject: 'target', title: 'last backup failed' },
  newest_backup_unusable: {
    ...once,
    severity: 'critical',
    subject: 'target',
    title: 'newest backup is bad or missing',
  },
  target_error: { ...steady, severity: 'critical', subject: 'target', title: 'agent reports an error of the target' },
  occurrence_missed: { ...once, severity: 'critical', subject: 'target', title: 'scheduled run did not take place' },
  rpo_missed: {
    ...steady,
    severity: 'critical',
    subject: 'target',
    title: 'more data would be lost than the RPO allows',
  },
  rto_missed: { ...once, severity: 'critical', subject: 'target', title: 'a restore takes longer than the RTO allows' },
  agent_offline: { ...once, severity: 'critical', subject: 'host', title: 'agent is offline' },
  log_gap: { ...once, severity: 'critical', subject: 'target', title: 'log stream has a gap' },
  log_lag: { ...steady, severity: 'warning', subject: 'target', title: 'log stream lags behind' },
  verification_failed: { ...once, severity: 'critical', subject: 'target', title: 'verification found a bad backup' },
  verification_stale: { ...once, severity: 'warning', subject: 'target', title: 'last restore test is too old' },
  last_tested_backup_expiring: {
    ...once,
    severity: 'warning',
    subject: 'target',
    title: 'last restore-tested backup is about to be rotated',
  },
  repository_space: {
    ...steady,
    severity: 'warning',
    subject: 'repository',
    title: 'repository is running out of space',
  },
  repository_unreachable: {
    ...steady,
    severity: 'critical',
    subject: 'repository',
    title: 'repository is unreachable',
  },
  clock_skew: { ...steady, severity: 'warning', subject: 'host', title: 'clock differs from the control plane' },
  token_expiring: { ...once, severity: 'warning', subject: 'fleet', title: 'token expires soon' },
  certificate_expiring: { ...once, severity: 'warning', subject: 'host', title: 'certificate expires soon' },
  catalog_backup_old: { ...once, severity: 'warning', subject: 'fleet', title: 'catalog has no recent backup' },
  drill_failed: { ...once, severity: 'critical', subject: 'fleet', title: 'last drill failed' },
  drill_overdue: { ...steady, severity: 'warning', subject: 'fleet', title: 'scheduled drill did not start' },
  drill_rto_missed: { ...once, severity: 'warning', subject: 'fleet', title: 'last drill took longer than the RTO' },
  catalog_forked: {
    ...once,
    severity: 'critical',
    subject: 'fleet',
    title: 'another control plane, or a newer copy of this catalog, has served agents',
  },
  notification_failed: { ...once, severity: 'warning', subject: 'fleet', title: 'notification could not be delivered' },
} as const satisfies Record<string, AlertDefinition>;

export type AlertCode = keyof typeof ALERTS;
export const ALERT_CODES = Object.keys(ALERTS) as [AlertCode, ...AlertCode[]];
