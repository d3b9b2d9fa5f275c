import { type Finding, makeFinding, type Subject } from '@lastgood/protocol';
import { formatDuration } from '../duration.ts';
import { unreachable } from '../failure.ts';
import type { StatusReason } from './target-status.ts';

/** Who a reason is about: a target, or one database of it, on a host. */
export interface StatusSubjects {
  readonly host: Subject;
  readonly subject: Subject;
}

const iso = (atMs: number): string => new Date(atMs).toISOString();
const seconds = (ms: number): string => formatDuration(Math.max(1000, ms));
const backup = (name: string): Subject => ({ kind: 'backup', name });

type BackupReason = Extract<StatusReason, { readonly backupId: string }>;

/** The finding of a reason about one backup. */
function backupFinding(reason: BackupReason, { subject }: StatusSubjects): Finding {
  switch (reason.code) {
    case 'newest_backup_bad':
      return makeFinding('NEWEST_BACKUP_BAD', backup(reason.backupId), { of: subject.name });
    case 'newest_backup_missing':
      return makeFinding('NEWEST_BACKUP_MISSING', backup(reason.backupId), { of: subject.name });
    case 'newest_backup_suspect':
      return makeFinding('NEWEST_BACKUP_SUSPECT', backup(reason.backupId), { of: subject.name });
    case 'never_restore_tested':
      return makeFinding('NEVER_RESTORE_TESTED', subject, { backup: reason.backupId });
    case 'restore_test_of_older_backup': {
      const { backupId, testedBackupId } = reason;
      return makeFinding('RESTORE_TEST_OF_OLDER_BACKUP', subject, { backup: backupId, tested: testedBackupId });
    }
    default:
      return unreachable(reason);
  }
}

type AgeReason = Exclude<
  Extract<
    StatusReason,
    { readonly exposureMs: number } | { readonly restoreMs: number } | { readonly maxAgeMs: number }
  >,
  BackupReason
>;

/** The finding of a reason about a number and its limit. */
function numberFinding(reason: AgeReason, { subject }: StatusSubjects): Finding {
  switch (reason.code) {
    case 'max_age_exceeded': {
      const { exposureMs, maxAgeMs } = reason;
      return makeFinding('RECOVERY_POINT_TOO_OLD', subject, { age: seconds(exposureMs), limit: seconds(maxAgeMs) });
    }
    case 'rpo_missed':
      return makeFinding('RPO_MISSED', subject, { age: seconds(reason.exposureMs), rpo: seconds(reason.rpoMs) });
    case 'rpo_at_risk':
      return makeFinding('RPO_AT_RISK', subject, { age: seconds(reason.exposureMs), rpo: seconds(reason.rpoMs) });
    case 'rto_missed':
      return makeFinding('RTO_MISSED', subject, { time: seconds(reason.restoreMs), rto: seconds(reason.rtoMs) });
    case 'rto_at_risk':
      return makeFinding('RTO_AT_RISK', subject, { time: seconds(reason.restoreMs), rto: seconds(reason.rtoMs) });
    case 'restore_test_missing':
      return makeFinding('RESTORE_TEST_MISSING', subject, { limit: seconds(reason.maxAgeMs) });
    case 'restore_test_stale':
      return makeFinding('RESTORE_TEST_STALE', subject, {
        age: seconds(reason.ageMs),
        limit: seconds(reason.maxAgeMs),
      });
    default:
      return unreachable(reason);
  }
}

/** The finding that shows a reason to people. `offlineSince` is when the host was last connected. */
export function findingOfReason(reason: StatusReason, subjects: StatusSubjects, offlineSinceMs: number): Finding {
  const { host, subject } = subjects;
  switch (reason.code) {
    case 'not_reported':
      return makeFinding('TARGET_NOT_REPORTED', subject);
    case 'no_recovery_point':
      return makeFinding('NO_RECOVERY_POINT', subject);
    case 'nothing_to_protect':
      return makeFinding('NO_DATABASE_TO_PROTECT', subject);
    case 'no_policy':
      return makeFinding('NO_POLICY', subject);
    case 'first_backup_pending':
      return makeFinding('FIRST_BACKUP_PENDING', subject);
    case 'host_offline':
      return makeFinding('HOST_OFFLINE', host, { since: iso(offlineSinceMs) });
    case 'host_never_connected':
      return makeFinding('HOST_NEVER_CONNECTED', host);
    case 'host_quarantined':
      return makeFinding('HOST_QUARANTINED', host);
    case 'last_attempt_failed': {
      const { command, atMs, sinceMs, cause } = reason;
      const times = { at: iso(atMs), since: iso(sinceMs) };
      return makeFinding('LAST_ATTEMPT_FAILED', subject, { command, ...times, cause: cause ?? 'unknown cause' });
    }
    case 'reported_error':
      return reason.finding;
    case 'stream_stopped':
      return makeFinding('LOG_STREAM_STOPPED', subject);
    case 'stream_gap':
      return makeFinding('LOG_STREAM_GAP', subject);
    case 'newest_backup_bad':
    case 'newest_backup_missing':
    case 'newest_backup_suspect':
    case 'never_restore_tested':
    case 'restore_test_of_older_backup':
      return backupFinding(reason, subjects);
    default:
      return numberFinding(reason, subjects);
  }
}
