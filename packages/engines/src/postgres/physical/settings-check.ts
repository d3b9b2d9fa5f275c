import type { Session } from '../session.ts';

/** One row of `pg_settings`. */
export interface ServerSetting {
  readonly name: string;
  readonly value: string;
  /** Its value in the files is another one, which a restart will bring. */
  readonly isPendingRestart: boolean;
}
export interface StreamSettings {
  readonly settings: readonly ServerSetting[];
  /** The role of the session, quoted for SQL. */
  readonly role: string;
  readonly mayReplicate: boolean;
  /** Whether it is a member of `pg_monitor`. */
  readonly mayMonitor: boolean;
  /** Whether it may close a segment by `pg_switch_wal`. */
  readonly maySwitchWal: boolean;
}
export type WantedStream =
  | {
      readonly method: 'archive';
      /** The value that `archive_command` needs. */
      readonly archiveCommand: string;
      /** How old the newest stored transaction may be. */
      readonly rpoSeconds: number;
    }
  | {
      readonly method: 'receiver';
      /** How much WAL a slot may keep on the server while the receiver is away. */
      readonly slotLimitMb: number;
      /** How often we close the current segment; null for never. */
      readonly switchSeconds: number | null;
    };
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
  /** Privileges that the role lacks, as statements. */
  readonly grants: readonly string[];
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

export async function readStreamSettings(session: Session): Promise<StreamSettings> {
  const rows = await session.rows<{ name: string; value: string; pending: boolean }>(
    'select name, setting as value, pending_restart as pending from pg_settings where name = any($1)',
    [[...NAMES]],
  );
  const about = await session.one<Omit<StreamSettings, 'settings'>>(
    `select quote_ident(rolname) as role, rolreplication or rolsuper as "mayReplicate",
      pg_has_role(oid, 'pg_monitor', 'member') as "mayMonitor",
      has_function_privilege(oid, 'pg_switch_wal()', 'execute') as "maySwitchWal"
      from pg_roles where rolname = current_user`,
  );
  return {
    settings: rows.map(({ name, value, pending }) => ({ name, value, isPendingRestart: pending })),
    ...about,
  };
}

/** Which settings and privileges a stream of WAL lacks, as statements for an administrator, and the RPO of what is there. */
export function checkStreamSettings(
  { settings, role, mayReplicate, mayMonitor, maySwitchWal }: StreamSettings,
  wanted: WantedStream,
): SettingsCheck {
  const byName = new Map(settings.map((each) => [each.name, each]));
  const value = (name: Name): string => byName.get(name)?.value ?? '';
  const changes: SettingChange[] = [];
  const pendingRestart: string[] = [];
  const want = (name: Name, isRight: boolean, to: string): void => {
    if (isRight) return;
    const needsRestart = RESTARTS.has(name);
    const sql = `ALTER SYSTEM SET ${name} = '${to.replaceAll("'", "''")}';`;
    if (needsRestart && byName.get(name)?.isPendingRestart === true) pendingRestart.push(name);
    else changes.push({ name, from: value(name), to, needsRestart, sql });
  };
  const grants: string[] = [];
  want('wal_level', value('wal_level') !== 'minimal', 'replica');
  want('max_wal_senders', Number(value('max_wal_senders')) >= SENDERS, '10');
  // It works only while archiving is on.
  const timeout = value('archive_mode') === 'off' ? 0 : Number(value('archive_timeout'));
  const limits = timeout > 0 ? [timeout] : [];
  if (!mayMonitor) grants.push(`GRANT pg_monitor TO ${role};`);
  if (!mayReplicate) grants.push(`ALTER ROLE ${role} REPLICATION;`);
  if (wanted.method === 'receiver') {
    want('max_replication_slots', Number(value('max_replication_slots')) >= 1, '10');
    want('max_slot_wal_keep_size', Number(value('max_slot_wal_keep_size')) >= 0, `${wanted.slotLimitMb}MB`);
    if (wanted.switchSeconds !== null && maySwitchWal) limits.push(wanted.switchSeconds);
    if (wanted.switchSeconds !== null && !maySwitchWal)
      grants.push(`GRANT EXECUTE ON FUNCTION pg_switch_wal() TO ${role};`);
  } else {
    want('archive_mode', value('archive_mode') !== 'off', 'on');
    // A library outranks the command; from PostgreSQL 16 on both at once are an error.
    want('archive_library', value('archive_library') === '', '');
    // While archiving is off the server does not show its command.
    const isHidden = value('archive_mode') === 'off' && byName.get('archive_mode')?.isPendingRestart === true;
    want('archive_command', isHidden || value('archive_command') === wanted.archiveCommand, wanted.archiveCommand);
    const configured = Number(value('archive_timeout'));
    const isTimely = configured > 0 && configured <= wanted.rpoSeconds;
    want('archive_timeout', isTimely, String(Math.max(1, wanted.rpoSeconds)));
  }
  const isWorking = pendingRestart.length === 0 && changes.every(({ name }) => name === 'archive_timeout');
  return {
    changes,
    grants,
    pendingRestart,
    resultingRpoSeconds: isWorking && limits.length > 0 ? Math.min(...limits) : null,
    unsafe: (['fsync', 'full_page_writes'] as const).filter((name) => value(name) === 'off'),
  };
}
