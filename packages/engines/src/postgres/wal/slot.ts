import type { Session } from '../session.ts';
import { type Lsn, parseLsn } from './lsn.ts';

/** What the server keeps for a slot: `reserved` and `extended` are safe, `unreserved` may be removed by the next checkpoint. */
export type SlotWalStatus = 'reserved' | 'extended' | 'unreserved' | 'lost';

export interface SlotState {
  readonly name: string;
  readonly isActive: boolean;
  /** Null for a slot that reserves no WAL, or whose WAL was removed. */
  readonly restartLsn: Lsn | null;
  readonly walStatus: SlotWalStatus | null;
  /** Bytes that can be written before the slot is lost; null without a limit, negative when it is overdue. */
  readonly safeWalBytes: number | null;
}
/** What a stream of WAL depends on at the server. */
export interface SlotView {
  readonly systemId: string;
  readonly segmentBytes: number;
  readonly majorVersion: number;
  /** `max_slot_wal_keep_size`; null when a slot may fill the disk. */
  readonly slotLimitBytes: number | null;
  readonly slot: SlotState | null;
}

const SETTINGS = `select system_identifier::text as id, current_setting('server_version_num')::int / 10000 as major,
  (select setting::int from pg_settings where name = 'wal_segment_size') as segment,
  (select setting::int from pg_settings where name = 'max_slot_wal_keep_size') as limit_mb from pg_control_system()`;
const SLOT = `select slot_name as name, active, restart_lsn::text as restart, wal_status as status, safe_wal_size::text as safe
  from pg_replication_slots where slot_name = $1 and slot_type = 'physical'`;

/** Reads the state of a slot. Needs no privilege beyond a login. */
export async function readSlotView(session: Session, slotName: string): Promise<SlotView> {
  const settings = await session.one<{ id: string; major: number; segment: number; limit_mb: number }>(SETTINGS);
  const [slot] = await session.rows<{
    name: string;
    active: boolean;
    restart: string | null;
    status: SlotWalStatus | null;
    safe: string | null;
  }>(SLOT, [slotName]);
  return {
    systemId: settings.id,
    segmentBytes: settings.segment,
    majorVersion: settings.major,
    slotLimitBytes: settings.limit_mb < 0 ? null : settings.limit_mb * 1024 * 1024,
    slot:
      slot === undefined
        ? null
        : {
            name: slot.name,
            isActive: slot.active,
            restartLsn: slot.restart === null ? null : parseLsn(slot.restart),
            walStatus: slot.status,
            safeWalBytes: slot.safe === null ? null : Number(slot.safe),
          },
  };
}
