import { z } from 'zod';

/**
 * Every failure a person or a script can meet, by code. The wire carries codes; `exit` is the exit status of the command line
 * (EXIT_STATUS has the table); `remedy` says what to do.
 */
export const ERROR_CATALOG = {
  BUG: { exit: 1, remedy: 'This is a defect of Lastgood. Report it with the log of the host named in the job.' },
  BAD_INPUT: { exit: 64, remedy: 'Correct the value that the message names and repeat the call.' },
  CONFIG_INVALID: { exit: 64, remedy: 'Correct what the message names in the configuration.' },
  UNAUTHENTICATED: {
    exit: 2,
    remedy: 'Give a valid token with --token-file or LASTGOOD_TOKEN_FILE; `lastgood tokens create` makes one.',
  },
  FORBIDDEN: { exit: 3, remedy: 'Use a token whose scope allows this, or ask an administrator for one.' },
  NOT_FOUND: {
    exit: 2,
    remedy: 'List what exists with `lastgood targets list`, `lastgood backups list` or `lastgood jobs list`.',
  },
  CONFLICT: { exit: 2, remedy: 'Another change came first. Look at the current state, then try again.' },
  CONTROL_UNREACHABLE: {
    exit: 2,
    remedy: 'Check that the control plane runs (`lastgood control`) and the address in --url.',
  },
  AGENT_OFFLINE: {
    exit: 2,
    remedy: 'Start the agent of that host (`lastgood agent`); it reports what became of its jobs.',
  },
  ENROLL_TOKEN_INVALID: {
    exit: 2,
    remedy: 'Make a new one-time token with `lastgood tokens enroll`; each is used once and expires.',
  },
  PROTOCOL_UNSUPPORTED: {
    exit: 2,
    remedy: 'Upgrade the older side; the control plane supports its own protocol and the two before.',
  },
  COMMAND_UNSUPPORTED: { exit: 2, remedy: 'Upgrade the agent of that host; it does not know this command.' },
  CATALOG_INVALID: { exit: 2, remedy: 'Choose another copy of the catalog. Nothing was changed.' },
  ALREADY_RUNNING: {
    exit: 2,
    remedy: 'Stop the process that the message names first.',
  },
  DATA_FOLDER_UNSAFE: {
    exit: 2,
    remedy: 'Correct owner and mode of the path that the message names: 0700 for folders, 0600 for files.',
  },
  HOST_LIMIT: { exit: 3, remedy: "The agent's own file does not allow this; change `allow` there, on the host." },
  NOT_CONFIRMED: { exit: 3, remedy: 'Repeat with --confirm and the exact name that the plan shows.' },
  PLAN_CHANGED: {
    exit: 3,
    remedy: 'The situation changed since the plan was shown. Make a new plan and confirm that one.',
  },
  JOB_CANCELED: { exit: 130, remedy: 'The job was canceled; nothing it had begun was kept.' },
  JOB_DEADLINE: {
    exit: 2,
    remedy: 'The job ran longer than its deadline. Look for locks or a slow disk, or raise the deadline.',
  },
  JOB_EXPIRED: { exit: 2, remedy: 'The job was not started before its start-by time. Send it again.' },
  OCCURRENCE_SKIPPED: {
    exit: 2,
    remedy:
      'The message says why the scheduled run did not take place. `lastgood occurrences list` shows the other runs.',
  },
  JOB_INTERRUPTED: {
    exit: 2,
    remedy: 'The agent stopped while the job ran. Look at the target, then send the job again.',
  },
  TOOL_NOT_FOUND: {
    exit: 2,
    remedy: 'Install the client tools of the engine, or set `connection.binDir` of the target in the agent file.',
  },
  TOOL_VERSION: {
    exit: 2,
    remedy: 'Install client tools of at least the major version of the server, without known data-loss defects.',
  },
  RESTORE_TEST_IMPOSSIBLE: {
    exit: 2,
    remedy:
      'This says nothing about the backup. Give the host what the message names, then verify again, or verify on another host.',
  },
  RESTORE_TEST_UNCONTAINED: {
    exit: 3,
    remedy:
      'Run the agent as root on a host with namespaces, or where unprivileged user namespaces are allowed. If you trust the owners of every database of the target, set allow.uncontainedRestoreTests of the target in the agent file.',
  },
  RESTORE_TEST_STILL_RUNNING: {
    exit: 2,
    remedy:
      'Restored code may still run on the host. End the processes that the message names; if they do not end, restart the host.',
  },
  TOOL_FAILED: {
    exit: 2,
    remedy:
      'Look for what ended the tool (the log of the server, a full disk, the out-of-memory killer), then try again.',
  },
  TOOL_STALLED: { exit: 2, remedy: 'The tool made no progress. Look for locks on the database or a hanging disk.' },
  SERVICE_NOT_FOUND: {
    exit: 2,
    remedy: 'Correct the unit or the command of the service in the agent file; the message names what is missing.',
  },
  SERVICE_MASKED: {
    exit: 2,
    remedy: 'Run `systemctl unmask` for the unit that the message names if the service may be started, then try again.',
  },
  SERVICE_FORBIDDEN: {
    exit: 2,
    remedy: 'Run the agent as root, or allow its user to start and stop the service.',
  },
  SERVICE_FAILED: {
    exit: 2,
    remedy: 'Read the log of the service, correct the cause that it names, then try again.',
  },
  SERVICE_TIMEOUT: {
    exit: 2,
    remedy: 'Check whether the service is running and why it is slow, or allow it more time.',
  },
  DATABASE_UNREACHABLE: {
    exit: 2,
    remedy: 'Check that the server runs and that the connection in the agent file is right.',
  },
  DATABASE_REFUSED: { exit: 2, remedy: 'Grant the role of the agent what the message names, then try again.' },
  DATABASE_ERROR: {
    exit: 2,
    remedy: 'Read the whole message in the log of the server; it was left out here, because it may contain data.',
  },
  TARGET_BUSY: {
    exit: 2,
    remedy: 'Wait until other sessions of the database have released what the message names, then try again.',
  },
  SOURCE_CHANGED: { exit: 2, remedy: 'The schema changed under the dump. The job can be sent again.' },
  SOURCE_UNSUPPORTED: {
    exit: 2,
    remedy: 'Lastgood cannot back up what the message names. Change it, or exclude it in the agent file.',
  },
  NO_SPACE: { exit: 2, remedy: 'Free space on the disk that the message names, then try again.' },
  IO_ERROR: {
    exit: 2,
    remedy: 'Check the disk or network file system that the message names before you rely on it again.',
  },
  REPOSITORY_NOT_MOUNTED: {
    exit: 2,
    remedy: 'Mount the repository; its marker file lastgood.json was not found where it belongs.',
  },
  REPOSITORY_UNSAFE: {
    exit: 2,
    remedy: 'Remove the symlink or repair owner and mode (0700/0600) of the path that the message names.',
  },
  REPOSITORY_DENIED: {
    exit: 2,
    remedy:
      'Allow the credentials of the repository what the message names; docs/object-storage.md lists the permissions.',
  },
  IDENTITY_NEEDED: {
    exit: 2,
    remedy:
      'Name a file with an age identity of this repository in `encryption.identityFile` of the agent file, or run this on a host that has one.',
  },
  OBJECT_EXISTS: {
    exit: 2,
    remedy: 'Another process stored this object first. Check that one agent writes to the target.',
  },
  OBJECT_LOCKED: {
    exit: 3,
    remedy: 'Wait until the lock of the object ends. Nobody can remove it before, which is what the lock is for.',
  },
  REPOSITORY_FOREIGN: {
    exit: 2,
    remedy: 'This repository belongs to another source. Give each target its own repository or name.',
  },
  BACKUP_CORRUPT: {
    exit: 4,
    remedy: 'Do not rely on this backup. Verify the others of the target and take a new one.',
  },
  MANIFEST_INVALID: {
    exit: 4,
    remedy: 'The manifest was damaged or edited. Treat the backup as lost and take a new one.',
  },
  BACKUP_REPLACED: {
    exit: 4,
    remedy: 'Somebody has written into the repository. Use another backup, and find out who can write there.',
  },
  BACKUP_UNTRUSTED: {
    exit: 4,
    remedy:
      'If a host of yours made it, compare the key with `lastgood agent key` there and add it to `trust` in the agent file. To use this backup once all the same, repeat with --accept-unsigned.',
  },
  BACKUP_HELD: { exit: 3, remedy: 'Release the backup first if it is to be removed; a hold is set deliberately.' },
  BACKUP_NEEDED: {
    exit: 3,
    remedy: 'Remove the backups that the message names first; they cannot be restored without it.',
  },
  NEWER_FORMAT: {
    exit: 2,
    remedy: 'Upgrade Lastgood on this host: the backup was made by a newer version. The backup itself is unharmed.',
  },
  SEGMENT_CONFLICT: {
    exit: 4,
    remedy: 'Two servers write to one log stream. Stop the one that is not in service, then take a new backup.',
  },
  STREAM_STOPPED: {
    exit: 2,
    remedy: 'Correct what the message names. The agent starts the stream again by itself.',
  },
  CLOCK_UNTRUSTED: {
    exit: 3,
    remedy: 'The clocks of host, control plane and repository disagree. Repair them; nothing was deleted.',
  },
  TARGET_NOT_EMPTY: {
    exit: 3,
    remedy: 'Choose another name, or replace the database with `--swap`.',
  },
  POINT_UNREACHABLE: {
    exit: 2,
    remedy: 'Choose an instant inside a recovery window; `lastgood targets` shows them.',
  },
  RESTORE_FAILED: { exit: 2, remedy: 'The old data is untouched. The message lists what the engine refused.' },
  CHECK_FAILED: {
    exit: 4,
    remedy: 'Find out why in the log of the server or application, then retry the step.',
  },
  RUNBOOK_STOPPED: {
    exit: 2,
    remedy: 'Correct the cause, then retry the step, skip it or abort the run: `lastgood runbooks status` shows how.',
  },
  DRILL_FAILED: {
    exit: 4,
    remedy: 'Treat the runbook as broken: correct the cause that the report names, then drill again.',
  },
  UNDO_IMPOSSIBLE: {
    exit: 2,
    remedy:
      'Look at the databases of the server before you change anything; `lastgood status` lists what restores set aside.',
  },
} as const satisfies Record<string, { readonly exit: number; readonly remedy: string }>;

export type ErrorCode = keyof typeof ERROR_CATALOG;

/** What travels of a failure: never a stack, never a secret. */
export interface WireError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly remedy: string;
}

export const errorCodes = Object.keys(ERROR_CATALOG) as [ErrorCode, ...ErrorCode[]];

export const wireErrorSchema = z.object({
  code: z.enum(errorCodes),
  message: z.string().max(4096),
  remedy: z.string().max(1024),
});

/** Builds what travels of a failure; the remedy comes from the catalog. */
export const wireErrorOf = (code: ErrorCode, message: string): WireError => ({
  code,
  message,
  remedy: ERROR_CATALOG[code].remedy,
});
