import { databaseNameSchema, instantSchema, nameSchema } from '@lastgood/protocol';
import { z } from 'zod';
import { durationSchema } from '../duration.ts';
import { scheduleShape } from './schedule-schema.ts';

const PART = '[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?';
const targetPath = z
  .string()
  .regex(new RegExp(`^${PART}/${PART}/${PART}$`), 'name a target as environment/host/target');
const hostPath = z.string().regex(new RegExp(`^${PART}/${PART}$`), 'name a host as environment/host');

const namedOnHost = z.strictObject({
  host: hostPath.describe('The host whose agent runs it.'),
  name: nameSchema.describe('Its name in the agent file of that host.'),
});
const restoreSchema = z.strictObject({
  target: targetPath,
  database: databaseNameSchema.optional().describe('One database; the whole server when absent.'),
  point: z
    .union([z.literal('latest'), instantSchema])
    .optional()
    .describe('The recovery point: an instant with its offset, or `latest` (the default).'),
  into: z
    .union([
      z.enum(['swap', 'in-place']),
      z.strictObject({ new: databaseNameSchema }),
      z.strictObject({ folder: nameSchema }),
    ])
    .describe('Where the restored data goes. A drill always restores into a scratch server.'),
});

/** What a step does; exactly one of these keys. */
const actionShape = {
  restore: restoreSchema.optional(),
  check: namedOnHost.optional().describe('A named check of an agent file must pass.'),
  hook: namedOnHost.optional().describe('A named hook of an agent file is run.'),
  wait: durationSchema.optional().describe('Wait this long.'),
  approve: z
    .strictObject({ by: z.enum(['anyone', 'another']).optional(), note: z.string().max(1000).optional() })
    .optional()
    .describe('Wait until a person approves; `another`: not the one who started the run.'),
  notify: z
    .strictObject({ contacts: z.array(nameSchema).min(1), message: z.string().min(1).max(1000) })
    .optional()
    .describe('Notify contacts.'),
};
export const ACTIONS = ['restore', 'check', 'hook', 'wait', 'approve', 'notify'] as const;
export type ActionKind = (typeof ACTIONS)[number];

const countActions = (step: object): number => ACTIONS.filter((kind) => kind in step).length;
const ONE_ACTION = `use exactly one of ${ACTIONS.join(', ')}`;

const alternativeSchema = z
  .strictObject({ restore: actionShape.restore, check: actionShape.check, hook: actionShape.hook })
  .refine((step) => countActions(step) === 1, 'use exactly one of restore, check, hook');

const stepSchema = z
  .strictObject({
    title: z.string().max(200).optional(),
    after: z
      .array(nameSchema)
      .optional()
      .describe('The steps that must have succeeded before. No step: it may begin at once.'),
    retries: z
      .int()
      .min(0)
      .max(10)
      .optional()
      .describe('How often it is tried again by itself when the agent stopped while it ran; 0 when absent.'),
    ...actionShape,
    alternative: z
      .array(alternativeSchema)
      .min(1)
      .optional()
      .describe('What can be done instead of this step, in order. A person chooses.'),
  })
  .refine((step) => countActions(step) === 1, ONE_ACTION);
export type RunbookStep = z.output<typeof stepSchema>;

export const runbookSchema = z.strictObject({
  description: z.string().max(1000).optional(),
  objectives: z
    .strictObject({
      rto: durationSchema.optional().describe('The whole run may take at most this long.'),
      skew: durationSchema
        .optional()
        .describe('How far the recovery points may be apart without consent by name; 0s when absent.'),
    })
    .optional(),
  contacts: z.array(nameSchema).optional().describe('Who is shown beside the steps.'),
  drill: z.strictObject(scheduleShape).optional().describe('Runs it as a drill on this schedule.'),
  steps: z.record(nameSchema, stepSchema).refine((steps) => Object.keys(steps).length > 0, 'at least one step'),
});
export type Runbook = z.output<typeof runbookSchema>;

/** The kind of a step. The schema makes sure that there is exactly one. */
export const actionOf = (step: RunbookStep): ActionKind => ACTIONS.find((kind) => step[kind] !== undefined) ?? 'wait';
