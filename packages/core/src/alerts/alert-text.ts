import { formatDuration } from '../duration.ts';
import { ALERTS } from './codes.ts';
import { type AlertCondition, subjectName } from './condition.ts';

type Params = AlertCondition['params'];

const duration = (value: Params[string] | undefined): string =>
  typeof value === 'number'
    ? formatDuration(Math.round(Math.abs(value) / 60_000) * 60_000).replace(/^0s$/, 'under 1m')
    : 'unknown';
const instant = (value: Params[string] | undefined): string =>
  typeof value === 'number' ? new Date(value).toISOString().replace(/:\d\d\.\d{3}Z$/, 'Z') : 'unknown';
const bytes = (value: Params[string] | undefined): string =>
  typeof value === 'number' ? `${(value / 1024 ** 3).toFixed(1)} GiB` : 'unknown';

/** The database that the condition is about, when it is about one: `shop: `. */
const ofDatabase = (params: Params): string => (params['database'] == null ? '' : `${params['database']}: `);

/** What the condition is, in a few words; empty when the title says it all. */
function detailOf({ code, params }: AlertCondition): string {
  switch (code) {
    case 'backup_age':
      return params['ageMs'] == null
        ? `${ofDatabase(params)}there is no good backup`
        : `${duration(params['ageMs'])} old, limit ${duration(params['limitMs'])}`;
    case 'backup_size_change':
      return `${params['series']}: ${Number(params['percent']) > 0 ? '+' : ''}${params['percent']} %, limit ${params['limitPercent']} %`;
    case 'backup_duration':
      return `${duration(params['durationMs'])}, limit ${duration(params['limitMs'])}`;
    case 'backup_failed':
    case 'repository_unreachable':
    case 'notification_failed':
      return params['cause'] == null ? '' : String(params['cause']);
    case 'newest_backup_unusable':
      return `${ofDatabase(params)}backup ${params['backupId']} is ${params['state']}`;
    case 'target_error':
      return String(params['findings']);
    case 'occurrence_missed':
      return `${params['schedules']}, due ${instant(params['dueMs'])}`;
    case 'rpo_missed':
      return `${ofDatabase(params)}${duration(params['exposureMs'])} of data would be lost, RPO ${duration(params['rpoMs'])}`;
    case 'rto_missed':
      return `${ofDatabase(params)}${duration(params['restoreMs'])} ${params['basis']}, RTO ${duration(params['rtoMs'])}`;
    case 'agent_offline':
      return `${params['state']} since ${instant(params['sinceMs'])}`;
    case 'log_gap':
      return `${params['gaps']} gaps`;
    case 'log_lag':
      return `${duration(params['lagMs'])}, limit ${duration(params['limitMs'])}`;
    case 'verification_failed':
      return `backup ${params['backupId']}, level ${params['level']}`;
    case 'verification_stale':
      return params['ageMs'] == null
        ? `${ofDatabase(params)}there was none, limit ${duration(params['limitMs'])}`
        : `${ofDatabase(params)}${duration(params['ageMs'])} ago, limit ${duration(params['limitMs'])}`;
    case 'last_tested_backup_expiring':
      return `backup ${params['backupId']}${Number(params['inMs']) > 0 ? `, in ${duration(params['inMs'])}` : ''}`;
    case 'repository_space':
      return `${bytes(params['freeBytes'])} free`;
    case 'clock_skew':
      return `${Math.round(Number(params['skewMs']) / 1000)} s`;
    case 'token_expiring':
    case 'certificate_expiring':
      return `on ${instant(params['expiresMs'])}`;
    case 'drill_failed':
      return `run ${params['runId']}`;
    case 'drill_overdue':
      return `due ${instant(params['dueMs'])}`;
    case 'drill_rto_missed':
      return `${duration(params['durationMs'])}, RTO ${duration(params['rtoMs'])}`;
    case 'catalog_forked':
      return `last seen ${instant(params['seenMs'])}`;
    case 'catalog_backup_old':
      return `${duration(params['ageMs'])} old`;
  }
}

/** One line: `prod/db-1/shop: newest backup is too old (26h old, limit 24h)`. Holds no text of a server or a tool. */
export function describeAlert(alert: AlertCondition): string {
  const detail = detailOf(alert);
  return `${subjectName(alert.subject)}: ${ALERTS[alert.code].title}${detail === '' ? '' : ` (${detail})`}`;
}
