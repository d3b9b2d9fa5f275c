import type { FindingDefinition } from './finding-definition.ts';

/** The state of a host, a target or a repository. */
export const STATUS_FINDINGS = {
  AGENT_FILE_REFUSED: {
    severity: 'error',
    message: 'the changed agent file was refused, and the old one stays in force: {error}: {reason}',
    remedy: 'Correct the lines that the message names, then reload the agent (SIGHUP).',
  },
  BACKUP_UNREADABLE: {
    severity: 'warning',
    message: '{subject} is not listed: {error}: {reason}',
    remedy: 'Repair what the message names, or treat the backup as lost.',
  },
  COMPENSATION_FAILED: {
    severity: 'error',
    message:
      '{subject} is blocked: the step "{step}" of job {job} could not be taken back, and no job starts before it is: {error}: {reason}',
    remedy: 'Repair what the message names. The agent tries again by itself.',
  },
  DATABASES_NOT_LISTED: {
    severity: 'info',
    message: '{count:count} more databases are not listed here; a backup of the whole target holds them',
    remedy: null,
  },
  DATABASES_UNKNOWN: {
    severity: 'error',
    message: 'no database and no good backup is known',
    remedy: 'Back up the target.',
  },
  NO_DATABASE_TO_PROTECT: {
    severity: 'error',
    message: 'every database of {subject} is excluded from backups, or is gone from the server',
    remedy: 'Change `exclude` in the agent file, or remove the target there when it is no longer needed.',
  },
  FIRST_BACKUP_PENDING: {
    severity: 'info',
    message: '{subject} is new, and its first backup is not due yet',
    remedy: null,
  },
  COPIES_MISSING: {
    severity: 'warning',
    message: '{count:count} backups that are older than a day are not in the repository "{repository}"',
    remedy: 'Copy them with `lastgood copy`, or by a schedule `copy` of a policy.',
  },
  COPY_BAD: {
    severity: 'warning',
    message: 'the copy of {subject} in the repository "{repository}" is bad',
    remedy: 'Run `lastgood copy`: it replaces the damaged objects from a good copy.',
  },
  COPY_REPOSITORY_UNREADABLE: {
    severity: 'warning',
    message: 'the repository "{repository}" of copies cannot be read ({error}): {reason}',
    remedy: 'Run `lastgood agent check` on the host.',
  },
  HOST_NEVER_CONNECTED: {
    severity: 'error',
    message: 'the agent of this host has never connected',
    remedy: 'Start the agent on the host (`lastgood agent`) and read its log.',
  },
  HOST_OFFLINE: {
    severity: 'error',
    message: 'the host has been offline since {since}',
    remedy: 'Start the agent of the host (`lastgood agent`).',
  },
  HOST_QUARANTINED: {
    severity: 'error',
    message: 'two agents use the identity of this host, so neither may connect',
    remedy: 'Stop the copy. Enroll the host again: `lastgood tokens enroll --replace`, then `lastgood agent enroll`.',
  },
  HOST_WITHOUT_TARGETS: {
    severity: 'error',
    message: 'the host has reported no target',
    remedy: 'Name the database servers of the host under `targets` in its agent file.',
  },
  INVENTORY_TRUNCATED: {
    severity: 'info',
    message: 'databases, findings or labels of this target are left out here, because they are too many',
    remedy: null,
  },
  LAST_ATTEMPT_FAILED: {
    severity: 'error',
    message: 'the last {command} of {subject} failed at {at} ({cause}); none has succeeded since {since}',
    remedy: 'Find the cause with `lastgood jobs list` and `lastgood jobs show`, then repeat the command.',
  },
  LOG_STREAM_GAP: {
    severity: 'error',
    message: 'the log stream of {subject} has a gap',
    remedy: 'Take a new physical backup; points in time after the gap cannot be restored from the one before.',
  },
  LOG_STREAM_STOPPED: {
    severity: 'error',
    message: 'the log stream of {subject} does not run, though its policy requires it',
    remedy: 'Read the log of the agent.',
  },
  MESSAGES_TRANSLATED: {
    severity: 'info',
    message: 'the server reports errors in another language ({locale}), so failures here have less detail',
    remedy:
      'Let the role of the agent set the language: GRANT SET ON PARAMETER lc_messages, where the server has that.',
  },
  NEVER_RESTORE_TESTED: {
    severity: 'warning',
    message: '{subject} has no restore test: backup {backup} was never loaded into a server',
    remedy: 'Test it with `lastgood verify --level 4` or higher.',
  },
  NEWEST_BACKUP_BAD: {
    severity: 'error',
    message: '{subject}, the newest of "{of}", is bad: it failed a verification',
    remedy: 'Check the disk of the repository, verify the other backups, and take a new one.',
  },
  NEWEST_BACKUP_MISSING: {
    severity: 'error',
    message: '{subject}, the newest of "{of}", is missing from its repository',
    remedy: 'Find out who removed it, and take a new backup.',
  },
  NEWEST_BACKUP_SUSPECT: {
    severity: 'warning',
    message: '{subject}, the newest of "{of}", is suspect: its size is far from that of those before it',
    remedy: 'Check the database. If it is right, verify the backup with `lastgood verify --level 4`.',
  },
  NO_POLICY: {
    severity: 'warning',
    message: 'no policy selects {subject}',
    remedy: 'Select it in a policy of the fleet file.',
  },
  NO_RECOVERY_POINT: { severity: 'error', message: '{subject} has no good backup', remedy: 'Back it up.' },
  RECOVERY_POINT_TOO_OLD: {
    severity: 'error',
    message: 'the newest recovery point of {subject} is {age} old, and at most {limit} was asked for',
    remedy: 'Back it up, and find out why no backup succeeded since.',
  },
  RESTORE_FROM_COPY: {
    severity: 'warning',
    message:
      'the backup is read from the repository "{repository}", because those before it do not have it or cannot be read',
    remedy: null,
  },
  RESTORE_TEST_MISSING: {
    severity: 'warning',
    message: '{subject} was never restore-tested; its policy requires a test every {limit}',
    remedy: 'Test it with `lastgood verify --level 4` or higher.',
  },
  RESTORE_TEST_OF_OLDER_BACKUP: {
    severity: 'warning',
    message:
      'the last restore test of {subject} was of backup {tested}, which is older than its recovery point {backup}',
    remedy: 'Test the newer one with `lastgood verify --level 4` or higher.',
  },
  RESTORE_TEST_STALE: {
    severity: 'warning',
    message: 'the last restore test of {subject} is {age} old; its policy requires one every {limit}',
    remedy: 'Test it with `lastgood verify --level 4` or higher.',
  },
  RPO_AT_RISK: {
    severity: 'warning',
    message: 'the newest recovery point of {subject} is {age} old; the objective (RPO) is {rpo}',
    remedy: 'Back it up soon.',
  },
  RPO_MISSED: {
    severity: 'error',
    message: 'the newest recovery point of {subject} is {age} old, more than its objective (RPO) of {rpo}',
    remedy: 'Back it up, and find out why no backup succeeded since.',
  },
  RTO_AT_RISK: {
    severity: 'warning',
    message: 'a restore of {subject} takes {time}; the objective (RTO) is {rto}',
    remedy: 'Make restores faster, or change the objective.',
  },
  RTO_MISSED: {
    severity: 'error',
    message: 'a restore of {subject} takes {time}, more than its objective (RTO) of {rto}',
    remedy: 'Make restores faster, or change the objective.',
  },
  SERVER_REFUSED: { severity: 'error', message: 'the database server refuses the agent', remedy: null },
  SERVER_UNREACHABLE: { severity: 'error', message: 'the database server is unreachable', remedy: null },
  SET_ASIDE_DATABASE: {
    severity: 'info',
    message: '{subject} ({size}) was set aside by a restore',
    remedy: 'Drop it with `lastgood set-aside drop` when it is no longer needed.',
  },
  TARGET_NOT_REPORTED: { severity: 'error', message: '{subject} was not reported by its host', remedy: null },
} as const satisfies Record<string, FindingDefinition>;
