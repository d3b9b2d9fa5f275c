import type { Session } from '../session.ts';

/** Settings that a hot standby must have at least as high as the server that wrote the WAL. */
const NAMES = [
  'max_connections',
  'max_worker_processes',
  'max_wal_senders',
  'max_prepared_transactions',
  'max_locks_per_transaction',
] as const;

/** They are stored with a backup; a recovery that is lower pauses or ends. */
export type RecoverySettings = Readonly<Record<(typeof NAMES)[number], number>>;

export async function readRecoverySettings(session: Session): Promise<RecoverySettings> {
  const rows = await session.rows<{ name: keyof RecoverySettings; value: number }>(
    'select name, setting::int as value from pg_settings where name = any($1)',
    [[...NAMES]],
  );
  const values = new Map(rows.map(({ name, value }) => [name, value]));
  return {
    max_connections: values.get('max_connections') ?? 100,
    max_worker_processes: values.get('max_worker_processes') ?? 8,
    max_wal_senders: values.get('max_wal_senders') ?? 10,
    max_prepared_transactions: values.get('max_prepared_transactions') ?? 0,
    max_locks_per_transaction: values.get('max_locks_per_transaction') ?? 64,
  };
}

/** The name of the superuser that initdb made. It exists at every point in time, unless it was renamed. */
export async function readFirstSuperuser(session: Session): Promise<string> {
  return (await session.one<{ name: string }>('select rolname as name from pg_catalog.pg_roles where oid = 10')).name;
}
