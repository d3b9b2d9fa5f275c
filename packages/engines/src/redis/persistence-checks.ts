import type { ServerFacts } from './server-facts.ts';

/** What `agent check` finds about the persistence of a server. Most of it concerns a crash, not the backups. */
export interface PersistenceFinding {
  readonly code: /** Neither snapshots nor append-only files: a restart loses everything since the last backup. */
    | 'NO_PERSISTENCE'
    /** The operating system decides when writes reach the disk: a power cut may lose half a minute of them. */
    | 'FSYNC_OFF'
    /** The append-only file grows without bound, and so does the time of a start. */
    | 'AOF_REWRITE_OFF'
    /** RDB files carry no checksum: a damaged one is loaded, and no level of verification below 6 notices it. */
    | 'RDB_CHECKSUM_OFF'
    | 'LAST_SAVE_FAILED'
    | 'LAST_AOF_WRITE_FAILED'
    /** The server removes keys by itself when memory is short: a backup may miss keys that were never deleted. */
    | 'EVICTS_KEYS'
    /** A snapshot starts a copy of the process. Without overcommit the kernel may refuse it when memory is short. */
    | 'FORK_MAY_FAIL'
    /** The settings could not be read, so that most of this could not be checked. */
    | 'SETTINGS_UNKNOWN';
  readonly severity: 'error' | 'warning';
  readonly params: Readonly<Record<string, number | string>>;
}
export interface HostMemory {
  /** Null when the host does not report it, or the server runs on another host. */
  readonly availableBytes: number | null;
  /** `vm.overcommit_memory` of the kernel: 1 lets every fork through. */
  readonly overcommit: number | null;
}

const ALWAYS_OVERCOMMIT = 1;

/** Judges the persistence of a server from its state and its settings. */
export function checkPersistence(facts: ServerFacts, memory: HostMemory): PersistenceFinding[] {
  const { settings } = facts;
  const findings: PersistenceFinding[] = [];
  const add = (
    severity: PersistenceFinding['severity'],
    code: PersistenceFinding['code'],
    params: PersistenceFinding['params'] = {},
  ): void => {
    findings.push({ code, severity, params });
  };
  if (settings === null) add('warning', 'SETTINGS_UNKNOWN', { reason: facts.settingsRefusal ?? 'ERR' });
  if (settings?.save === '' && !facts.isAofEnabled) add('error', 'NO_PERSISTENCE');
  if (facts.isAofEnabled && settings?.appendfsync === 'no') add('warning', 'FSYNC_OFF');
  if (facts.isAofEnabled && settings?.['auto-aof-rewrite-percentage'] === '0') add('warning', 'AOF_REWRITE_OFF');
  if (settings?.rdbchecksum === 'no') add('warning', 'RDB_CHECKSUM_OFF');
  if (facts.lastSaveFailed) add('error', 'LAST_SAVE_FAILED');
  if (facts.isAofEnabled && facts.lastAofWriteFailed) add('error', 'LAST_AOF_WRITE_FAILED');
  const { evictionPolicy, limitBytes, usedBytes } = facts.memory;
  if (limitBytes > 0 && evictionPolicy?.startsWith('allkeys-') === true)
    add('warning', 'EVICTS_KEYS', { policy: evictionPolicy });
  const { availableBytes, overcommit } = memory;
  const mayRefuse = overcommit !== null && overcommit !== ALWAYS_OVERCOMMIT;
  if (mayRefuse && availableBytes !== null && usedBytes > availableBytes)
    add('warning', 'FORK_MAY_FAIL', { usedBytes, availableBytes });
  return findings;
}
