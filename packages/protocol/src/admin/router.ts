import { initTRPC, TRPCError } from '@trpc/server';
import { z } from 'zod';
import { type WireError, wireErrorOf, wireErrorSchema } from '../errors.ts';
import type { AdminContext } from './api.ts';
import { createJobInputSchema, inputs } from './inputs.ts';
import type { Scope } from './scope.ts';

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
  CONFIG_INVALID: 'BAD_REQUEST',
  NOT_CONFIRMED: 'PRECONDITION_FAILED',
  PLAN_CHANGED: 'PRECONDITION_FAILED',
  NOT_FOUND: 'NOT_FOUND',
  CONFLICT: 'CONFLICT',
  FORBIDDEN: 'FORBIDDEN',
  UNAUTHENTICATED: 'UNAUTHORIZED',
  NO_SPACE: 'SERVICE_UNAVAILABLE',
  IO_ERROR: 'SERVICE_UNAVAILABLE',
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
const destroy = need('destroy');
const admin = need('admin');

/** Every procedure names the scope it needs; AdminApi.createJob checks `destroy` for destructive commands itself. */
export const adminRouter = t.router({
  whoAmI: read.input(inputs.none).query(({ ctx }) => ctx.api.whoAmI()),
  hosts: read.input(inputs.none).query(({ ctx }) => ctx.api.hosts()),
  targets: read.input(inputs.targets).query(({ ctx, input }) => ctx.api.targets(input)),
  status: read.input(inputs.status).query(({ ctx, input }) => ctx.api.status(input)),
  backups: read.input(inputs.backups).query(({ ctx, input }) => ctx.api.backups(input)),
  backup: read.input(inputs.backup).query(({ ctx, input }) => ctx.api.backup(input.backupId)),
  selectBackup: read.input(inputs.selectBackup).query(({ ctx, input }) => ctx.api.selectBackup(input)),
  setAside: read.input(inputs.setAside).query(({ ctx, input }) => ctx.api.setAside(input)),
  jobs: read.input(inputs.jobs).query(({ ctx, input }) => ctx.api.jobs(input)),
  job: read.input(inputs.job).query(({ ctx, input }) => ctx.api.job(input.jobId)),
  createJob: operate.input(createJobInputSchema).mutation(({ ctx, input }) => ctx.api.createJob(input)),
  cancelJob: operate.input(inputs.job).mutation(({ ctx, input }) => ctx.api.cancelJob(input.jobId)),
  // A mutation only because a file is too long for the address of a query.
  fleetDiff: read.input(inputs.fleetDiff).mutation(({ ctx, input }) => ctx.api.fleetDiff(input)),
  applyFleet: admin.input(inputs.applyFleet).mutation(({ ctx, input }) => ctx.api.applyFleet(input)),
  exportFleet: read.input(inputs.none).query(({ ctx }) => ctx.api.exportFleet()),
  occurrences: read.input(inputs.occurrences).query(({ ctx, input }) => ctx.api.occurrences(input)),
  alerts: read.input(inputs.alerts).query(({ ctx, input }) => ctx.api.alerts(input)),
  acknowledgeAlert: operate
    .input(inputs.acknowledgeAlert)
    .mutation(({ ctx, input }) => ctx.api.acknowledgeAlert(input)),
  runbooks: read.input(inputs.none).query(({ ctx }) => ctx.api.runbooks()),
  planRunbook: read.input(inputs.planRunbook).query(({ ctx, input }) => ctx.api.planRunbook(input)),
  // A drill touches nothing live; AdminApi.startRunbook asks for `destroy` for a real run.
  startRunbook: operate.input(inputs.startRunbook).mutation(({ ctx, input }) => ctx.api.startRunbook(input)),
  runbookRuns: read.input(inputs.runbookRuns).query(({ ctx, input }) => ctx.api.runbookRuns(input)),
  runbookRun: read.input(inputs.runbookRun).query(({ ctx, input }) => ctx.api.runbookRun(input.runId)),
  resumeRunbook: destroy.input(inputs.resumeRunbook).mutation(({ ctx, input }) => ctx.api.resumeRunbook(input)),
  evidence: read.input(inputs.evidence).query(({ ctx, input }) => ctx.api.evidence(input)),
  evidenceReport: read.input(inputs.evidenceReport).query(({ ctx, input }) => ctx.api.evidenceReport(input.sequence)),
  abortRunbook: destroy.input(inputs.abortRunbook).mutation(({ ctx, input }) => ctx.api.abortRunbook(input)),
  tokens: admin.input(inputs.none).query(({ ctx }) => ctx.api.tokens()),
  createToken: admin.input(inputs.createToken).mutation(({ ctx, input }) => ctx.api.createToken(input)),
  createEnrollToken: admin
    .input(inputs.createEnrollToken)
    .mutation(({ ctx, input }) => ctx.api.createEnrollToken(input)),
  createSignInCode: read.input(inputs.createSignInCode).mutation(({ ctx, input }) => ctx.api.createSignInCode(input)),
  watch: read.input(inputs.watch).subscription(async function* ({ ctx, input, signal }) {
    // Without a signal nothing could end it.
    if (signal !== undefined) yield* ctx.api.watch(input, signal);
  }),
  revokeToken: admin.input(inputs.revokeToken).mutation(({ ctx, input }) => ctx.api.revokeToken(input.id)),
  audit: admin.input(inputs.audit).query(({ ctx, input }) => ctx.api.audit(input)),
});
export type AdminRouter = typeof adminRouter;
