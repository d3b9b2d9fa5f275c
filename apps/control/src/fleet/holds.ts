import { type ControlJob, type ControlLedger, type JobSpec, TERMINAL_STATES } from '@lastgood/protocol';

type Rotation = Extract<JobSpec, { command: 'rotate' }>;

/** A backup that was held after its rotation had been sent is not known to that rotation: it must not begin. */
export const isOutdated = (rotation: Rotation, held: readonly string[]): boolean =>
  held.some((backupId) => !rotation.holds.includes(backupId));

/**
 * The rotation that may be removing a backup of a target at this moment: one that was allowed to begin and has not ended, and
 * does not know that the backup is held. Of one that a restore of the catalog has frozen nobody knows whether it was allowed.
 */
export function rotationThatMayRemove(ledger: ControlLedger, target: string, backupId: string): ControlJob | undefined {
  return [...ledger.jobs.values()].find(({ spec, state, grantedNonce, frozen }) => {
    if (spec.command !== 'rotate' || spec.dryRun || spec.target !== target || TERMINAL_STATES.has(state)) return false;
    return (grantedNonce !== null || frozen) && !spec.holds.includes(backupId);
  });
}
