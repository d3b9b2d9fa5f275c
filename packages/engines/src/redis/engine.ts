import { DEFAULT_RESTORE_TESTS, type Engine, type EngineServices, Failure } from '@lastgood/core';
import { z } from 'zod';
import { backup } from './backup.ts';
import { CONTENT, RDB } from './backup-method.ts';
import { runRedisCheck } from './checks.ts';
import { redisConnectionSchema } from './connection-schema.ts';
import { makePlan } from './make-plan.ts';
import { openServer, systemIdOf } from './open-server.ts';
import { probe } from './probe.ts';
import { restore } from './restore.ts';
import { compensationOf, type ManagedServer } from './server-steps.ts';
import { dropSetAside } from './set-aside.ts';
import { sweep } from './sweep.ts';
import { planUndo, undo } from './undo.ts';
import { checkLevel, verify } from './verify.ts';

/** The driver of one Redis or Valkey server. Throws CONFIG_INVALID when the connection is not valid. */
export function createRedisEngine(
  given: unknown,
  { service, target, restoreTests = DEFAULT_RESTORE_TESTS }: EngineServices,
): Engine {
  const parsed = redisConnectionSchema.safeParse(given);
  if (!parsed.success) throw new Failure('CONFIG_INVALID', z.prettifyError(parsed.error));
  const connection = parsed.data;
  const server: ManagedServer = { connection, service, restoreTests };
  return {
    name: RDB.engine,
    async identify(context) {
      await using opened = await openServer(connection, context.signal);
      return { systemId: systemIdOf(opened.facts), contents: [CONTENT.name] };
    },
    probe: (context) => probe(connection, context),
    backup: (request, sink, context) => backup(server, request, sink, context),
    checkLevel,
    verify: (level, source, context) => verify(level, connection, source, context, { limits: restoreTests }),
    plan: async (request, source, context) =>
      (await makePlan({ connection, target, hasService: service !== null }, request, source, context)).summary,
    restore: (order, source, context) => restore(server, target, order, source, context),
    planUndo: (restoreJobId, context) => planUndo(server, restoreJobId, context),
    undo: (restoreJobId, context) => undo(server, target, restoreJobId, context),
    dropSetAside: (name, context) => dropSetAside(connection, name, context),
    check: (kind, options, context) => runRedisCheck(connection, kind, options, context.signal),
    compensationOf: (kind) => compensationOf(kind, server),
    sweep: (context, runningJobs) => sweep(server, context, runningJobs),
  };
}
