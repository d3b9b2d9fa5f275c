import type { FindingDefinition } from './finding-definition.ts';

/** How a server keeps its data between backups. */
export const PERSISTENCE_FINDINGS = {
  AOF_REWRITE_OFF: {
    severity: 'warning',
    message: 'the append-only file is never rewritten (auto-aof-rewrite-percentage 0): it and the time of a start grow',
    remedy: 'Set auto-aof-rewrite-percentage to 100.',
  },
  EVICTS_KEYS: {
    severity: 'warning',
    message: 'the server removes keys by itself when memory is short ({policy}): backups may miss keys nobody deleted',
    remedy: 'Set maxmemory-policy to noeviction, or to a volatile one, if the data is more than a cache.',
  },
  FORK_MAY_FAIL: {
    severity: 'warning',
    message: 'a snapshot may fail: the server uses {usedBytes:bytes}, {availableBytes:bytes} of memory are available',
    remedy: 'Set vm.overcommit_memory to 1, or give the host more memory.',
  },
  FSYNC_OFF: {
    severity: 'warning',
    message: 'the server leaves it to the operating system when writes reach the disk (appendfsync no)',
    remedy: 'Set appendfsync to everysec.',
  },
  LAST_AOF_WRITE_FAILED: {
    severity: 'error',
    message: 'the last write of the append-only file failed',
    remedy: 'Read the log of the server: mostly its disk is full.',
  },
  LAST_SAVE_FAILED: {
    severity: 'error',
    message: 'the last snapshot of the server failed',
    remedy: 'Read the log of the server: mostly its disk is full, or there is too little memory to fork.',
  },
  NO_PERSISTENCE: {
    severity: 'error',
    message: 'the server writes neither snapshots nor append-only files: a restart loses everything since the backup',
    remedy: 'Set `save` or `appendonly yes`, unless the data can be lost.',
  },
  RDB_CHECKSUM_OFF: {
    severity: 'warning',
    message: 'the server writes its snapshots without a checksum (rdbchecksum no)',
    remedy: 'Set rdbchecksum to yes.',
  },
  SETTINGS_UNKNOWN: {
    severity: 'warning',
    message: 'the agent may not read the settings of the server ({reason}), so its persistence was not checked',
    remedy: 'Grant the user of the agent to read them (+config|get).',
  },
} as const satisfies Record<string, FindingDefinition>;
