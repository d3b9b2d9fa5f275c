import { databaseNameSchema, nameSchema } from '@lastgood/protocol';
import { z } from 'zod';
import { ALERT_CODES } from '../alerts/codes.ts';
import { durationSchema } from '../duration.ts';
import { runbookSchema } from './runbook-schema.ts';
import { scheduleShape, timezoneSchema } from './schedule-schema.ts';

const oneOrMore = z.union([nameSchema, z.array(nameSchema).min(1)]);
const labels = z.record(z.string().min(1).max(63), z.string().max(255));

const environmentSchema = z.strictObject({
  timezone: timezoneSchema.optional().describe('The IANA time zone of its schedules; UTC when absent.'),
  description: z.string().max(1000).optional(),
});

const contactSchema = z
  .strictObject({
    email: z.array(z.email().max(254)).min(1).optional().describe('Addresses of one group of people.'),
    channels: z
      .array(nameSchema)
      .min(1)
      .optional()
      .describe('Channels of the notification file of the control plane, which holds their addresses and secrets.'),
    environments: z.array(nameSchema).min(1).optional().describe('Only alerts of these; of all when absent.'),
    description: z.string().max(1000).optional(),
  })
  .refine(({ email, channels }) => email !== undefined || channels !== undefined, 'give email, channels or both');

const selectSchema = z.strictObject({
  environment: oneOrMore.optional(),
  host: oneOrMore.optional(),
  target: oneOrMore.optional(),
  engine: oneOrMore.optional(),
  labels: labels.optional().describe('The target or its host has all of these labels.'),
});

const objectivesSchema = z.strictObject({
  rpo: durationSchema.optional().describe('At most this much time of data may be lost.'),
  rto: durationSchema.optional().describe('A restore may take at most this long.'),
  restoreTest: durationSchema.optional().describe('A restore test (level 4 and above) older than this is stale.'),
});

const backupSchema = z.strictObject({
  method: nameSchema.describe('A backup method of the engine, such as logical, physical, rdb, aof or dump.'),
  databases: z.array(databaseNameSchema).min(1).optional().describe('Only these databases; all when absent.'),
  options: z
    .record(z.string().min(1).max(63), z.union([z.boolean(), z.number(), z.string().max(255)]))
    .optional()
    .describe('Options of the method, such as `digests: true`.'),
  ...scheduleShape,
});
const verifySchema = z.strictObject({
  level: z
    .literal([0, 1, 2, 3, 4, 5, 6], 'use a level from 0 to 6')
    .describe('Verifies the newest good backup at this level.'),
  ...scheduleShape,
});
const rotateSchema = z.strictObject(scheduleShape);
const copySchema = z.strictObject(scheduleShape);

const count = z.int().min(1).max(100_000);
const retentionSchema = z.strictObject({
  keepLast: count.optional().describe('Keep the newest so many.'),
  keepWithin: durationSchema.optional().describe('Keep those within this time of the newest.'),
  window: durationSchema.optional().describe('Keep what restoring to any instant of this time needs.'),
  hourly: count.optional().describe('Keep the newest of each of so many hours.'),
  daily: count.optional().describe('Keep the newest of each of so many days.'),
  weekly: count.optional().describe('Keep the newest of each of so many weeks.'),
  monthly: count.optional().describe('Keep the newest of each of so many months.'),
  yearly: count.optional().describe('Keep the newest of each of so many years.'),
  minimum: z.int().min(1).max(1000).optional().describe('Never keep fewer good backups than this; 1 when absent.'),
});

const alertsSchema = z.strictObject({
  contacts: z.array(nameSchema).min(1).optional().describe('Who is notified.'),
  pings: z
    .array(nameSchema)
    .min(1)
    .optional()
    .describe('Channels of the type `healthchecks` that receive the start, success and failure of each job.'),
  repeat: durationSchema.optional().describe('Notify again this often while an alert fires; 4h when absent.'),
  escalate: z
    .strictObject({ after: durationSchema, contacts: z.array(nameSchema).min(1) })
    .optional()
    .describe('Also notify these when nobody has acknowledged the alert for so long.'),
  backupAge: durationSchema
    .optional()
    .describe('`backup_age` fires above this; 24h when absent, or the RPO if that is longer.'),
  backupDuration: durationSchema.optional().describe('`backup_duration` fires above this; 1h when absent.'),
  sizeChangePercent: z
    .number()
    .min(1)
    .max(10_000)
    .optional()
    .describe('`backup_size_change` fires above this change against the median of the last 7; 50 when absent.'),
  logLag: durationSchema.optional().describe('`log_lag` fires above this; the RPO when absent.'),
  mute: z.array(z.enum(ALERT_CODES)).min(1).optional().describe('Codes of alerts that are never raised.'),
});

export const policySchema = z.strictObject({
  description: z.string().max(1000).optional(),
  select: selectSchema.describe('The targets that it holds for: all that match every key. `{}` selects all.'),
  objectives: objectivesSchema.optional(),
  requireStream: z.boolean().optional().describe('The log stream of each target must run.'),
  backup: z.array(backupSchema).min(1).optional(),
  verify: z.array(verifySchema).min(1).optional(),
  rotate: z.array(rotateSchema).min(1).optional(),
  copy: z
    .array(copySchema)
    .min(1)
    .optional()
    .describe('Copies backups into the other repositories of each target, which its agent file names.'),
  retention: retentionSchema.optional().describe('What rotation keeps. Without a rule, all is kept.'),
  alerts: alertsSchema.optional(),
});

/** The fleet file: environments, contacts, policies and runbooks. Durations are milliseconds once it is read. */
export const fleetFileSchema = z.strictObject({
  environments: z.record(nameSchema, environmentSchema).default({}),
  contacts: z.record(nameSchema, contactSchema).default({}),
  policies: z.record(nameSchema, policySchema).default({}),
  runbooks: z.record(nameSchema, runbookSchema).default({}),
});
export type FleetFile = z.output<typeof fleetFileSchema>;
export type Policy = FleetFile['policies'][string];
export type Contact = FleetFile['contacts'][string];
export type Selector = Policy['select'];
export type ScheduleEntry = z.output<typeof rotateSchema>;
export type FleetRetention = z.output<typeof retentionSchema>;

/** The JSON schema of the file, for editors. */
export const fleetFileJsonSchema = (): object => z.toJSONSchema(fleetFileSchema, { io: 'input' });
