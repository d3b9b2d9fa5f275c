import { type ControlJob, type ControlLedger, type JobSpec, TERMINAL_STATES } from '@lastgood/protocol';

type Rotation = Extract<JobSpec, { command: 'rotate' }>;

/** True if a backup was held that the rotation does not know of: it must not start. */
export const isOutdated = (rotation: Rotation, held: readonly string[]): boolean =>
  held.some((backupId) => !rotation.holds.includes(backupId));

/**
 * The rotation that may be removing a backup of a target at this moment: one that was allowed to start and has not ended, and
 * does not know that the backup is held. Whether a rotation that a catalog restore has frozen was allowed is unknown, so it counts.
 */
export function rotationThatMayRemove(ledger: ControlLedger, target: string, backupId: string): ControlJob | undefined {
  return [...ledger.jobs.values()].find(({ spec, state, grantedNonce, frozen }) => {
    if (spec.command !== 'rotate' || spec.dryRun || spec.target !== target || TERMINAL_STATES.has(state)) return false;
    return (grantedNonce !== null || frozen) && !spec.holds.includes(backupId);
  });
}
