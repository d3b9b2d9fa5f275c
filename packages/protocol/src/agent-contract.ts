import { initTRPC } from '@trpc/server';
import type { z } from 'zod';
import * as wire from './wire.ts';

/** What the control plane must do for one agent's connection. Behaviour is injected, so that the agent imports types alone. */
export interface AgentSession {
  hello(input: wire.HelloInput): Promise<wire.HelloAnswer>;
  commands(sessionId: string, signal: AbortSignal): AsyncIterable<wire.AgentCommand>;
  ack(input: z.infer<typeof wire.ackInputSchema>): Promise<Record<string, never>>;
  begin(input: z.infer<typeof wire.beginInputSchema>): Promise<z.infer<typeof wire.beginAnswerSchema>>;
  report(input: z.infer<typeof wire.reportInputSchema>): Promise<z.infer<typeof wire.reportAnswerSchema>>;
  heartbeat(input: z.infer<typeof wire.heartbeatInputSchema>): Promise<z.infer<typeof wire.heartbeatAnswerSchema>>;
  facts(input: z.infer<typeof wire.factsInputSchema>): Promise<Record<string, never>>;
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
  hello: guarded.input(wire.helloInputSchema).mutation(({ ctx, input }) => ctx.session.hello(input)),
  commands: t.procedure.input(wire.ackInputSchema.pick({ sessionId: true })).subscription(async function* ({
    ctx,
    input,
    signal,
  }) {
    yield* ctx.session.commands(input.sessionId, signal ?? new AbortController().signal);
  }),
  ack: guarded.input(wire.ackInputSchema).mutation(({ ctx, input }) => ctx.session.ack(input)),
  begin: guarded.input(wire.beginInputSchema).mutation(({ ctx, input }) => ctx.session.begin(input)),
  report: guarded.input(wire.reportInputSchema).mutation(({ ctx, input }) => ctx.session.report(input)),
  heartbeat: guarded.input(wire.heartbeatInputSchema).mutation(({ ctx, input }) => ctx.session.heartbeat(input)),
  facts: guarded.input(wire.factsInputSchema).mutation(({ ctx, input }) => ctx.session.facts(input)),
});
export type AgentRouter = typeof agentRouter;
