import type { RecoverySettings } from '../physical/recovery-settings.ts';
import { formatInstant, type Micros } from '../wal/instant.ts';
import { formatLsn } from '../wal/lsn.ts';
import { restoreCommand } from './restore-script.ts';
import { logFormat } from './server-log.ts';
import type { RecoveryPlan, RecoveryStop } from './target.ts';

type Settings = readonly (readonly [name: string, value: string])[];

/** A numeric offset: names of time zones, even `Z`, are not known yet when the server reads its arguments. */
const postgresTime = (at: Micros): string => formatInstant(at).replace('T', ' ').replace('Z', '+00');

/** The recovery target of a stop. The empty ones come first: emptying one resets a target that was set before it. */
function targetSettings(stop: RecoveryStop): Settings {
  const empty: Settings = ['', '_time', '_xid', '_name', '_lsn'].map((suffix) => [`recovery_target${suffix}`, '']);
  switch (stop.kind) {
    case 'time':
      return [...empty, ['recovery_target_inclusive', 'on'], ['recovery_target_time', postgresTime(stop.at)]];
    case 'before-lsn':
      return [...empty, ['recovery_target_inclusive', 'off'], ['recovery_target_lsn', formatLsn(stop.lsn)]];
    case 'end':
      return [...empty, ['recovery_target_inclusive', 'on'], ['recovery_target_lsn', formatLsn(stop.lastRecordLsn)]];
    case 'transaction':
      return [...empty, ['recovery_target_inclusive', 'on'], ['recovery_target_xid', stop.xid]];
    case 'name':
      return [...empty, ['recovery_target_name', stop.name]];
    case 'immediate':
      return [...empty, ['recovery_target', 'immediate']];
  }
}

export interface RecoveryConfigOptions {
  readonly plan: RecoveryPlan;
  readonly majorVersion: number;
  readonly scriptPath: string;
  /** Holds `postgresql.conf`, `pg_hba.conf`, `pg_ident.conf` and the log. */
  readonly configFolder: string;
  readonly socketFolder: string;
  readonly settings: RecoverySettings;
  /** Libraries that the replay needs: those with WAL records of their own. Empty for everything else. */
  readonly preloadLibraries: string;
  /** False for a copy that is thrown away: then nothing is synced. */
  readonly isDurable: boolean;
}

/** The name of the log below the folder `log`, without the ending that PostgreSQL adds. */
export const LOG_NAME = 'recovery';

/**
 * The settings of a recovery as arguments: they outrank `postgresql.conf` and `postgresql.auto.conf` of the backup, which may hold
 * commands (M6). Nothing of the copy reaches the network or the archive of its source.
 */
export function recoverySettings(options: RecoveryConfigOptions): Settings {
  const { plan, majorVersion, configFolder, socketFolder, settings } = options;
  return [
    ['config_file', `${configFolder}/postgresql.conf`],
    ['hba_file', `${configFolder}/pg_hba.conf`],
    ['ident_file', `${configFolder}/pg_ident.conf`],
    ['external_pid_file', ''],
    ['listen_addresses', ''],
    ['unix_socket_directories', socketFolder],
    ['unix_socket_permissions', '0700'],
    ['port', '5432'],
    ['ssl', 'off'],
    ['archive_mode', 'off'],
    ['archive_command', ''],
    ...(majorVersion >= 15 ? ([['archive_library', '']] as const) : []),
    ['archive_cleanup_command', ''],
    ['recovery_end_command', ''],
    ['primary_conninfo', ''],
    ['primary_slot_name', ''],
    ['synchronous_standby_names', ''],
    // Subscriptions of the copy would connect to their publishers.
    ['max_logical_replication_workers', '0'],
    ['shared_preload_libraries', options.preloadLibraries],
    // Login triggers would run with the rights of the agent's sessions.
    ...(majorVersion >= 17 ? ([['event_triggers', 'off']] as const) : []),
    ['session_preload_libraries', ''],
    ['local_preload_libraries', ''],
    ['fsync', options.isDurable ? 'on' : 'off'],
    ['full_page_writes', options.isDurable ? 'on' : 'off'],
    ['synchronous_commit', options.isDurable ? 'on' : 'off'],
    ['jit', 'off'],
    ['autovacuum', 'off'],
    ['hot_standby', 'on'],
    ['lc_messages', 'C'],
    ['log_destination', logFormat(majorVersion)],
    ['logging_collector', 'on'],
    ['log_directory', `${configFolder}/log`],
    ['log_filename', LOG_NAME],
    ['log_file_mode', '0600'],
    ['log_rotation_age', '0'],
    ['log_rotation_size', '0'],
    ['log_min_messages', 'warning'],
    ...Object.entries(settings).map(([name, value]) => [name, String(value)] as const),
    ['restore_command', restoreCommand(options.scriptPath)],
    ['recovery_target_timeline', String(plan.timeline)],
    ['recovery_target_action', 'pause'],
    ...targetSettings(plan.stop),
  ];
}
