import { z } from 'zod';
import { nameSchema, sha256Schema, uuidSchema } from '../ids.ts';
import { runbookModeSchema, runEventSchema, runStateSchema, shownContactSchema } from './runbook-views.ts';

const instant = z.string();
const millis = z.number();

const evidenceStepSchema = z.object({
  name: nameSchema,
  title: z.string(),
  /** `succeeded`, `failed`, `skipped` and so on. */
  state: z.string(),
  startedAt: instant.nullable(),
  durationMs: millis.nullable(),
  tries: z.int(),
  /** Who has approved or skipped it. */
  by: z.string().nullable(),
  /** Why it was skipped, or the error code. */
  reason: z.string().nullable(),
  jobs: z.array(
    z.object({
      jobId: uuidSchema,
      command: z.string(),
      state: z.string(),
      durationMs: millis.nullable(),
      /** The recovery point that a restore has reached. */
      reached: z.string().nullable(),
      /** The level that a restore test has reached. */
      level: z.int().nullable(),
    }),
  ),
});

/** The report of one run or drill of a runbook, as an auditor reads it. Its hash is that of its text. */
export const evidenceDocumentSchema = z.object({
  version: z.literal(1),
  kind: z.literal('lastgood-evidence'),
  sequence: z.int().min(1),
  /** SHA-256 of the report before it; null for the first. */
  previous: sha256Schema.nullable(),
  runId: uuidSchema,
  runbook: nameSchema,
  mode: runbookModeSchema,
  state: runStateSchema,
  fleetRevision: z.int(),
  planHash: sha256Schema,
  startedBy: z.string(),
  startedAt: instant,
  endedAt: instant,
  durationMs: millis,
  objective: z.object({ rtoMs: millis.nullable(), met: z.boolean().nullable() }),
  recoverySet: z.object({
    instant: instant.nullable(),
    skewMs: millis,
    acceptedSkew: z.array(z.string()),
    points: z.array(
      z.object({ target: z.string(), at: instant, basis: z.enum(['backup', 'log']), backupId: uuidSchema.nullable() }),
    ),
  }),
  steps: z.array(evidenceStepSchema),
  events: z.array(runEventSchema.extend({ at: instant })),
  contacts: z.array(shownContactSchema),
});
export type EvidenceDocument = z.infer<typeof evidenceDocumentSchema>;

export const evidenceViewSchema = z.object({
  sequence: z.int(),
  runId: uuidSchema,
  runbook: nameSchema,
  mode: runbookModeSchema,
  state: runStateSchema,
  endedAt: millis,
  sha256: sha256Schema,
});
export type EvidenceView = z.infer<typeof evidenceViewSchema>;

export const storedEvidenceSchema = evidenceViewSchema.extend({
  /** The exact text that is hashed and signed. */
  text: z.string(),
  /** Ed25519 of the text, in base64, and the public key that verifies it. */
  signature: z.string(),
  publicKey: z.string(),
});
export type StoredEvidence = z.infer<typeof storedEvidenceSchema>;
