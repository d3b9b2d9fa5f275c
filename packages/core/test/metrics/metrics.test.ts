import { spawnSync } from 'node:child_process';
import { findPromtool } from '@lastgood/testkit';
import { describe, expect, test } from 'vitest';
import { type FleetMetrics, metricFamilies, renderExposition, type TargetMetrics } from '../../src/metrics/index.ts';

const NOW = Date.parse('2027-06-01T12:00:00Z');
const HOUR = 3_600_000;
const target = (more: Partial<TargetMetrics> = {}): TargetMetrics => ({
  environment: 'prod',
  host: 'db-1',
  target: 'postgres',
  engine: 'postgres',
  state: 'protected',
  recoveryPointMs: NOW - HOUR,
  lastBackup: { finishedMs: NOW - 1.5 * HOUR, sizeBytes: 1024, durationMs: 90_500 },
  lastAttempt: { atMs: NOW - HOUR, succeeded: true },
  restoreTest: { atMs: NOW - 24 * HOUR, level: 6 },
  restoreTime: { ms: 60_000, basis: 'measured' },
  rpoMs: HOUR,
  rtoMs: 4 * HOUR,
  logLagMs: 250,
  ...more,
});
const fleet = (more: Partial<FleetMetrics> = {}): FleetMetrics => ({
  version: '0.1.0',
  lastTickMs: NOW,
  targets: [target()],
  hosts: [{ environment: 'prod', host: 'db-1', isOnline: true, clockSkewMs: -20 }],
  repositories: [{ environment: 'prod', host: 'db-1', repository: 'local', freeBytes: 5, totalBytes: 10 }],
  jobs: [{ command: 'backup', result: 'succeeded', count: 7 }],
  occurrences: { expected: 0, running: 1, waiting: 0, succeeded: 40, failed: 1, missed: 2, skipped: 1 },
  alerts: [{ code: 'backup_failed', severity: 'critical', count: 1 }],
  undeliveredNotifications: 0,
  ...more,
});
const render = (metrics: FleetMetrics, withFoundingNames = true): string =>
  [...renderExposition(metricFamilies(metrics, { nowMs: NOW, withFoundingNames }))].join('');
const linesOf = (text: string, name: string): string[] =>
  text.split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));

test('serves the four names of the founding document exactly', () => {
  const labels = '{environment="prod",host="db-1",target="postgres",engine="postgres"}';
  const names = ['backup_age_hours', 'backup_size_bytes', 'backup_duration_seconds', 'backup_success'];
  const text = render(fleet());
  expect(names.flatMap((name) => linesOf(text, name))).toEqual([
    `backup_age_hours${labels} 1.5`,
    `backup_size_bytes${labels} 1024`,
    `backup_duration_seconds${labels} 90.5`,
    `backup_success${labels} 1`,
  ]);
});

test('a target without a backup is infinitely old and not successful, and has no size', () => {
  const text = render(fleet({ targets: [target({ state: 'none', lastBackup: null, lastAttempt: null })] }));
  const values = ['backup_age_hours', 'backup_success', 'backup_size_bytes', 'lastgood_backup_success'].map((name) =>
    linesOf(text, name).map((line) => line.split(' ').at(-1)),
  );
  expect(values).toEqual([['+Inf'], ['0'], [], []]);
});

test('the whole answer for one target', () => {
  expect(render(fleet(), false)).toMatchInlineSnapshot(`
    "# HELP lastgood_build_info Version of the control plane.
    # TYPE lastgood_build_info gauge
    lastgood_build_info{version="0.1.0"} 1
    # HELP lastgood_last_tick_timestamp_seconds When the planner last ran.
    # TYPE lastgood_last_tick_timestamp_seconds gauge
    lastgood_last_tick_timestamp_seconds 1811851200
    # HELP lastgood_jobs_total Jobs that have ended.
    # TYPE lastgood_jobs_total counter
    lastgood_jobs_total{command="backup",result="succeeded"} 7
    # HELP lastgood_occurrences Scheduled runs that were due in the last seven days, by state. Runs of offline hosts count.
    # TYPE lastgood_occurrences gauge
    lastgood_occurrences{state="expected"} 0
    lastgood_occurrences{state="running"} 1
    lastgood_occurrences{state="waiting"} 0
    lastgood_occurrences{state="succeeded"} 40
    lastgood_occurrences{state="failed"} 1
    lastgood_occurrences{state="missed"} 2
    lastgood_occurrences{state="skipped"} 1
    # HELP lastgood_alerts_firing Alerts that fire, acknowledged ones included.
    # TYPE lastgood_alerts_firing gauge
    lastgood_alerts_firing{code="backup_failed",severity="critical"} 1
    # HELP lastgood_notifications_undelivered Notifications that wait for delivery or were given up.
    # TYPE lastgood_notifications_undelivered gauge
    lastgood_notifications_undelivered 0
    # HELP lastgood_agent_connected Whether the agent of the host is connected.
    # TYPE lastgood_agent_connected gauge
    lastgood_agent_connected{environment="prod",host="db-1"} 1
    # HELP lastgood_agent_clock_skew_seconds By how much the clock of the host is ahead of the control plane.
    # TYPE lastgood_agent_clock_skew_seconds gauge
    lastgood_agent_clock_skew_seconds{environment="prod",host="db-1"} -0.02
    # HELP lastgood_repository_free_bytes Free space of the repository.
    # TYPE lastgood_repository_free_bytes gauge
    lastgood_repository_free_bytes{environment="prod",host="db-1",repository="local"} 5
    # HELP lastgood_repository_size_bytes Size of the medium of the repository.
    # TYPE lastgood_repository_size_bytes gauge
    lastgood_repository_size_bytes{environment="prod",host="db-1",repository="local"} 10
    # HELP lastgood_target_state State of the target: 0 none, 1 missed, 2 unknown, 3 at_risk, 4 pending, 5 protected.
    # TYPE lastgood_target_state gauge
    lastgood_target_state{environment="prod",host="db-1",target="postgres",engine="postgres"} 5
    # HELP lastgood_recovery_point_timestamp_seconds The newest instant that a restore can bring back.
    # TYPE lastgood_recovery_point_timestamp_seconds gauge
    lastgood_recovery_point_timestamp_seconds{environment="prod",host="db-1",target="postgres",engine="postgres"} 1811847600
    # HELP lastgood_rpo_seconds Objective: at most this much time of data may be lost.
    # TYPE lastgood_rpo_seconds gauge
    lastgood_rpo_seconds{environment="prod",host="db-1",target="postgres",engine="postgres"} 3600
    # HELP lastgood_rto_seconds Objective: a restore may take at most this long.
    # TYPE lastgood_rto_seconds gauge
    lastgood_rto_seconds{environment="prod",host="db-1",target="postgres",engine="postgres"} 14400
    # HELP lastgood_backup_last_success_timestamp_seconds When the newest good backup was finished.
    # TYPE lastgood_backup_last_success_timestamp_seconds gauge
    lastgood_backup_last_success_timestamp_seconds{environment="prod",host="db-1",target="postgres",engine="postgres"} 1811845800
    # HELP lastgood_backup_last_attempt_timestamp_seconds When the last backup was attempted.
    # TYPE lastgood_backup_last_attempt_timestamp_seconds gauge
    lastgood_backup_last_attempt_timestamp_seconds{environment="prod",host="db-1",target="postgres",engine="postgres"} 1811847600
    # HELP lastgood_backup_success Whether the last attempt to take a backup succeeded (1) or failed (0).
    # TYPE lastgood_backup_success gauge
    lastgood_backup_success{environment="prod",host="db-1",target="postgres",engine="postgres"} 1
    # HELP lastgood_backup_size_bytes Size of the newest good backup before compression.
    # TYPE lastgood_backup_size_bytes gauge
    lastgood_backup_size_bytes{environment="prod",host="db-1",target="postgres",engine="postgres"} 1024
    # HELP lastgood_backup_duration_seconds How long the newest good backup took.
    # TYPE lastgood_backup_duration_seconds gauge
    lastgood_backup_duration_seconds{environment="prod",host="db-1",target="postgres",engine="postgres"} 90.5
    # HELP lastgood_restore_test_timestamp_seconds When a backup was last restore-tested.
    # TYPE lastgood_restore_test_timestamp_seconds gauge
    lastgood_restore_test_timestamp_seconds{environment="prod",host="db-1",target="postgres",engine="postgres"} 1811764800
    # HELP lastgood_restore_test_level Level of the last restore test (4 to 6).
    # TYPE lastgood_restore_test_level gauge
    lastgood_restore_test_level{environment="prod",host="db-1",target="postgres",engine="postgres"} 6
    # HELP lastgood_log_lag_seconds How far the log stream is behind the server.
    # TYPE lastgood_log_lag_seconds gauge
    lastgood_log_lag_seconds{environment="prod",host="db-1",target="postgres",engine="postgres"} 0.25
    # HELP lastgood_restore_time_seconds How long a restore takes, measured or estimated.
    # TYPE lastgood_restore_time_seconds gauge
    lastgood_restore_time_seconds{environment="prod",host="db-1",target="postgres",engine="postgres",basis="measured"} 60
    "
  `);
});

describe('the text', () => {
  const family = (labels: Record<string, string>, value: number): string =>
    [...renderExposition([{ name: 'x', type: 'gauge', help: 'a \\ b\nc "d"', samples: [{ labels, value }] }])].join('');
  test('escapes help and labels', () => {
    expect(family({ name: 'a"b\\c\nd' }, 1)).toBe(
      '# HELP x a \\\\ b\\nc "d"\n# TYPE x gauge\nx{name="a\\"b\\\\c\\nd"} 1\n',
    );
  });
  test.for([
    [Number.NaN, 'NaN'],
    [Number.POSITIVE_INFINITY, '+Inf'],
    [Number.NEGATIVE_INFINITY, '-Inf'],
    [0.1, '0.1'],
    [1e21, '1e+21'],
  ] as const)('writes %d as %s', ([value, text]) => {
    expect(family({}, value).split('\n')[2]).toBe(`x ${text}`);
  });
  test('leaves out a family without samples', () => {
    expect([...renderExposition([{ name: 'x', type: 'gauge', help: 'h', samples: [] }])]).toEqual([]);
  });
});

describe('promtool', () => {
  const check = (text: string): { status: number | null; output: string } | undefined => {
    const promtool = findPromtool();
    if (promtool === undefined) return undefined;
    const { status, stdout, stderr } = spawnSync(promtool, ['check', 'metrics'], { input: text, encoding: 'utf8' });
    return { status, output: `${stdout}${stderr}` };
  };

  test('accepts every metric but those of the founding document', ({ skip }) => {
    const found = check(render(fleet(), false));
    if (found === undefined)
      return skip('promtool is not installed; npm test fetches it with apt-get download prometheus');
    expect(found).toEqual({ status: 0, output: '' });
  });

  test('reads the founding names as well, and rejects only the unit of the age', ({ skip }) => {
    const found = check(render(fleet()));
    if (found === undefined)
      return skip('promtool is not installed; npm test fetches it with apt-get download prometheus');
    expect(found).toEqual({
      status: 3,
      output: 'backup_age_hours use base unit "seconds" instead of "hours"\n',
    });
  });
});

test('2,000 targets are one string per family, not one per sample', () => {
  const targets = Array.from({ length: 2000 }, (_, index) => target({ host: `db-${index}` }));
  const parts = [...renderExposition(metricFamilies(fleet({ targets }), { nowMs: NOW, withFoundingNames: true }))];
  expect(parts.length).toBeLessThan(40);
  expect(linesOf(parts.join(''), 'lastgood_target_state')).toHaveLength(2000);
});
