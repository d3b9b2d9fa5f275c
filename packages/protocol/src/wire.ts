import { z } from 'zod';
import { errorCodes } from './errors.ts';
import { jobSpecSchema } from './job-spec.ts';
import { nameSchema, uuidSchema } from './names.ts';

/** Raised with every change of the messages; the control plane speaks its own version and the two before (docs/protocol.md). */
export const PROTOCOL_VERSION = 1;
export const LIMITS = {
  frameBytes: 256 * 1024,
  reportBytes: 128 * 1024,
  eventBytes: 8 * 1024,
  /** One event with the result of a backup or a rotation: their lists of databases and decisions are what they are for. */
  wideEventBytes: 96 * 1024,
  commandWindow: 32,
  inFlightCalls: 32,
  helloMs: 10_000,
  /** Targets of one host. */
  targets: 256,
  /** Databases of one target that an agent tells of. */
  inventoryDatabases: 200,
  maxBufferedBytes: 1024 * 1024,
} as const;
export const CLOSE = {
  badFrame: 4400,
  authExpired: 4401,
  quarantined: 4403,
  slowConsumer: 4408,
  superseded: 4409,
  diverged: 4412,
  protocol: 4426,
  drain: 4503,
} as const;

const seq = z.int().min(0);
const attempt = z.int().min(1);
/** Random per event; `prev` chains the events of one attempt so that two histories with equal counters differ. */
const eventId = z.string().min(1).max(64);

export const eventTypeSchema = z.enum([
  'accepted',
  'rejected',
  'running',
  'succeeded',
  'failed',
  'cancelled',
  'expired',
  'interrupted',
]);
export type EventType = z.infer<typeof eventTypeSchema>;
export const wireErrorSchema = z.object({
  code: z.enum(errorCodes),
  message: z.string().max(4096),
  remedy: z.string().max(1024),
});

export const jobEventSchema = z.object({
  id: eventId,
  prev: eventId.nullable(),
  jobId: uuidSchema,
  attempt,
  n: z.int().min(1),
  type: eventTypeSchema,
  at: z.number(),
  error: wireErrorSchema.nullable(),
  /** The result of a succeeded job (see job-result.ts); bounded by LIMITS.eventBytes and LIMITS.wideEventBytes. */
  result: z.json().nullable(),
});
export type JobEvent = z.infer<typeof jobEventSchema>;

export const agentCommandSchema = z.discriminatedUnion('type', [
  z.object({
    seq,
    type: z.literal('job.start'),
    jobId: uuidSchema,
    attempt,
    spec: jobSpecSchema,
    startBy: z.number(),
    deadlineMs: z.number().positive(),
  }),
  z.object({ seq, type: z.literal('job.cancel'), jobId: uuidSchema, attempt }),
  z.object({ seq, type: z.literal('noop') }),
]);
export type AgentCommand = z.infer<typeof agentCommandSchema>;

/** What an agent says of one attempt it has in its journal. */
export const journalJobSchema = z.object({
  jobId: uuidSchema,
  attempt,
  n: z.int().min(0),
  lastEventId: eventId.nullable(),
  lastType: eventTypeSchema.nullable(),
  open: z.boolean(),
  running: z.boolean(),
  spec: jobSpecSchema,
  startBy: z.number(),
  deadlineMs: z.number(),
  /**
   * The terminal event's error and result, so that a control plane restored from an old copy learns them again; cut short, and
   * null as long as that event is unconfirmed, for then it brings them.
   */
  error: wireErrorSchema.nullable(),
  result: z.json().nullable(),
});
export type JournalJob = z.infer<typeof journalJobSchema>;

export const helloInputSchema = z.object({
  instanceId: uuidSchema,
  lastSeq: seq,
  incarnation: z.string().nullable(),
  capabilities: z.array(z.string()),
  clock: z.number(),
  agentVersion: z.string(),
  protocol: z.int(),
  jobs: z.array(journalJobSchema),
});
export type HelloInput = z.infer<typeof helloInputSchema>;
export const knownJobSchema = z.object({
  jobId: uuidSchema,
  attempt,
  lastN: z.int().min(0),
  lastEventId: eventId.nullable(),
  terminal: z.boolean(),
  handed: z.boolean(),
  diverged: z.boolean(),
  spec: jobSpecSchema,
  startBy: z.number(),
  deadlineMs: z.number(),
});
export type KnownJob = z.infer<typeof knownJobSchema>;
export const helloAnswerSchema = z.object({
  sessionId: z.string(),
  epoch: z.int(),
  incarnation: z.string(),
  protocol: z.int(),
  controlClock: z.number(),
  heartbeatMs: z.number(),
  leaseMs: z.number(),
  spreadMs: z.number(),
  /** The control plane was restored from a copy and has taken the agent's word; the agent adopts this sequence. */
  merged: z.object({ baseSeq: seq }).nullable(),
  /** The agent's host was rolled back; the agent adopts this sequence and ends what it does not know. */
  reset: z.object({ seq, jobs: z.array(knownJobSchema) }).nullable(),
});
export type HelloAnswer = z.infer<typeof helloAnswerSchema>;

export const progressSchema = z.object({
  jobId: uuidSchema,
  attempt,
  phase: z.string().max(64),
  doneBytes: z.number(),
  totalBytes: z.number().nullable(),
  bytesPerSecond: z.number(),
  at: z.number(),
});
export type Progress = z.infer<typeof progressSchema>;
const session = { sessionId: z.string() };
export const ackInputSchema = z.object({ ...session, upToSeq: seq });
/** The agent's wall clock as it sends, so that one that was repaired is believed again without a new session. */
const clock = z.number().optional();
export const beginInputSchema = z.object({
  ...session,
  jobId: uuidSchema,
  attempt,
  nonce: z.string().min(1).max(64),
  clock,
});
export const beginAnswerSchema = z.object({ granted: z.boolean(), ttlMs: z.number(), reason: z.string() });
export const reportInputSchema = z.object({ ...session, events: z.array(jobEventSchema).min(1).max(256) });
export const reportAnswerSchema = z.object({ acceptedIds: z.array(z.string()) });
export const heartbeatInputSchema = z.object({
  ...session,
  ackSeq: seq,
  progress: z.array(progressSchema).max(64),
  running: z.array(z.object({ jobId: uuidSchema, attempt })).max(64),
  outboxDepth: z.int(),
  clock,
});
export const heartbeatAnswerSchema = z.object({
  controlClock: z.number(),
  cancel: z.array(z.object({ jobId: uuidSchema, attempt })),
});

export const targetInventorySchema = z.object({
  name: nameSchema,
  engine: z.enum(['postgres', 'redis', 'neo4j']),
  labels: z.record(z.string(), z.string()),
  repository: nameSchema,
  state: z.enum(['ok', 'unreachable', 'refused']),
  version: z.string().nullable(),
  systemId: z.string().nullable(),
  sizeBytes: z.number().nullable(),
  databases: z.array(z.object({ name: z.string(), sizeBytes: z.number() })),
  /** One that begins with an error code and a colon says that the target is not in order. */
  findings: z.array(z.string()),
});
export type TargetInventory = z.infer<typeof targetInventorySchema>;
/** Short facts of a backup as the agent's repository scan or a succeeded job tells them. */
export const backupSummarySchema = z.object({
  backupId: uuidSchema,
  target: nameSchema,
  repository: nameSchema,
  engine: z.string(),
  kind: z.string(),
  sequence: z.int(),
  jobId: uuidSchema,
  startedAt: z.string(),
  snapshotAt: z.string(),
  finishedAt: z.string(),
  databases: z.array(z.string()),
  producedBytes: z.number(),
  storedBytes: z.number(),
  manifestSha256: z.string(),
  state: z.enum(['good', 'suspect', 'bad', 'missing']),
  verified: z.object({ level: z.int(), at: z.string(), passed: z.boolean() }).nullable(),
  warnings: z.array(z.string()),
});
export type BackupSummary = z.infer<typeof backupSummarySchema>;
export const factsInputSchema = z.object({
  ...session,
  hash: z.string(),
  targets: z.array(targetInventorySchema).max(LIMITS.targets),
  backups: z.array(backupSummarySchema).max(10_000),
  /** False: only the newest backups fitted into the frame. */
  complete: z.boolean().default(true),
  /** Backups that a rotation has removed, whatever became of its report: they are not missing. */
  removed: z.array(uuidSchema).max(10_000).default([]),
  /** The targets whose repository was read, of which `backups` tells; all of them when an older agent does not say. */
  scanned: z.array(nameSchema).max(LIMITS.targets).optional(),
});

export const enrolInputSchema = z.object({
  token: z.string().min(1).max(256),
  installId: uuidSchema,
  host: nameSchema,
  environment: nameSchema,
  labels: z.record(z.string(), z.string()),
  publicKey: z.string().max(1024),
  protocol: z.int(),
});
export const enrolAnswerSchema = z.object({ agentId: uuidSchema });
