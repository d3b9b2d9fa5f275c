import { z } from 'zod';
import { databaseNameSchema, nameSchema, sha256Schema, uuidSchema } from '../ids.ts';
import { jobOptionsSchema } from './options.ts';
import { restoreRequestSchema } from './restore-request.ts';

/** 0 present · 1 stored bytes re-read · 2 fully decoded · 3 the engine's checker · 4 loaded into a scratch server · 5 expectations hold · 6 equals the source. */
export const verificationLevelSchema = z.union([
  z.literal(0),
  z.literal(1),
  z.literal(2),
  z.literal(3),
  z.literal(4),
  z.literal(5),
  z.literal(6),
]);
export type VerificationLevel = z.infer<typeof verificationLevelSchema>;

/** How many and how old backups stay. No rule given = all are kept. Ages are in hours. */
export const retentionSchema = z.object({
  keepLast: z.int().min(1).max(100_000).optional(),
  keepWithinHours: z
    .number()
    .positive()
    .max(24 * 366 * 20)
    .optional(),
  minimum: z.int().min(1).max(1000).default(1),
});
export type Retention = z.infer<typeof retentionSchema>;

const onTarget = { target: nameSchema };
/** For jobs that read a backup. */
const onBackup = {
  ...onTarget,
  /** The hash of the manifest that the catalog knows: another manifest is refused. The control plane adds it. */
  manifestSha256: sha256Schema.optional(),
  /** Uses the backup even if no key that the host trusts has signed it. */
  acceptUnsigned: z.boolean().optional(),
};
export const jobSpecSchema = z.discriminatedUnion('command', [
  z.object({
    command: z.literal('backup'),
    ...onTarget,
    /** Null: the default method of the engine. */
    method: z.string().min(1).max(32).nullable(),
    /** The names of what is backed up; null for everything. */
    contents: z.array(databaseNameSchema).min(1).max(1000).nullable(),
    options: jobOptionsSchema,
  }),
  z.object({
    command: z.literal('verify'),
    ...onBackup,
    /** Null: the newest good backup at the time the job runs. */
    backupId: uuidSchema.nullable(),
    level: verificationLevelSchema,
    /** The repository whose copy is verified; the first one of the target when absent. */
    repository: nameSchema.optional(),
  }),
  z.object({
    command: z.literal('rotate'),
    ...onTarget,
    retention: retentionSchema,
    holds: z.array(uuidSchema).max(10_000),
    dryRun: z.boolean(),
  }),
  z.object({ command: z.literal('plan'), ...onBackup, request: restoreRequestSchema }),
  z.object({ command: z.literal('restore'), ...onBackup, request: restoreRequestSchema, planHash: sha256Schema }),
  /** What an undo of this restore would take away. Changes nothing. */
  z.object({ command: z.literal('plan-undo'), ...onTarget, restoreJobId: uuidSchema }),
  z.object({ command: z.literal('undo'), ...onTarget, restoreJobId: uuidSchema }),
  /** Keeps a backup, and what it depends on, from rotation until it is released. */
  z.object({ command: z.literal('hold'), ...onTarget, backupId: uuidSchema, reason: z.string().max(500) }),
  z.object({ command: z.literal('release'), ...onTarget, backupId: uuidSchema }),
  /** Copies backups into the other repositories of the target. Null: all good backups that are not there, into all of them. */
  z.object({
    command: z.literal('copy'),
    ...onTarget,
    backupId: uuidSchema.nullable(),
    repository: nameSchema.nullable(),
  }),
  /** Drops what a restore or an undo has set aside, by the name that the inventory reports. */
  z.object({ command: z.literal('drop-set-aside'), ...onTarget, name: databaseNameSchema }),
  /** Lists what backups contain, such as tables. Changes nothing. */
  z.object({
    command: z.literal('list-contents'),
    ...onTarget,
    /** Null: all backups of the target. */
    backupId: uuidSchema.nullable(),
    /** A name, with or without its schema; `*` and `?` stand for any text and any character. Null: everything. */
    name: z.string().min(1).max(255).nullable(),
  }),
  /** Runs a check of the agent file. The check stands in place of a target: `target` is its name. */
  z.object({ command: z.literal('check'), ...onTarget }),
  /** Runs a hook of the agent file, whose name is `target`. */
  z.object({ command: z.literal('hook'), ...onTarget }),
]);
export type JobSpec = z.infer<typeof jobSpecSchema>;
export type Command = JobSpec['command'];

/** A job of the host itself: its `target` is the name of a check or hook of the agent file. */
export type HostJobSpec = Extract<JobSpec, { command: 'check' | 'hook' }>;
export const isHostJob = (spec: JobSpec): spec is HostJobSpec => spec.command === 'check' || spec.command === 'hook';

/** What one job at a time works on. A check may have the name of a target, and does not wait for its jobs. */
export const laneOf = (spec: JobSpec): string => (isHostJob(spec) ? `${spec.command}:${spec.target}` : spec.target);

/** The backup that a job reads, by its id; null when the host chooses it, or the job reads none. */
export function backupIdOf(spec: JobSpec): string | null {
  switch (spec.command) {
    case 'verify':
      return spec.backupId;
    case 'plan':
    case 'restore':
      return spec.request.point.kind === 'backup' ? spec.request.point.backupId : null;
    default:
      return null;
  }
}
