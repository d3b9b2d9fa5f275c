import type { Session } from '../connection.ts';

/** One row of `pg_settings`. */
export interface ServerSetting {
  readonly name: string;
  readonly value: string;
  readonly unit: string | null;
  /** Its value in the files is another one, which a restart will bring. */
  readonly isPendingRestart: boolean;
}
export interface WantedStream {
  readonly method: 'receiver' | 'archive';
  /** The value that `archive_command` needs; for `archive` only. */
  readonly archiveCommand: string | null;
  /** How old the newest stored transaction may be. */
  readonly rpoSeconds: number;
  /** How much WAL a slot may keep on the server while the receiver is away. */
  readonly slotLimitMb: number;
}
export interface SettingChange {
  readonly name: string;
  readonly from: string;
  readonly to: string;
  readonly needsRestart: boolean;
  /** For an administrator to run. */
  readonly sql: string;
}
export interface SettingsCheck {
  readonly changes: readonly SettingChange[];
  /** Settings that are right in the files and wait for a restart. */
  readonly pendingRestart: readonly string[];
  /** How old a transaction may become before its segment is closed and stored, with the settings as they are; null for no limit. */
  readonly resultingRpoSeconds: number | null;
  /** Settings under which a crash of the server loses or damages data that a backup may take over. */
  readonly unsafe: readonly string[];
}

const NAMES = [
  'wal_level',
  'max_wal_senders',
  'max_replication_slots',
  'max_slot_wal_keep_size',
  'archive_mode',
  'archive_command',
  'archive_library',
  'archive_timeout',
  'fsync',
  'full_page_writes',
] as const;
type Name = (typeof NAMES)[number];
const RESTARTS = new Set<Name>(['wal_level', 'max_wal_senders', 'max_replication_slots', 'archive_mode']);
/** One for the receiver, two for base backups at the same time as a standby joins. */
const SENDERS = 3;

export async function readStreamSettings(session: Session): Promise<readonly ServerSetting[]> {
  const rows = await session.rows<{ name: string; value: string; unit: string | null; pending: boolean }>(
    'select name, setting as value, unit, pending_restart as pending from pg_settings where name = any($1)',
    [[...NAMES]],
  );
  return rows.map(({ name, value, unit, pending }) => ({ name, value, unit, isPendingRestart: pending }));
}

/** Which settings a stream of WAL lacks, as `ALTER SYSTEM` lines, and the RPO of those that are there. */
export function checkStreamSettings(settings: readonly ServerSetting[], wanted: WantedStream): SettingsCheck {
  const byName = new Map(settings.map((each) => [each.name, each]));
  const value = (name: Name): string => byName.get(name)?.value ?? '';
  const changes: SettingChange[] = [];
  const pendingRestart: string[] = [];
  const want = (name: Name, isRight: boolean, to: string): void => {
    if (isRight) return;
    const needsRestart = RESTARTS.has(name);
    if (needsRestart && byName.get(name)?.isPendingRestart === true) pendingRestart.push(name);
    else
      changes.push({
        name,
        from: value(name),
        to,
        needsRestart,
        sql: `ALTER SYSTEM SET ${name} = '${to.replaceAll("'", "''")}';`,
      });
  };
  want('wal_level', value('wal_level') !== 'minimal', 'replica');
  want('max_wal_senders', Number(value('max_wal_senders')) >= SENDERS, '10');
  if (wanted.method === 'receiver') {
    want('max_replication_slots', Number(value('max_replication_slots')) >= 1, '10');
    want('max_slot_wal_keep_size', Number(value('max_slot_wal_keep_size')) >= 0, `${wanted.slotLimitMb}MB`);
  } else {
    want('archive_mode', value('archive_mode') !== 'off', 'on');
    const command = wanted.archiveCommand ?? '';
    // A library outranks the command; from PostgreSQL 16 on both at once are an error.
    want('archive_library', value('archive_library') === '', '');
    // While archiving is off the server does not show its command.
    const isHidden = value('archive_mode') === 'off' && byName.get('archive_mode')?.isPendingRestart === true;
    want('archive_command', isHidden || value('archive_command') === command, command);
  }
  // It closes segments for a receiver too, whether anything is archived or not.
  const timeout = Number(value('archive_timeout'));
  want('archive_timeout', timeout > 0 && timeout <= wanted.rpoSeconds, String(Math.max(1, wanted.rpoSeconds)));
  const isWorking = pendingRestart.length === 0 && changes.every(({ name }) => name === 'archive_timeout');
  return {
    changes,
    pendingRestart,
    resultingRpoSeconds: isWorking && timeout > 0 ? timeout : null,
    unsafe: (['fsync', 'full_page_writes'] as const).filter((name) => value(name) === 'off'),
  };
}
