import { z } from 'zod';
import { wireErrorSchema } from '../errors.ts';
import { findingSchema } from '../findings/finding.ts';
import { nameSchema, sha256Schema, uuidSchema } from '../ids.ts';
import { progressSchema } from '../jobs/progress.ts';
import { restoreRequestSchema } from '../jobs/restore-request.ts';
import { detailSchema } from '../jobs/result.ts';
import { verificationLevelSchema } from '../jobs/spec.ts';
import { jobStateSchema } from '../jobs/state.ts';

const stepName = nameSchema;
/** `environment/host/target`, and `environment/host`. */
const targetPath = z.string().max(200);
const hostPath = z.string().max(200);
const millis = z.number();

/** Where a restore goes back to. */
export const reachedPointSchema = z.object({
  at: z.string(),
  /** `log`: an instant that a log stream covers. */
  basis: z.enum(['backup', 'log']),
  backupId: uuidSchema.nullable(),
});
export type ReachedPoint = z.infer<typeof reachedPointSchema>;

/** What a step does, with everything decided. */
export const plannedActionSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('restore'),
    target: targetPath,
    request: restoreRequestSchema,
    point: reachedPointSchema,
  }),
  /** The restore of a drill: a restore test in a scratch server. */
  z.object({
    kind: z.literal('restore-test'),
    target: targetPath,
    backupId: uuidSchema,
    level: verificationLevelSchema,
    point: reachedPointSchema,
  }),
  z.object({ kind: z.literal('check'), host: hostPath, name: nameSchema }),
  z.object({ kind: z.literal('hook'), host: hostPath, name: nameSchema }),
  z.object({ kind: z.literal('wait'), ms: millis }),
  z.object({ kind: z.literal('approve'), by: z.enum(['anyone', 'another']), note: z.string().nullable() }),
  z.object({ kind: z.literal('notify'), contacts: z.array(nameSchema), message: z.string() }),
  /** Nothing: the step would touch what is live, and this is a drill. */
  z.object({ kind: z.literal('left-out'), instead: z.string().max(32) }),
]);
export type PlannedAction = z.infer<typeof plannedActionSchema>;

export const plannedStepSchema = z.object({
  name: stepName,
  title: z.string(),
  after: z.array(stepName),
  /** Tried again by itself so often when the agent stopped while it ran. */
  retries: z.int(),
  main: z.array(plannedActionSchema).min(1),
  /** What a person can choose instead, in this order. */
  alternative: z.array(plannedActionSchema).nullable(),
  /** What the run begins with. */
  choice: z.enum(['main', 'alternative']),
  estimatedMs: millis.nullable(),
});
export type PlannedStep = z.infer<typeof plannedStepSchema>;
export type StepChoice = PlannedStep['choice'];

/** One instant for several targets: what each of them goes back to, and how far they are apart. */
export const recoverySetSchema = z.object({
  /** The instant that was asked for; null: the newest of each target. */
  instant: z.string().nullable(),
  members: z.array(z.object({ step: stepName, target: targetPath, point: reachedPointSchema, lagMs: millis })),
  /** Between the oldest and the newest point. */
  skewMs: millis,
  allowedSkewMs: millis,
  /** The targets that lag behind the newest point by more than is allowed: a person accepts them by name. */
  lagging: z.array(targetPath),
});
export type RecoverySet = z.infer<typeof recoverySetSchema>;

export const runbookModeSchema = z.enum(['run', 'drill']);
export type RunbookMode = z.infer<typeof runbookModeSchema>;

export const shownContactSchema = z.object({
  name: nameSchema,
  description: z.string().nullable(),
  email: z.array(z.string()),
  channels: z.array(z.string()),
});

export const runbookPlanSchema = z.object({
  /** Consent is bound to it: it covers everything that is carried out, and no estimate. */
  hash: sha256Schema,
  runbook: nameSchema,
  revision: z.int(),
  mode: runbookModeSchema,
  steps: z.array(plannedStepSchema),
  set: recoverySetSchema,
  contacts: z.array(shownContactSchema),
  rtoMs: millis.nullable(),
  /** The longest way through the steps; null when a restore was never measured. */
  estimatedMs: millis.nullable(),
  refusals: z.array(findingSchema),
  warnings: z.array(findingSchema),
});
export type RunbookPlan = z.infer<typeof runbookPlanSchema>;

const at = { at: millis };
/** Where a step is. */
export const stepStatusSchema = z.discriminatedUnion('state', [
  z.object({ state: z.literal('pending') }),
  /** `plan`: its agent plans the restore; `work`: the job itself. */
  z.object({
    state: z.literal('running'),
    choice: z.enum(['main', 'alternative']),
    index: z.int(),
    phase: z.enum(['plan', 'work']),
    jobId: uuidSchema,
    planHash: sha256Schema.nullable(),
  }),
  z.object({ state: z.literal('waiting'), until: millis }),
  z.object({ state: z.literal('asking') }),
  z.object({ state: z.literal('succeeded'), ...at, by: z.string().nullable() }),
  z.object({
    state: z.literal('failed'),
    ...at,
    choice: z.enum(['main', 'alternative']),
    index: z.int(),
    error: wireErrorSchema,
    findings: z.array(findingSchema),
  }),
  z.object({ state: z.literal('skipped'), ...at, by: z.string(), reason: z.string() }),
  z.object({ state: z.literal('left-out'), ...at }),
  z.object({ state: z.literal('canceled'), ...at }),
]);
export type StepStatus = z.infer<typeof stepStatusSchema>;

/** A job of a step that has ended. */
export const stepResultSchema = z.object({
  choice: z.enum(['main', 'alternative']),
  index: z.int(),
  jobId: uuidSchema,
  command: z.string(),
  state: jobStateSchema,
  durationMs: millis.nullable(),
  /** The recovery point that was reached. */
  reached: z.string().nullable(),
  level: z.int().nullable(),
  details: z.array(detailSchema),
});
export type StepResult = z.infer<typeof stepResultSchema>;

export const runStepSchema = z.object({
  name: stepName,
  tries: z.int(),
  /** How often it was tried again by itself. */
  interruptions: z.int(),
  startedAt: millis.nullable(),
  status: stepStatusSchema,
  results: z.array(stepResultSchema),
});
export type RunStep = z.infer<typeof runStepSchema>;

export const runEventSchema = z.object({
  ...at,
  step: stepName.nullable(),
  what: z.enum([
    'started',
    'step-started',
    'step-succeeded',
    'step-failed',
    'approved',
    'retried',
    'alternative',
    'skipped',
    'aborted',
    'ended',
  ]),
  by: z.string().nullable(),
  detail: z.string().nullable(),
});
export type RunEvent = z.infer<typeof runEventSchema>;

export const runStateSchema = z.enum(['running', 'aborting', 'succeeded', 'failed', 'aborted']);
export type RunState = z.infer<typeof runStateSchema>;

/** One execution of a runbook. */
export const runbookRunSchema = z.object({
  runId: uuidSchema,
  plan: runbookPlanSchema,
  state: runStateSchema,
  startedBy: z.string(),
  startedAt: millis,
  endedAt: millis.nullable(),
  acceptedSkew: z.array(targetPath),
  /** Approvals that were given with the start. */
  approved: z.array(stepName),
  steps: z.array(runStepSchema),
  events: z.array(runEventSchema),
});
export type RunbookRun = z.infer<typeof runbookRunSchema>;

/** What the job of a running step does now. */
export const stepActivitySchema = z.object({
  step: stepName,
  jobId: uuidSchema,
  /** Null: it is being sent. */
  state: jobStateSchema.nullable(),
  hostOnline: z.boolean(),
  progress: progressSchema.nullable(),
});
export type StepActivity = z.infer<typeof stepActivitySchema>;

export const runbookRunViewSchema = z.object({ run: runbookRunSchema, activity: z.array(stepActivitySchema) });
export type RunbookRunView = z.infer<typeof runbookRunViewSchema>;

const lastRunSchema = z.object({
  runId: uuidSchema,
  state: runStateSchema,
  startedAt: millis,
  endedAt: millis.nullable(),
  durationMs: millis.nullable(),
});
/**
 * How the last drill compares with the RTO. `none`: the runbook has no RTO · `never-drilled` and `drill-failed`: it was not measured, and why ·
 * `met` and `missed`: it was measured.
 */
export const rtoStatusSchema = z.enum(['none', 'never-drilled', 'drill-failed', 'met', 'missed']);
export type RtoStatus = z.infer<typeof rtoStatusSchema>;

export const runbookViewSchema = z.object({
  name: nameSchema,
  description: z.string().nullable(),
  steps: z.int(),
  rtoMs: millis.nullable(),
  lastRun: lastRunSchema.nullable(),
  /** The last drill that ended. */
  lastDrill: lastRunSchema.nullable(),
  /** When its schedule drills it next; null without one. */
  nextDrillAt: millis.nullable(),
  /** The instant for which no drill has started although its window is over. */
  drillOverdueSince: millis.nullable(),
  rto: rtoStatusSchema,
  /** The targets that it restores, `environment/host/target`. */
  targets: z.array(targetPath),
});
export type RunbookView = z.infer<typeof runbookViewSchema>;

/** What a person decides about one step of a run. */
export const stepDecisionSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('retry'), step: stepName }),
  z.object({
    type: z.literal('alternative'),
    step: stepName,
    /** Targets whose lag behind the newest point the person accepts, beside those of the start. */
    acceptedSkew: z.array(targetPath).max(100).default([]),
  }),
  z.object({ type: z.literal('skip'), step: stepName, reason: z.string().min(1).max(500) }),
  z.object({ type: z.literal('approve'), step: stepName }),
]);
export type StepDecision = z.output<typeof stepDecisionSchema>;
