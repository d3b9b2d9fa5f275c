import {
  DEFAULT_RESTORE_TESTS,
  type Engine,
  type EngineDefinition,
  type EngineServices,
  Failure,
} from '@lastgood/core';
import { z } from 'zod';
import { backup } from './backup.ts';
import { DUMP, dumpOptionsSchema } from './backup-method.ts';
import { neo4jChecks, runNeo4jCheck } from './checks.ts';
import { compensationOf } from './compensations.ts';
import { neo4jConnectionSchema } from './connection-schema.ts';
import { makePlan } from './make-plan.ts';
import { identify, probe } from './probe.ts';
import { restore } from './restore.ts';
import { dropSetAside } from './set-aside.ts';
import { sweep } from './sweep.ts';
import { neo4jTargetOf } from './target.ts';
import { undo } from './undo.ts';
import { checkLevel, verify } from './verify.ts';

export const neo4j: EngineDefinition = {
  name: DUMP.engine,
  title: 'Neo4j',
  connectionSchema: neo4jConnectionSchema,
  methods: [
    {
      name: DUMP.method,
      description: 'neo4j-admin dump of each database, with `system`; the server is frozen or stopped for a short time',
      online: false,
      roles: DUMP.roles,
      selectsContents: true,
      optionsSchema: dumpOptionsSchema,
    },
  ],
  restoreWays: [
    {
      name: 'swap',
      description: 'loaded beside the old database, checked, then swapped in during a short stop',
      undo: true,
    },
  ],
  stream: null,
  checks: neo4jChecks,
  create: createNeo4jEngine,
};

/** The driver of one Neo4j server. Throws CONFIG_INVALID when the connection is not valid. */
export function createNeo4jEngine(
  connection: unknown,
  {
    target: name,
    service,
    restoreTests = DEFAULT_RESTORE_TESTS,
  }: Pick<EngineServices, 'target' | 'service' | 'restoreTests'>,
): Engine {
  const parsed = neo4jConnectionSchema.safeParse(connection);
  if (!parsed.success) throw new Failure('CONFIG_INVALID', z.prettifyError(parsed.error));
  const target = neo4jTargetOf(name, parsed.data, service, restoreTests);
  return {
    name: DUMP.engine,
    identify: (context) => identify(target, context),
    probe: (context) => probe(target, context),
    backup: (request, sink, context) => backup(target, request, sink, context),
    checkLevel,
    verify: (level, source, context) => verify(level, target, source, context),
    plan: async (request, source, context) => (await makePlan(target, request, source, context)).summary,
    restore: (order, source, context) => restore(target, order, source, context),
    undo: (restoreJobId, context) => undo(target, restoreJobId, context),
    dropSetAside: (name, context) => dropSetAside(target, name, context),
    check: (kind, options, context) => runNeo4jCheck(parsed.data, kind, options, context.signal),
    compensationOf: (kind) => compensationOf(target, kind),
    sweep: (context, runningJobs) => sweep(target, context, runningJobs),
  };
}
