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
  MESSAGES_TRANSLATED: {
    severity: 'info',
    message: 'the server reports errors in another language ({locale}), so failures here have less detail',
    remedy:
      'Let the role of the agent set the language: GRANT SET ON PARAMETER lc_messages, where the server has that.',
  },
  SERVER_REFUSED: { severity: 'error', message: 'the database server refuses the agent', remedy: null },
  SERVER_UNREACHABLE: { severity: 'error', message: 'the database server is unreachable', remedy: null },
  SET_ASIDE_DATABASE: {
    severity: 'info',
    message: '{subject} ({size}) was set aside by a restore',
    remedy: 'Remove it when it is not needed any more; undo needs it.',
  },
} as const satisfies Record<string, FindingDefinition>;
