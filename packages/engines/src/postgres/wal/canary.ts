import type { Session } from '../session.ts';
import type { Micros } from './instant.ts';
import { type Lsn, parseLsn } from './lsn.ts';

/** One row of the canary: it was committed between two readings of the server's clock. */
export interface CanaryBeat {
  readonly id: bigint;
  readonly beforeCommit: Micros;
  readonly afterCommit: Micros;
  /** The end of WAL right after the commit. */
  readonly lsn: Lsn;
}
/** An instant between two beats, and what must be there. */
export interface CanaryTarget {
  readonly at: Micros;
  readonly expectedId: bigint;
}

const SCHEMA = 'lastgood_canary';
const CREATE = `create schema if not exists ${SCHEMA};
create table if not exists ${SCHEMA}.beats (id bigint generated always as identity primary key, at timestamptz not null);
revoke all on schema ${SCHEMA} from public`;
const KEPT_DAYS = 60;
const NOW = '(extract(epoch from clock_timestamp()) * 1000000)::bigint::text';

/** Makes the schema of the canary. It holds one small table and belongs to the role of the session. */
export async function createCanary(session: Session): Promise<void> {
  await session.run(CREATE);
}

/** Removes it with everything in it. */
export async function dropCanary(session: Session): Promise<void> {
  await session.run(`drop schema if exists ${SCHEMA} cascade`);
}

/** Writes one row in a transaction of its own: a long transaction would say nothing about when it was committed. */
export async function writeBeat(session: Session): Promise<CanaryBeat> {
  const insert = `insert into ${SCHEMA}.beats (at) values (clock_timestamp()) returning id::text as id, (extract(epoch from at) * 1000000)::bigint::text as before`;
  const { id, before } = await session.one<{ id: string; before: string }>(insert);
  const { after, lsn } = await session.one<{ after: string; lsn: string }>(
    `select ${NOW} as after, pg_current_wal_insert_lsn()::text as lsn`,
  );
  return { id: BigInt(id), beforeCommit: BigInt(before), afterCommit: BigInt(after), lsn: parseLsn(lsn) };
}

/** Forgets rows that no kept recovery point needs. */
export async function pruneBeats(session: Session): Promise<void> {
  await session.run(`delete from ${SCHEMA}.beats where at < now() - interval '${KEPT_DAYS} days'`);
}

/** The newest row of a copy; null when there is none. */
export async function newestBeat(session: Session): Promise<bigint | null> {
  const { id } = await session.one<{ id: string | null }>(`select max(id)::text as id from ${SCHEMA}.beats`);
  return id === null ? null : BigInt(id);
}

/**
 * Chooses an instant between two beats of a window (both ends inclusive), so that the row before it must be there and the one after it
 * must not. `choose` is a random number from 0 to below 1. Null when the window holds no two beats with time between them.
 */
export function chooseCanaryTarget(
  beats: readonly CanaryBeat[],
  window: { readonly from: Micros; readonly to: Micros },
  choose: number,
): CanaryTarget | null {
  const sorted = beats.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  const pairs = sorted.flatMap((beat, index): CanaryTarget[] => {
    const next = sorted[index + 1];
    // A clock that was set back, or beats that overlap, tell nothing.
    if (next === undefined || next.beforeCommit - beat.afterCommit < 2n) return [];
    if (beat.afterCommit < window.from || next.afterCommit > window.to) return [];
    return [{ at: beat.afterCommit + (next.beforeCommit - beat.afterCommit) / 2n, expectedId: beat.id }];
  });
  return pairs[Math.min(pairs.length - 1, Math.floor(choose * pairs.length))] ?? null;
}
