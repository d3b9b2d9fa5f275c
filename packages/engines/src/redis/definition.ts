import type { EngineDefinition } from '@lastgood/core';
import { RDB, rdbOptionsSchema } from './backup-method.ts';
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
      optionsSchema: rdbOptionsSchema,
    },
  ],
  restoreWays: [
    { name: 'swap', description: 'the server is stopped, and its files are set aside and replaced', undo: true },
  ],
  stream: null,
  create: createRedisEngine,
};
