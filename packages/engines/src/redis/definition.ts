import type { EngineDefinition } from '@lastgood/core';
import { AOF, backupOptionsSchema, RDB } from './backup-method.ts';
import { redisChecks } from './checks.ts';
import { redisConnectionSchema } from './connection-schema.ts';
import { createRedisEngine } from './engine.ts';

/** Redis and Valkey. */
export const redis: EngineDefinition = {
  name: RDB.engine,
  title: 'Redis',
  connectionSchema: redisConnectionSchema,
  methods: [
    {
      name: RDB.method,
      description: 'an RDB snapshot of the whole server, with its configuration',
      online: true,
      roles: RDB.roles,
      selectsContents: false,
      optionsSchema: backupOptionsSchema,
    },
    {
      name: AOF.method,
      description: 'the append-only files of the server, with its configuration',
      online: true,
      roles: AOF.roles,
      selectsContents: false,
      optionsSchema: backupOptionsSchema,
    },
  ],
  restoreWays: [
    { name: 'swap', description: 'the server is stopped, and its files are set aside and replaced', undo: true },
  ],
  stream: null,
  checks: redisChecks,
  create: createRedisEngine,
};
