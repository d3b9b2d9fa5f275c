import { initTRPC } from '@trpc/server';
import type { z } from 'zod';
import { inventoryInputSchema } from '../inventory/report.ts';
import type { AgentCommand } from './command.ts';
import { type HelloAnswer, type HelloInput, helloInputSchema } from './hello.ts';
import {
  ackInputSchema,
  type grantAnswerSchema,
  grantInputSchema,
  type heartbeatAnswerSchema,
  heartbeatInputSchema,
  type reportAnswerSchema,
  reportInputSchema,
} from './messages.ts';

/** What the control plane must do for one agent's connection. Behavior is injected, so that the agent imports types alone. */
export interface AgentSession {
  hello(input: HelloInput): Promise<HelloAnswer>;
  commands(sessionId: string, signal: AbortSignal): AsyncIterable<AgentCommand>;
  ack(input: z.infer<typeof ackInputSchema>): Promise<Record<string, never>>;
  requestGrant(input: z.infer<typeof grantInputSchema>): Promise<z.infer<typeof grantAnswerSchema>>;
  report(input: z.infer<typeof reportInputSchema>): Promise<z.infer<typeof reportAnswerSchema>>;
  heartbeat(input: z.infer<typeof heartbeatInputSchema>): Promise<z.infer<typeof heartbeatAnswerSchema>>;
  inventory(input: z.infer<typeof inventoryInputSchema>): Promise<Record<string, never>>;
}
export interface AgentContext {
  readonly session: AgentSession;
  /** Counts calls in flight and pauses the socket above LIMITS.inFlightCalls. Called around every mutation. */
  readonly throttle: <T>(work: () => Promise<T>) => Promise<T>;
}

const t = initTRPC.context<AgentContext>().create({
  isDev: false,
  // Codes only: a message of an unexpected error may hold data, and a stack holds paths.
  errorFormatter: ({ shape }) => ({
    ...shape,
    message: shape.data.code,
    data: { code: shape.data.code, httpStatus: shape.data.httpStatus },
  }),
});
const guarded = t.procedure.use(({ ctx, next }) => ctx.throttle(() => next()));

export const agentRouter = t.router({
  hello: guarded.input(helloInputSchema).mutation(({ ctx, input }) => ctx.session.hello(input)),
  commands: t.procedure.input(ackInputSchema.pick({ sessionId: true })).subscription(async function* ({
    ctx,
    input,
    signal,
  }) {
    yield* ctx.session.commands(input.sessionId, signal ?? new AbortController().signal);
  }),
  ack: guarded.input(ackInputSchema).mutation(({ ctx, input }) => ctx.session.ack(input)),
  requestGrant: guarded.input(grantInputSchema).mutation(({ ctx, input }) => ctx.session.requestGrant(input)),
  report: guarded.input(reportInputSchema).mutation(({ ctx, input }) => ctx.session.report(input)),
  heartbeat: guarded.input(heartbeatInputSchema).mutation(({ ctx, input }) => ctx.session.heartbeat(input)),
  inventory: guarded.input(inventoryInputSchema).mutation(({ ctx, input }) => ctx.session.inventory(input)),
});
export type AgentRouter = typeof agentRouter;
