import type { ScheduleSet } from '../schedules/schedule-set.ts';
import type { AgentCommand } from '../session/command.ts';
import type { ControlLedger } from './control-ledger.ts';
import { enqueue } from './control-settle.ts';

/** A set that still waits is replaced by `noop`: its number was given out, and the newer set is whole. */
const withoutWaitingSets = (outbox: readonly AgentCommand[]): AgentCommand[] =>
  outbox.map((command) => (command.type === 'sched.set' ? { seq: command.seq, type: 'noop' } : command));

/** The agent is to hold this set from now on. The set that it is to hold already changes nothing. */
export function setSchedules(ledger: ControlLedger, set: ScheduleSet): ControlLedger {
  if (ledger.schedules?.revision === set.revision) return ledger;
  const outbox = withoutWaitingSets(ledger.outbox);
  return enqueue({ ...ledger, schedules: set, outbox }, { type: 'sched.set', set });
}

/** An agent that reports another revision than it is to hold gets its set again, unless it waits in the outbox. */
export function repeatSchedules(ledger: ControlLedger, heldRevision: string | null): ControlLedger {
  const { schedules: set, outbox } = ledger;
  if (set === null || set.revision === heldRevision) return ledger;
  const waits = outbox.some((command) => command.type === 'sched.set' && command.set.revision === set.revision);
  return waits ? ledger : enqueue(ledger, { type: 'sched.set', set });
}
