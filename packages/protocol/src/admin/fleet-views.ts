import { z } from 'zod';
import { nameSchema, uuidSchema } from '../ids.ts';
import { ALERT_STATES, OCCURRENCE_STATES, TARGET_STATES } from './states.ts';

/** One difference between the fleet file in force and another. */
export const fleetChangeSchema = z.object({
  /** `['policies', 'critical', 'retention', 'keepWithin']`. */
  path: z.array(z.string()),
  kind: z.enum(['added', 'removed', 'changed']),
  before: z.json(),
  after: z.json(),
  /** Why it needs consent; null when nothing is lost. */
  loss: z.enum(['retention_shortened', 'protection_removed', 'alert_silenced']).nullable(),
});
export type FleetChangeView = z.infer<typeof fleetChangeSchema>;

export const fleetDiffSchema = z.object({
  /** The revision in force; 0 before the first. */
  revision: z.int(),
  changes: z.array(fleetChangeSchema),
  /** Targets that have a policy now and would have none. */
  unprotected: z.array(z.string()),
  /** What the file may be wrong about, with its place in the text. */
  warnings: z.array(z.object({ line: z.int(), column: z.int(), path: z.string(), message: z.string() })),
});
export type FleetDiffView = z.infer<typeof fleetDiffSchema>;

export const fleetFileViewSchema = z.object({
  revision: z.int(),
  /** The file in force as YAML; an empty fleet before the first. */
  text: z.string(),
});
export type FleetFileView = z.infer<typeof fleetFileViewSchema>;

export const occurrenceStateSchema = z.enum(OCCURRENCE_STATES);

export const occurrenceViewSchema = z.object({
  /** Also the id of its job, once that exists. */
  occurrenceId: uuidSchema,
  environment: z.string(),
  host: z.string(),
  target: nameSchema,
  schedule: z.string(),
  command: z.string(),
  dueAt: z.number(),
  state: occurrenceStateSchema,
  /** The error code of one that failed or was skipped. */
  code: z.string().nullable(),
});
export type OccurrenceView = z.infer<typeof occurrenceViewSchema>;

export const alertViewSchema = z.object({
  alertId: uuidSchema,
  code: z.string(),
  severity: z.enum(['critical', 'warning']),
  state: z.enum(ALERT_STATES),
  /** What it is about, `prod/db-1/shop`. */
  subject: z.string(),
  params: z.record(z.string(), z.union([z.string(), z.number(), z.null()])),
  text: z.string(),
  openedAt: z.number(),
  firedAt: z.number().nullable(),
  acknowledged: z.object({ by: z.string(), at: z.number(), note: z.string().nullable() }).nullable(),
  resolvedAt: z.number().nullable(),
});
export type AlertView = z.infer<typeof alertViewSchema>;

/** Whether a target meets its objectives. Durations are in milliseconds. */
export const objectivesViewSchema = z.object({
  state: z.enum(TARGET_STATES),
  /** Why, by code, worst first. */
  reasons: z.array(z.looseObject({ code: z.string() })),
  /** Null: no policy of the target has this objective. */
  rpoMs: z.number().nullable(),
  rtoMs: z.number().nullable(),
  recoveryPointAt: z.number().nullable(),
  /** How much time of data would be lost now. */
  exposureMs: z.number().nullable(),
  restoreTime: z.object({ ms: z.number(), basis: z.enum(['measured', 'estimated']) }).nullable(),
  restoreTest: z.object({ at: z.number(), level: z.int(), backupId: uuidSchema, isStale: z.boolean() }).nullable(),
});
export type ObjectivesView = z.infer<typeof objectivesViewSchema>;
