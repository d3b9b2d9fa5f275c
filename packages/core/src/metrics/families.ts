import type { AlertCode } from '../alerts/codes.ts';
import { TARGET_STATES, type TargetState } from '../objectives/target-status.ts';
import type { OccurrenceState } from '../schedules/occurrence-state.ts';
import type { MetricFamily, Sample } from './exposition.ts';

/** What is measured of one target. Instants and durations in ms; null where nothing is known, which gives no sample. */
export interface TargetMetrics {
  readonly environment: string;
  readonly host: string;
  readonly target: string;
  readonly engine: string;
  readonly state: TargetState;
  readonly recoveryPointMs: number | null;
  readonly lastBackup: {
    /** When the newest good backup was finished. */
    readonly finishedMs: number;
    readonly sizeBytes: number;
    readonly durationMs: number;
  } | null;
  readonly lastAttempt: { readonly atMs: number; readonly succeeded: boolean } | null;
  readonly restoreTest: { readonly atMs: number; readonly level: number } | null;
  readonly restoreTime: { readonly ms: number; readonly basis: 'measured' | 'estimated' } | null;
  readonly rpoMs: number | null;
  readonly rtoMs: number | null;
  readonly logLagMs: number | null;
}
export interface HostMetrics {
  readonly environment: string;
  readonly host: string;
  readonly isOnline: boolean;
  readonly clockSkewMs: number | null;
}
export interface RepositoryMetrics {
  readonly environment: string;
  readonly host: string;
  readonly repository: string;
  readonly freeBytes: number | null;
  readonly totalBytes: number | null;
}
export interface FleetMetrics {
  readonly version: string;
  /** When the planner last ran: a control plane whose loop stands still shows it. */
  readonly lastTickMs: number;
  readonly targets: readonly TargetMetrics[];
  readonly hosts: readonly HostMetrics[];
  readonly repositories: readonly RepositoryMetrics[];
  /** Jobs that have ended since the catalog exists. */
  readonly jobs: readonly { readonly command: string; readonly result: string; readonly count: number }[];
  /** Occurrences that were due in the last seven days. */
  readonly occurrences: Readonly<Record<OccurrenceState, number>>;
  readonly alerts: readonly { readonly code: AlertCode; readonly severity: string; readonly count: number }[];
  readonly undeliveredNotifications: number;
}

interface Row<T> {
  readonly labels: Readonly<Record<string, string>>;
  readonly of: T;
}
type Read<T> = (of: T) => number | null | undefined;

function* samplesOf<T>(rows: readonly Row<T>[], read: Read<T>): Generator<Sample> {
  for (const { labels, of } of rows) {
    const value = read(of);
    if (value != null) yield { labels, value };
  }
}
const gauges =
  <T>(rows: readonly Row<T>[]) =>
  (name: string, help: string, read: Read<T>): MetricFamily => ({
    name,
    type: 'gauge',
    help,
    samples: samplesOf(rows, read),
  });

const seconds = (ms: number | null | undefined): number | null => (ms == null ? null : ms / 1000);
const HOUR_MS = 3_600_000;

/**
 * The four names of the founding document, exactly. They are served beside the `lastgood_*` names because alerts exist that use them. An
 * age without a backup is infinite, so that "older than 24 h" is true.
 */
function foundingFamilies(rows: readonly Row<TargetMetrics>[], nowMs: number): MetricFamily[] {
  const gauge = gauges(rows);
  return [
    gauge('backup_age_hours', 'Age of the newest good backup in hours.', ({ lastBackup }) =>
      lastBackup === null ? Number.POSITIVE_INFINITY : (nowMs - lastBackup.finishedMs) / HOUR_MS,
    ),
    gauge('backup_size_bytes', 'Size of the newest good backup before compression.', (of) => of.lastBackup?.sizeBytes),
    gauge('backup_duration_seconds', 'How long the newest good backup took.', (of) =>
      seconds(of.lastBackup?.durationMs),
    ),
    gauge(
      'backup_success',
      'Whether the last attempt to take a backup succeeded (1) or failed (0).',
      ({ lastAttempt }) => (lastAttempt?.succeeded === true ? 1 : 0),
    ),
  ];
}

function targetFamilies(rows: readonly Row<TargetMetrics>[]): MetricFamily[] {
  const gauge = gauges(rows);
  const states = TARGET_STATES.map((state, index) => `${index} ${state}`).join(', ');
  return [
    gauge('lastgood_target_state', `State of the target: ${states}.`, ({ state }) => TARGET_STATES.indexOf(state)),
    gauge('lastgood_recovery_point_timestamp_seconds', 'The newest instant that a restore can bring back.', (of) =>
      seconds(of.recoveryPointMs),
    ),
    gauge('lastgood_rpo_seconds', 'Objective: at most this much time of data may be lost.', (of) => seconds(of.rpoMs)),
    gauge('lastgood_rto_seconds', 'Objective: a restore may take at most this long.', (of) => seconds(of.rtoMs)),
    gauge('lastgood_backup_last_success_timestamp_seconds', 'When the newest good backup was finished.', (of) =>
      seconds(of.lastBackup?.finishedMs),
    ),
    gauge('lastgood_backup_last_attempt_timestamp_seconds', 'When the last backup was attempted.', (of) =>
      seconds(of.lastAttempt?.atMs),
    ),
    gauge('lastgood_backup_success', 'Whether the last attempt to take a backup succeeded (1) or failed (0).', (of) =>
      of.lastAttempt === null ? null : Number(of.lastAttempt.succeeded),
    ),
    gauge(
      'lastgood_backup_size_bytes',
      'Size of the newest good backup before compression.',
      (of) => of.lastBackup?.sizeBytes,
    ),
    gauge('lastgood_backup_duration_seconds', 'How long the newest good backup took.', (of) =>
      seconds(of.lastBackup?.durationMs),
    ),
    gauge('lastgood_restore_test_timestamp_seconds', 'When a backup was last restore-tested.', (of) =>
      seconds(of.restoreTest?.atMs),
    ),
    gauge('lastgood_restore_test_level', 'Level of the last restore test (4 to 6).', (of) => of.restoreTest?.level),
    gauge('lastgood_log_lag_seconds', 'How far the log stream is behind the server.', (of) => seconds(of.logLagMs)),
  ];
}

/** Has a label of its own, so that measured and estimated times are never mixed up. */
const restoreTimes = (rows: readonly Row<TargetMetrics>[]): MetricFamily =>
  gauges(rows.map(({ labels, of }) => ({ labels: { ...labels, basis: of.restoreTime?.basis ?? 'unknown' }, of })))(
    'lastgood_restore_time_seconds',
    'How long a restore takes, measured or estimated.',
    (of) => seconds(of.restoreTime?.ms),
  );

function hostFamilies({ hosts, repositories }: FleetMetrics): MetricFamily[] {
  const host = gauges(hosts.map((of) => ({ labels: { environment: of.environment, host: of.host }, of })));
  const repository = gauges(
    repositories.map((of) => ({
      labels: { environment: of.environment, host: of.host, repository: of.repository },
      of,
    })),
  );
  return [
    host('lastgood_agent_connected', 'Whether the agent of the host is connected.', (of) => Number(of.isOnline)),
    host(
      'lastgood_agent_clock_skew_seconds',
      'By how much the clock of the host is ahead of the control plane.',
      (of) => seconds(of.clockSkewMs),
    ),
    repository('lastgood_repository_free_bytes', 'Free space of the repository.', (of) => of.freeBytes),
    repository('lastgood_repository_size_bytes', 'Size of the medium of the repository.', (of) => of.totalBytes),
  ];
}

function fleetFamilies(metrics: FleetMetrics): MetricFamily[] {
  const one = (name: string, help: string, value: number, labels: Record<string, string> = {}): MetricFamily => ({
    name,
    type: 'gauge',
    help,
    samples: [{ labels, value }],
  });
  return [
    one('lastgood_build_info', 'Version of the control plane.', 1, { version: metrics.version }),
    one('lastgood_last_tick_timestamp_seconds', 'When the planner last ran.', metrics.lastTickMs / 1000),
    {
      name: 'lastgood_jobs_total',
      type: 'counter',
      help: 'Jobs that have ended.',
      samples: metrics.jobs.map(({ command, result, count }) => ({ labels: { command, result }, value: count })),
    },
    {
      name: 'lastgood_occurrences',
      type: 'gauge',
      help: 'Scheduled runs that were due in the last seven days, by state. Runs of offline hosts count.',
      samples: Object.entries(metrics.occurrences).map(([state, value]) => ({ labels: { state }, value })),
    },
    {
      name: 'lastgood_alerts_firing',
      type: 'gauge',
      help: 'Alerts that fire, acknowledged ones included.',
      samples: metrics.alerts.map(({ code, severity, count }) => ({ labels: { code, severity }, value: count })),
    },
    one(
      'lastgood_notifications_undelivered',
      'Notifications that wait for delivery or were given up.',
      metrics.undeliveredNotifications,
    ),
  ];
}

export interface MetricOptions {
  readonly nowMs: number;
  /** Also the four names of the founding document. `promtool check metrics` rejects hours as a unit. */
  readonly withFoundingNames: boolean;
}

/** All metrics of a fleet. No label holds the id of a backup or a job: each would be a new series. */
export function metricFamilies(metrics: FleetMetrics, { nowMs, withFoundingNames }: MetricOptions): MetricFamily[] {
  const rows = metrics.targets.map((of) => ({
    labels: { environment: of.environment, host: of.host, target: of.target, engine: of.engine },
    of,
  }));
  return [
    ...(withFoundingNames ? foundingFamilies(rows, nowMs) : []),
    ...fleetFamilies(metrics),
    ...hostFamilies(metrics),
    ...targetFamilies(rows),
    restoreTimes(rows),
  ];
}
