import { initTRPC, TRPCError } from '@trpc/server';
import { z } from 'zod';
import { wireErrorOf } from './delivery/history.ts';
import type { WireError } from './errors.ts';
import { jobResultSchema } from './job-result.ts';
import { jobSpecSchema } from './job-spec.ts';
import { nameSchema, uuidSchema } from './names.ts';
import { backupSummarySchema, progressSchema, targetInventorySchema, wireErrorSchema } from './wire.ts';

export const jobStateSchema = z.enum([
  'queued',
  'dispatched',
  'accepted',
  'running',
  'lost',
  'succeeded',
  'failed',
  'cancelled',
  'expired',
  'rejected',
]);
export type JobState = z.infer<typeof jobStateSchema>;
/** `read` sees, `operate` makes safe jobs, `destroy` restores, undoes and rotates, `admin` does all and manages tokens. */
export const scopeSchema = z.enum(['read', 'operate', 'destroy', 'admin']);
export type Scope = z.infer<typeof scopeSchema>;

/** A target as people name it: `target`, `host/target` or `environment/host/target`; refused when ambiguous. */
export const targetSelectorSchema = z
  .string()
  .min(1)
  .max(200)
  .regex(/^[a-z0-9_/-]+$/, 'use target, host/target or environment/host/target');

export const hostViewSchema = z.object({
  agentId: uuidSchema,
  environment: nameSchema,
  host: nameSchema,
  labels: z.record(z.string(), z.string()),
  state: z.enum(['online', 'offline', 'never']),
  since: z.number(),
  agentVersion: z.string().nullable(),
  clockSkewMs: z.number().nullable(),
  outboxDepth: z.int(),
  targets: z.array(z.string()),
});
export type HostView = z.infer<typeof hostViewSchema>;
export const targetViewSchema = targetInventorySchema.extend({
  environment: nameSchema,
  host: nameSchema,
  online: z.boolean(),
  lastGood: backupSummarySchema.nullable(),
  /** The newest good backup that was loaded into a server and passed. */
  lastProven: backupSummarySchema.nullable(),
});
export type TargetView = z.infer<typeof targetViewSchema>;
/** The question of the product, for one database: to when could it go back, how long would it take, when was that last proven. */
export const databaseStatusSchema = z.object({
  database: z.string(),
  /** Null when the server does not say. */
  onServer: z.boolean().nullable(),
  /** The newest good backup that holds it. */
  goesBackTo: z.object({ backupId: uuidSchema, snapshotAt: z.string() }).nullable(),
  /** The newest good backup of it that was loaded into a server (level 4 and above), and when. */
  proven: z.object({ backupId: uuidSchema, snapshotAt: z.string(), at: z.string(), level: z.int() }).nullable(),
  /** How long its last restore took, or the proof of that backup, whichever was later. */
  restoreMs: z.number().nullable(),
});
export type DatabaseStatus = z.infer<typeof databaseStatusSchema>;
/** One target with every database that its server or only its backups know of, or a host that has none. */
export const targetStatusSchema = z.object({
  environment: nameSchema,
  host: nameSchema,
  hostState: hostViewSchema.shape.state,
  /** Null, as the state, when the host has told of no target. */
  target: nameSchema.nullable(),
  online: z.boolean(),
  state: targetInventorySchema.shape.state.nullable(),
  findings: z.array(z.string()),
  /** Why it is not in order, its databases aside; nothing when it is. */
  problems: z.array(z.string()),
  databases: z.array(databaseStatusSchema),
});
export type TargetStatus = z.infer<typeof targetStatusSchema>;
export const backupViewSchema = backupSummarySchema.extend({
  environment: nameSchema,
  host: nameSchema,
  held: z.boolean(),
});
export type BackupView = z.infer<typeof backupViewSchema>;
export const jobViewSchema = z.object({
  jobId: uuidSchema,
  environment: nameSchema,
  host: nameSchema,
  target: nameSchema,
  command: z.string(),
  spec: jobSpecSchema,
  state: jobStateSchema,
  attempt: z.int(),
  createdAt: z.number(),
  startedAt: z.number().nullable(),
  endedAt: z.number().nullable(),
  createdBy: z.string(),
  startBy: z.number(),
  cancelRequested: z.boolean(),
  deadlineMs: z.number(),
  hostOnline: z.boolean(),
  /** When the host last came or went; null when it never came. */
  hostSeenAt: z.number().nullable(),
  /** All the time that the job had is over, its host is not there to say what became of it: nobody need wait. */
  overdue: z.boolean(),
  progress: progressSchema.nullable(),
  error: wireErrorSchema.nullable(),
  result: jobResultSchema.nullable(),
});
export type JobView = z.infer<typeof jobViewSchema>;
export const tokenViewSchema = z.object({
  id: uuidSchema,
  name: z.string(),
  kind: z.enum(['api', 'enrol']),
  scope: scopeSchema.nullable(),
  environment: z.string().nullable(),
  host: z.string().nullable(),
  createdAt: z.number(),
  expiresAt: z.number().nullable(),
  lastUsedAt: z.number().nullable(),
  revokedAt: z.number().nullable(),
  usesLeft: z.int().nullable(),
});
export type TokenView = z.infer<typeof tokenViewSchema>;
export const auditEntrySchema = z.object({
  id: z.int(),
  at: z.number(),
  actor: z.string(),
  action: z.string(),
  subject: z.string(),
  detail: z.string(),
});
export type AuditEntry = z.infer<typeof auditEntrySchema>;

export const createJobInputSchema = z.object({
  target: targetSelectorSchema,
  spec: jobSpecSchema,
  idempotencyKey: z.string().min(8).max(128),
  startByMs: z
    .int()
    .min(1000)
    .max(30 * 86_400_000)
    .default(3_600_000),
  deadlineMs: z
    .int()
    .min(1000)
    .max(14 * 86_400_000)
    .default(86_400_000),
});
const page = z.object({ limit: z.int().min(1).max(1000).default(100) });
const maybeTarget = z.object({ target: targetSelectorSchema.optional() });
const tokenName = z
  .string()
  .min(1)
  .max(100)
  .regex(/^[\p{L}\p{N} ._@-]+$/u);
export const inputs = {
  targets: maybeTarget,
  status: maybeTarget,
  backups: maybeTarget.extend(page.shape),
  jobs: maybeTarget.extend(page.shape),
  job: z.object({ jobId: uuidSchema }),
  hold: z.object({ backupId: uuidSchema, held: z.boolean(), reason: z.string().max(500).default('') }),
  createToken: z.object({
    name: tokenName,
    scope: scopeSchema,
    expiresInHours: z
      .number()
      .positive()
      .max(24 * 3660)
      .nullable(),
  }),
  createEnrolToken: z.object({
    environment: nameSchema,
    host: nameSchema,
    expiresInHours: z.number().positive().max(24).default(1),
  }),
  revokeToken: z.object({ id: uuidSchema }),
  audit: page,
  none: z.object({}).default({}),
} as const;

/** What the control plane does for people and scripts; failures are thrown as an object with `wireError`. */
export interface AdminApi {
  hosts(): Promise<HostView[]>;
  targets(input: z.output<typeof inputs.targets>): Promise<TargetView[]>;
  status(input: z.output<typeof inputs.status>): Promise<TargetStatus[]>;
  backups(input: z.output<typeof inputs.backups>): Promise<BackupView[]>;
  jobs(input: z.output<typeof inputs.jobs>): Promise<JobView[]>;
  job(jobId: string): Promise<JobView>;
  createJob(input: z.output<typeof createJobInputSchema>): Promise<JobView>;
  cancelJob(jobId: string): Promise<JobView>;
  hold(input: z.output<typeof inputs.hold>): Promise<BackupView>;
  tokens(): Promise<TokenView[]>;
  createToken(input: z.output<typeof inputs.createToken>): Promise<{ token: string; view: TokenView }>;
  createEnrolToken(input: z.output<typeof inputs.createEnrolToken>): Promise<{ token: string; view: TokenView }>;
  revokeToken(id: string): Promise<TokenView>;
  audit(input: z.output<typeof inputs.audit>): Promise<AuditEntry[]>;
  whoAmI(): Promise<{ name: string; scope: Scope; version: string; protocol: number }>;
}
export interface AdminContext {
  readonly scope: Scope;
  readonly api: AdminApi;
}

const failureOf = (error: unknown): WireError | null =>
  typeof error === 'object' && error !== null && 'wireError' in error
    ? (wireErrorSchema.safeParse(error.wireError).data ?? null)
    : null;
/** What stands for an error of the transport itself, by its code. */
const CODE_OF: Partial<Record<TRPCError['code'], WireError['code']>> = {
  BAD_REQUEST: 'BAD_INPUT',
  PARSE_ERROR: 'BAD_INPUT',
  METHOD_NOT_SUPPORTED: 'BAD_INPUT',
  UNSUPPORTED_MEDIA_TYPE: 'BAD_INPUT',
  PAYLOAD_TOO_LARGE: 'BAD_INPUT',
  NOT_FOUND: 'NOT_FOUND',
  UNAUTHORIZED: 'UNAUTHENTICATED',
  FORBIDDEN: 'FORBIDDEN',
};
/** Every answer that is an error has code, message and remedy; what nobody expected has no words of its own. */
function failureFor(error: TRPCError): WireError {
  const known = failureOf(error.cause);
  if (known !== null) return known;
  const code = CODE_OF[error.code] ?? 'BUG';
  const said = error.cause instanceof z.ZodError ? z.prettifyError(error.cause) : error.message;
  return wireErrorOf(code, code === 'BUG' || code === 'UNAUTHENTICATED' ? error.code : said.slice(0, 1000));
}
const t = initTRPC.context<AdminContext>().create({
  isDev: false,
  errorFormatter: ({ shape, error }) => {
    const failure = failureFor(error);
    return {
      ...shape,
      message: failure.message,
      data: {
        code: shape.data.code,
        httpStatus: shape.data.httpStatus,
        failure,
        badInput: error.cause instanceof z.ZodError,
      },
    };
  },
});
/** The status of a failure that the control plane expected; any other is a 500. */
const STATUS_OF: Partial<Record<WireError['code'], TRPCError['code']>> = {
  BAD_INPUT: 'BAD_REQUEST',
  NOT_FOUND: 'NOT_FOUND',
  CONFLICT: 'CONFLICT',
  FORBIDDEN: 'FORBIDDEN',
  UNAUTHENTICATED: 'UNAUTHORIZED',
  STORE_NO_SPACE: 'SERVICE_UNAVAILABLE',
  STORE_FAILED: 'SERVICE_UNAVAILABLE',
};
const typed = t.procedure.use(async ({ next }) => {
  const result = await next();
  if (result.ok) return result;
  const status = STATUS_OF[failureOf(result.error.cause)?.code ?? 'BUG'];
  if (status === undefined) return result;
  throw new TRPCError({ code: status, cause: result.error.cause });
});
const RANK: Record<Scope, number> = { read: 0, operate: 1, destroy: 2, admin: 3 };
const need = (scope: Scope) =>
  typed.use(({ ctx, next }) => {
    if (RANK[ctx.scope] < RANK[scope])
      throw new TRPCError({ code: 'FORBIDDEN', message: `this needs a token with scope ${scope}` });
    return next();
  });
const read = need('read');
const operate = need('operate');
const admin = need('admin');

/** Every procedure names the scope it needs; AdminApi.createJob checks `destroy` for destructive commands itself. */
export const adminRouter = t.router({
  whoAmI: read.input(inputs.none).query(({ ctx }) => ctx.api.whoAmI()),
  hosts: read.input(inputs.none).query(({ ctx }) => ctx.api.hosts()),
  targets: read.input(inputs.targets).query(({ ctx, input }) => ctx.api.targets(input)),
  status: read.input(inputs.status).query(({ ctx, input }) => ctx.api.status(input)),
  backups: read.input(inputs.backups).query(({ ctx, input }) => ctx.api.backups(input)),
  jobs: read.input(inputs.jobs).query(({ ctx, input }) => ctx.api.jobs(input)),
  job: read.input(inputs.job).query(({ ctx, input }) => ctx.api.job(input.jobId)),
  createJob: operate.input(createJobInputSchema).mutation(({ ctx, input }) => ctx.api.createJob(input)),
  cancelJob: operate.input(inputs.job).mutation(({ ctx, input }) => ctx.api.cancelJob(input.jobId)),
  hold: operate.input(inputs.hold).mutation(({ ctx, input }) => ctx.api.hold(input)),
  tokens: admin.input(inputs.none).query(({ ctx }) => ctx.api.tokens()),
  createToken: admin.input(inputs.createToken).mutation(({ ctx, input }) => ctx.api.createToken(input)),
  createEnrolToken: admin.input(inputs.createEnrolToken).mutation(({ ctx, input }) => ctx.api.createEnrolToken(input)),
  revokeToken: admin.input(inputs.revokeToken).mutation(({ ctx, input }) => ctx.api.revokeToken(input.id)),
  audit: admin.input(inputs.audit).query(({ ctx, input }) => ctx.api.audit(input)),
});
export type AdminRouter = typeof adminRouter;
