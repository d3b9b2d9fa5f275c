import type { FindingDefinition } from './finding-definition.ts';

/** Why the restore of a whole server is refused. */
export const SERVER_RESTORE_REFUSALS = {
  APPENDONLY_OFF: {
    severity: 'error',
    message: 'the backup holds append-only files, and the server writes none (appendonly no)',
    remedy: 'Set appendonly to yes in the configuration of the server, or restore a backup of the method rdb.',
    refusal: 'RESTORE_FAILED',
  },
  COMMANDS_NOT_UNDERSTOOD: {
    severity: 'error',
    message: 'the backup holds commands of {writer}, which {server} does not understand',
    remedy: 'Restore into a server of the product and at least the version that wrote the backup.',
    refusal: 'RESTORE_FAILED',
  },
  FORMAT_NOT_READABLE: {
    severity: 'error',
    message: 'the backup was written by {writer} in format {format}, which {server} does not read',
    remedy: 'Restore into a server of the product and at least the version that wrote the backup.',
    refusal: 'RESTORE_FAILED',
  },
  MEMORY_LIMIT: {
    severity: 'error',
    message: 'the data needs {needBytes:bytes} of memory, the server may use {limitBytes:bytes}',
    remedy: 'Raise the memory limit of the server (maxmemory) above what the data needs.',
    refusal: 'NO_SPACE',
  },
  MEMORY_OF_HOST: {
    severity: 'error',
    message: 'the data needs {needBytes:bytes} of memory, the host has {availableBytes:bytes} for it',
    remedy: 'Give the host more memory, or restore on another one.',
    refusal: 'NO_SPACE',
  },
  MODULE_MISSING: {
    severity: 'error',
    message: 'the server lacks the module {name:quoted}, which the data needs',
    remedy: 'Load the module on the server (loadmodule), then make the plan again.',
    refusal: 'RESTORE_FAILED',
  },
  SERVER_FILES_OUT_OF_REACH: {
    severity: 'error',
    message: 'the agent has no access to the files of the server, which a restore replaces',
    remedy: 'Set fileAccess and dataDir in the connection of the target, on the host of the server.',
    refusal: 'CONFIG_INVALID',
  },
  SERVER_HAS_REPLICAS: {
    severity: 'error',
    message: 'the server has replicas: {replicas:count}',
    remedy: 'Detach the replicas first (REPLICAOF NO ONE on each), and attach them again after the restore.',
    refusal: 'TARGET_BUSY',
  },
  SERVER_IS_CLUSTER_NODE: {
    severity: 'error',
    message: 'the server is a node of a cluster',
    remedy: 'Nodes of a cluster cannot be restored by this version. Restore into a server without cluster mode.',
    refusal: 'RESTORE_FAILED',
  },
  SERVER_IS_LOADING: {
    severity: 'error',
    message: 'the server is loading its data',
    remedy: 'Wait until the server has loaded its data.',
    refusal: 'TARGET_BUSY',
  },
  SERVER_IS_REPLICA: {
    severity: 'error',
    message: 'the server is a replica',
    remedy: 'Restore the master; replicas copy it. Or detach this server first (REPLICAOF NO ONE).',
    refusal: 'RESTORE_FAILED',
  },
  SERVER_IS_SENTINEL: {
    severity: 'error',
    message: 'the server is a Sentinel, which holds no data',
    remedy: 'Set the address of the data server in the connection of the target.',
    refusal: 'RESTORE_FAILED',
  },
  SERVER_SETTINGS_UNKNOWN: {
    severity: 'error',
    message: 'the agent may not read the settings of the server',
    remedy: 'Grant the user of the agent to read them (+config|get), then make the plan again.',
    refusal: 'DATABASE_REFUSED',
  },
  SERVER_WATCHED_BY_SENTINEL: {
    severity: 'error',
    message: 'a Sentinel watches the server, and would fail over while it is stopped',
    remedy: 'Stop monitoring first (SENTINEL REMOVE on each Sentinel), and resume after the restore.',
    refusal: 'TARGET_BUSY',
  },
  SERVICE_NOT_NAMED: {
    severity: 'error',
    message: 'the agent file does not name the service of the target, so the server cannot be stopped and started',
    remedy: 'Add `service` to the target in the agent file, on the host.',
    refusal: 'CONFIG_INVALID',
  },
  SETTING_NOT_PERSISTED: {
    severity: 'error',
    message: 'the running value of the setting {setting:quoted} is not in the configuration file: a restart changes it',
    remedy: 'Write the running settings to the configuration file (CONFIG REWRITE), or correct the file.',
    refusal: 'RESTORE_FAILED',
  },
  TOO_FEW_DATABASES: {
    severity: 'error',
    message: 'the backup needs {need:count} databases, the server is configured for {have:count}',
    remedy: 'Raise `databases` in the configuration of the server and restart it.',
    refusal: 'RESTORE_FAILED',
  },
} as const satisfies Record<string, FindingDefinition>;

/** What a person should know before the restore of a whole server. */
export const SERVER_RESTORE_WARNINGS = {
  CONFIG_NOT_READ: {
    severity: 'warning',
    message: 'the configuration file {path} could not be read, so it is not known whether a restart changes settings',
    remedy: 'Let the agent read the file, or compare it with the running settings.',
  },
  EVICTION_POLICY_DIFFERS: {
    severity: 'warning',
    message: 'the server removes keys by the policy {server}, the source by {source}',
    remedy: null,
  },
  FORMAT_UNKNOWN: {
    severity: 'warning',
    message: 'it is not known whether {server} reads the format of the backup; the test in a scratch server decides',
    remedy: null,
  },
  MODULE_OLDER: {
    severity: 'warning',
    message: 'the module {name:quoted} has version {server}, the source had {source}',
    remedy: 'Upgrade the module if the server does not load the data.',
  },
  SCRATCH_TEST_NEEDS_MEMORY: {
    severity: 'warning',
    message: 'the test in a scratch server needs {needBytes:bytes} of memory, {availableBytes:bytes} are available',
    remedy: 'Free memory on the host, or the restore fails before it changes anything.',
  },
  SENTINEL_UNKNOWN: {
    severity: 'warning',
    message: 'the clients of the server could not be listed, so it is not known whether a Sentinel watches it',
    remedy:
      'Grant the user of the agent to list them (+client|list). While the server is down, look on the Sentinels: SENTINEL MASTERS.',
  },
  SERVER_WILL_STOP: {
    severity: 'warning',
    message: '{subject} is stopped for the time of the restore: its clients are disconnected',
    remedy: null,
  },
  UNSAVED_CHANGES: {
    severity: 'warning',
    message: 'the last snapshot of the server failed, and {changes:count} changes are in its memory alone',
    remedy: 'Undo cannot bring back what the server cannot write: correct that first if the present data matters.',
  },
} as const satisfies Record<string, FindingDefinition>;
