import { z } from 'zod';
import { messageParamsSchema } from './finding.ts';
import { fillTemplate, type ParamsOf } from './message-template.ts';

/** Why a rotation keeps or removes a backup. */
export const ROTATION_REASONS = {
  BROKEN: 'broken: {error}: {message}',
  CLOCK_JUMPED: 'the clock of the host jumped by {minutes:count} minutes a short time ago',
  CLOCK_AHEAD_OF_BACKUPS: 'the newest backup was finished {minutes:count} minutes in the future',
  CLOCKS_OF_CONTROL_APART: 'the clocks of host and control plane are {minutes:count} minutes apart',
  CLOCKS_OF_REPOSITORY_APART: 'the clocks of host and repository are {minutes:count} minutes apart',
  HELD: 'held',
  IN_USE: 'in use by another job',
  KEEP_BAD: 'bad, kept until the backups after it are removed',
  KEEP_BEFORE_SIZE_CHANGE: 'from before a change of size that its host has not accepted (`lastgood agent accept`)',
  KEEP_DAILY: 'the first of its day (host limit)',
  KEEP_LAST: 'one of the last {count:count}',
  KEEP_LAST_GOOD: 'the last good backup',
  KEEP_LAST_RESTORE_TESTED: 'the last restore-tested backup',
  KEEP_LAST_VERIFIED: 'the last verified backup',
  KEEP_MINIMUM: 'below the minimum number',
  KEEP_SUSPECT: 'its size is suspect',
  KEEP_WEEKLY: 'the first of its week (host limit)',
  KEEP_WITHIN: 'within {hours:count} hours of the newest',
  KEEP_WINDOW_EDGE: 'covers the start of the window',
  MAXIMUM_REMOVED: 'at most {count:count} are removed per run (host limit)',
  MAXIMUM_REMOVED_PER_DAY: 'at most {count:count} are removed within 24 hours (host limit)',
  NEEDED: 'backup {backup} depends on it',
  NEWER_VERSION: 'made by a newer version',
  NO_GOOD_BACKUP: 'there is no good backup of this group',
  NO_RULE: 'no retention rule is set',
  OUTSIDE_RULES: 'not kept by any rule',
  YOUNGER_THAN_MINIMUM: 'younger than {hours:count} hours (host limit)',
} as const;
export type RotationReasonCode = keyof typeof ROTATION_REASONS;

/** A code of ROTATION_REASONS; `params.database` is the database whose group keeps the backup, when it is not every one of it. */
export const rotationReasonSchema = z.object({ code: z.string().max(64), params: messageParamsSchema });
export type RotationReason = z.infer<typeof rotationReasonSchema>;

type Params<C extends RotationReasonCode> = ParamsOf<(typeof ROTATION_REASONS)[C]>;
export function makeReason<C extends RotationReasonCode>(
  code: C,
  ...[params]: keyof Params<C> extends never ? [] : [params: Params<C>]
): RotationReason {
  return { code, params: { ...(params as RotationReason['params'] | undefined) } };
}

/** For display alone. */
export function formatReason({ code, params }: RotationReason): string {
  const template = Object.hasOwn(ROTATION_REASONS, code) ? ROTATION_REASONS[code as RotationReasonCode] : code;
  const text = fillTemplate(template, params);
  return typeof params['database'] === 'string' ? `${text} of "${params['database']}"` : text;
}
