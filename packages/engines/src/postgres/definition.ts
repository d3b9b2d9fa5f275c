import type { EngineDefinition } from '@lastgood/core';
import { LOGICAL, logicalOptionsSchema } from './backup-methods.ts';
import { postgresConnectionSchema } from './connection-schema.ts';
import { createPostgresEngine } from './index.ts';

export const postgres: EngineDefinition = {
  name: LOGICAL.engine,
  title: 'PostgreSQL',
  connectionSchema: postgresConnectionSchema,
  methods: [
    {
      name: LOGICAL.method,
      description: 'pg_dump of each database, with the roles and tablespaces of the server',
      online: true,
      roles: LOGICAL.roles,
      optionsSchema: logicalOptionsSchema,
    },
  ],
  restoreWays: [
    { name: 'new', description: 'into a new database', undo: false },
    { name: 'swap', description: 'beside the old database, then swapped in by rename', undo: true },
    { name: 'in-place', description: 'over the old database, in one transaction', undo: false },
  ],
  stream: null,
  create: createPostgresEngine,
};
