import { type AgentLedger, type HandledInstant, storedInstantSchema } from '@lastgood/protocol';
import type { Database } from 'better-sqlite3';
import { seal, unseal } from './seal.ts';

type Handled = AgentLedger['handled'];

/** Reads the instants of all schedules in the order in which they were handled. */
export function readHandled(db: Database): Handled {
  const rows = db
    .prepare<[], { schedule: string; json: string }>('select schedule, json from handled order by position')
    .all();
  const handled = new Map<string, HandledInstant[]>();
  for (const { schedule, json } of rows) {
    const instants = handled.get(schedule) ?? [];
    instants.push(storedInstantSchema.parse(JSON.parse(unseal(schedule, json))));
    handled.set(schedule, instants);
  }
  return handled;
}

/** Writes what differs. Instants are added and removed, never changed; the caller owns the transaction. */
export function writeHandled(db: Database, before: Handled, after: Handled): void {
  const remove = db.prepare('delete from handled where schedule = ? and json = ?');
  const add = db.prepare('insert into handled (schedule, json) values (?, ?)');
  const text = (schedule: string, instant: HandledInstant): string =>
    seal(schedule, JSON.stringify(storedInstantSchema.parse(instant)));
  for (const schedule of new Set([...before.keys(), ...after.keys()])) {
    const [old, now] = [before.get(schedule) ?? [], after.get(schedule) ?? []];
    if (old === now) continue;
    const [had, kept] = [new Set(old), new Set(now)];
    for (const instant of had) if (!kept.has(instant)) remove.run(schedule, text(schedule, instant));
    for (const instant of kept) if (!had.has(instant)) add.run(schedule, text(schedule, instant));
  }
}
