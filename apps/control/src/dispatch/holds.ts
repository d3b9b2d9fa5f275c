import { Failure } from '@lastgood/core';
import {
  type ControlJob,
  type ControlLedger,
  creatorOf,
  type Hold,
  type JobSpec,
  TERMINAL_STATES,
} from '@lastgood/protocol';

type Rotation = Extract<JobSpec, { command: 'rotate' }>;

const isOpen = ({ state }: ControlJob): boolean => !TERMINAL_STATES.has(state);

/** The backups of a target that holds, or releases, are to reach: their jobs are open. */
function backupsOf(ledger: ControlLedger, command: 'hold' | 'release', target: string): string[] {
  return [...ledger.jobs.values()].flatMap((job) =>
    job.spec.command === command && job.spec.target === target && isOpen(job) ? [job.spec.backupId] : [],
  );
}

/**
 * The backups of a target that no rotation may remove: those that the catalog knows as held, until their release is reported, and those
 * whose hold is pending.
 */
export const protectedIds = (ledger: ControlLedger, target: string, held: readonly string[]): string[] => [
  ...new Set([...held, ...backupsOf(ledger, 'hold', target)]),
];

/** `pending`: the agent has not yet reported the hold. `releasing`: it has not yet reported the release. */
export function holdStateOf(
  ledger: ControlLedger,
  backup: { readonly backupId: string; readonly target: string; readonly isHeld: boolean },
): 'none' | 'pending' | 'held' | 'releasing' {
  const { backupId, target, isHeld } = backup;
  if (isHeld) return backupsOf(ledger, 'release', target).includes(backupId) ? 'releasing' : 'held';
  return backupsOf(ledger, 'hold', target).includes(backupId) ? 'pending' : 'none';
}

/** True if a backup is protected that the rotation does not know of: it must not start. */
export const isOutdated = (rotation: Rotation, protectedBackups: readonly string[]): boolean =>
  protectedBackups.some((backupId) => !rotation.holds.includes(backupId));

/**
 * The rotation that may be removing a backup of a target at this moment: one that was allowed to start and has not ended, and
 * does not know that the backup is held. Whether a rotation that a catalog restore has frozen was allowed is unknown, so it counts.
 */
function rotationThatMayRemove(ledger: ControlLedger, target: string, backupId: string): ControlJob | undefined {
  return [...ledger.jobs.values()].find((job) => {
    const { spec, grantedNonce, frozen } = job;
    if (spec.command !== 'rotate' || spec.dryRun || spec.target !== target || !isOpen(job)) return false;
    return (grantedNonce !== null || frozen) && !spec.holds.includes(backupId);
  });
}

/**
 * To be called in the step that creates a job, as the grant of a rotation is a step: whichever comes first, the other one knows of it.
 * Throws CONFLICT if the job is a hold, and a rotation may be removing its backup at this moment.
 */
export function assertHoldIsInTime(ledger: ControlLedger, spec: JobSpec): void {
  if (spec.command !== 'hold') return;
  const rotation = rotationThatMayRemove(ledger, spec.target, spec.backupId);
  if (rotation !== undefined)
    throw new Failure('CONFLICT', `rotation ${rotation.jobId} may be removing this backup at this moment`, {
      remedy: 'Wait for the rotation to end (`lastgood jobs list`), then hold what is left.',
    });
}

/**
 * Throws FORBIDDEN if the job would end a hold that the caller did not create, unless the caller is an admin: a token that may only operate
 * must not undo what keeps a backup from rotation. Pending holds count. A hold whose creator cannot be read takes an admin.
 */
export function assertMayRelease(
  ledger: ControlLedger,
  spec: JobSpec,
  hold: Hold | null,
  caller: { readonly name: string; readonly scope: string },
): void {
  if (spec.command !== 'release' || caller.scope === 'admin') return;
  const pending = [...ledger.jobs.values()].filter(
    (job) => job.spec.command === 'hold' && job.spec.backupId === spec.backupId && isOpen(job),
  );
  const creators = [...(hold === null ? [] : [hold.by]), ...pending.map(({ origin }) => creatorOf(origin))];
  const other = creators.find((creator) => creator !== caller.name);
  if (other === undefined) return;
  throw new Failure('FORBIDDEN', `the backup is held by ${other ?? 'somebody unknown'}, not by ${caller.name}`, {
    remedy: 'Ask the creator of the hold, or release it with a token of scope admin.',
  });
}
