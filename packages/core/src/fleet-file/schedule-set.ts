import { LIMITS, type ScheduleEntry, type ScheduleSet } from '@lastgood/protocol';
import { Failure } from '../failure.ts';
import { deriveUuid } from '../schedules/derived-id.ts';
import { jobSpecOf } from './job-spec.ts';
import { effectivePolicy, type MatchTarget } from './match.ts';
import type { FleetFile } from './schema.ts';

const REVISIONS = '9f0c5a1e-6a51-5d38-b7a4-2a0c8f7be611';

/** The schedules of one host: those of all its targets, in a fixed order. `holdsOf` gives the held backups of a target. */
export function scheduleEntriesOf(
  file: FleetFile,
  targets: readonly MatchTarget[],
  holdsOf: (target: string) => readonly string[],
): ScheduleEntry[] {
  const entries = targets.flatMap((target) => {
    const policy = effectivePolicy(file, target);
    if (policy === null) return [];
    const facts = { retention: policy.retention, holds: holdsOf(target.target) };
    return policy.schedules.flatMap(({ name, work, schedule }): ScheduleEntry[] => {
      const spec = jobSpecOf(work, target.target, facts);
      return spec === null ? [] : [{ ...schedule, name, spec }];
    });
  });
  return entries.toSorted((a, b) => (a.scheduleId < b.scheduleId ? -1 : 1));
}

/**
 * The set with its revision, which is derived from the content. Throws BAD_INPUT for a set that does not fit into a message: the host has
 * too many targets or schedules.
 */
export function makeScheduleSet(host: string, entries: readonly ScheduleEntry[]): ScheduleSet {
  const text = JSON.stringify(entries);
  const bytes = new TextEncoder().encode(text).length;
  if (entries.length > LIMITS.schedules || bytes > LIMITS.scheduleSetBytes)
    throw new Failure(
      'BAD_INPUT',
      `the ${entries.length} schedules of ${host} have ${bytes} bytes; the limits are ${LIMITS.schedules} and ${LIMITS.scheduleSetBytes} bytes`,
      { remedy: 'Give this host fewer targets, or its targets fewer schedules.' },
    );
  return { revision: deriveUuid(REVISIONS, text), entries: [...entries] };
}
