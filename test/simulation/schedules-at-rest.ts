import type { AgentLedger, ControlLedger } from '@lastgood/protocol';
import { occurrenceIdOf, type Schedule } from './environment.ts';
import { Violation } from './oracle.ts';

/** The agent holds the schedules that it was sent, and every instant that it has handled has its job. */
export function checkSchedules(
  agent: number,
  control: ControlLedger,
  journal: AgentLedger,
  schedules: readonly Schedule[],
): void {
  const [wanted, held] = [control.schedules?.revision, journal.schedules?.revision];
  if (wanted !== undefined && held !== wanted)
    throw new Violation(`agent ${agent}: holds ${held ?? 'no schedules'}, it was sent ${wanted}`);
  for (const schedule of schedules)
    for (const { dueMs } of journal.handled.get(schedule.scheduleId) ?? []) {
      const jobId = occurrenceIdOf(schedule, dueMs);
      if (!journal.mintedIds.has(jobId)) throw new Violation(`${jobId}: is handled, but has no job`);
    }
}
