import { nameSchema } from '@lastgood/protocol';
import { z } from 'zod';
import { durationSchema } from '../duration.ts';
import { checkCron, isTimezone } from '../schedules/cron.ts';

/** Whether an expression fires does not depend on the zone, and every one that fires at all has fired since 1970. */
const cronSchema = z
  .string()
  .min(1)
  .max(100)
  .superRefine((cron, context) => {
    const found = checkCron(cron, 'UTC', 0);
    if (found?.code === 'cron_never_fires') context.addIssue(`"${cron}" never fires`);
    if (found?.code === 'cron_invalid') context.addIssue(`invalid cron expression "${cron}": ${found.detail}`);
  });

export const timezoneSchema = z
  .string()
  .max(100)
  .superRefine((name, context) => {
    if (!isTimezone(name)) context.addIssue(`unknown time zone "${name}"`);
  });

/** The keys that every schedule of the file has. Defaults are applied where schedules are assigned to targets. */
export const scheduleShape = {
  name: nameSchema.optional().describe('Unique within a target. Derived from the method or level when absent.'),
  cron: cronSchema.describe('Five cron fields in the time zone.'),
  timezone: timezoneSchema.optional().describe('An IANA time zone; that of the environment when absent.'),
  spread: durationSchema
    .optional()
    .describe('Each target starts at a fixed point of this span after the due time; 0s when absent.'),
  window: durationSchema.optional().describe('The latest start after the due time; 1h when absent.'),
  maxRun: durationSchema.optional().describe('Runs that take longer are ended; 12h when absent.'),
  catchUp: z
    .enum(['none', 'last'])
    .optional()
    .describe(
      '`last`: of the runs that were due while the agent was down, the newest runs once it is back; `none`: none of them. `last` when absent.',
    ),
};
export const SCHEDULE_DEFAULTS = {
  spread: 0,
  window: 3_600_000,
  maxRun: 12 * 3_600_000,
  catchUp: 'last',
  timezone: 'UTC',
} as const;
