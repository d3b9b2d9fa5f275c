import type { Session } from '../session.ts';
import type { Micros } from './instant.ts';
import { type Lsn, parseLsn } from './lsn.ts';
import type { SlotState, SlotWalStatus } from './slot.ts';

/** What the archiver process of the server reports. */
export interface ArchiverView {
  readonly isOn: boolean;
  readonly failedCount: number;
  readonly lastFailedName: string | null;
  readonly lastArchivedName: string | null;
  /** Files that wait for `archive_command`, and since when; null when the role may not list them (pg_monitor). */
  readonly ready: { readonly count: number; readonly oldestAt: Micros | null } | null;
  /** The counters begin here; another value means that they were reset. */
  readonly statsReset: string | null;
}
/** One connection that streams WAL. */
export interface SenderView {
  readonly applicationName: string;
  readonly flushLsn: Lsn | null;
  readonly replyAt: Micros | null;
}
/** The server's own account of its WAL at one instant. */
export interface ServerWalView {
  /** The server's clock. */
  readonly at: Micros;
  readonly isStandby: boolean;
  readonly systemId: string;
  readonly timeline: number;
  readonly segmentBytes: number;
  /** The end of the WAL that is on its disk; on a standby, of what it has received. */
  readonly flushLsn: Lsn;
  readonly archiver: ArchiverView;
  readonly slotLimitBytes: number | null;
  readonly slots: readonly SlotState[];
  readonly senders: readonly SenderView[];
}

/** Instants are read as microseconds: text would depend on settings. */
const micros = (expression: string): string => `(extract(epoch from ${expression}) * 1000000)::bigint::text`;
const POSITION = `select pg_is_in_recovery() as standby, ${micros('clock_timestamp()')} as at, system_identifier::text as id,
  (select setting::int from pg_settings where name = 'wal_segment_size') as segment,
  (select setting::int from pg_settings where name = 'max_slot_wal_keep_size') as limit_mb,
  current_setting('archive_mode') <> 'off' as archiving,
  case when pg_is_in_recovery() then coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) else pg_current_wal_flush_lsn() end::text as flush
  from pg_control_system()`;
/** After a promotion the control file lags until the next checkpoint; the name of the current segment does not. */
const TIMELINE = `select case when pg_is_in_recovery() then (select timeline_id from pg_control_checkpoint())
  else ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int end as timeline`;
const ARCHIVER = `select failed_count::int as failed, last_failed_wal as failed_name, last_archived_wal as archived_name,
  stats_reset::text as reset from pg_stat_archiver`;
const READY = `select count(*)::int as count, ${micros('min(modification)')} as oldest from pg_ls_archive_statusdir()
  where name ~ '^([0-9A-F]{24}(\\.partial|\\.[0-9A-F]{8}\\.backup)?|[0-9A-F]{8}\\.history)\\.ready$'`;
const SLOTS = `select slot_name as name, active, restart_lsn::text as restart, wal_status as status, safe_wal_size::text as safe
  from pg_replication_slots where slot_type = 'physical' order by 1`;
const SENDERS = `select application_name as name, flush_lsn::text as flush, ${micros('reply_time')} as reply from pg_stat_replication`;

/** Reads everything with a role of pg_monitor; without it, what the role may see. */
export async function readServerWal(session: Session): Promise<ServerWalView> {
  const position = await session.one<{
    standby: boolean;
    at: string;
    id: string;
    segment: number;
    limit_mb: number;
    archiving: boolean;
    flush: string | null;
  }>(POSITION);
  const { timeline } = await session.one<{ timeline: number }>(TIMELINE);
  const archiver = await session.one<{
    failed: number;
    failed_name: string | null;
    archived_name: string | null;
    reset: string | null;
  }>(ARCHIVER);
  return {
    at: BigInt(position.at),
    isStandby: position.standby,
    systemId: position.id,
    timeline,
    segmentBytes: position.segment,
    flushLsn: parseLsn(position.flush ?? '0/0'),
    archiver: {
      isOn: position.archiving,
      failedCount: archiver.failed,
      lastFailedName: archiver.failed_name,
      lastArchivedName: archiver.archived_name,
      ready: await readReady(session),
      statsReset: archiver.reset,
    },
    slotLimitBytes: position.limit_mb < 0 ? null : position.limit_mb * 1024 * 1024,
    slots: await readSlots(session),
    senders: (await session.rows<{ name: string; flush: string | null; reply: string | null }>(SENDERS)).map(
      ({ name, flush, reply }) => ({
        applicationName: name,
        flushLsn: flush === null ? null : parseLsn(flush),
        replyAt: reply === null ? null : BigInt(reply),
      }),
    ),
  };
}

async function readReady(session: Session): Promise<ArchiverView['ready']> {
  const may = "select has_function_privilege('pg_ls_archive_statusdir()', 'execute') as may";
  if (!(await session.one<{ may: boolean }>(may)).may) return null;
  const { count, oldest } = await session.one<{ count: number; oldest: string | null }>(READY);
  return { count, oldestAt: oldest === null ? null : BigInt(oldest) };
}

async function readSlots(session: Session): Promise<SlotState[]> {
  const rows = await session.rows<{
    name: string;
    active: boolean;
    restart: string | null;
    status: SlotWalStatus | null;
    safe: string | null;
  }>(SLOTS);
  return rows.map(({ name, active, restart, status, safe }) => ({
    name,
    isActive: active,
    restartLsn: restart === null ? null : parseLsn(restart),
    walStatus: status,
    safeWalBytes: safe === null ? null : Number(safe),
  }));
}

/** Closes the current segment, so that it is stored soon. Does nothing on an idle server. Needs EXECUTE on pg_switch_wal. */
export async function switchWal(session: Session): Promise<Lsn> {
  return parseLsn((await session.one<{ lsn: string }>('select pg_switch_wal()::text as lsn')).lsn);
}
