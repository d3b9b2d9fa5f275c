import type { EngineDefinition } from '@lastgood/core';
import { LOGICAL, logicalOptionsSchema, PHYSICAL, physicalOptionsSchema } from './backup-methods.ts';
import { postgresChecks } from './checks.ts';
import { postgresConnectionSchema } from './connection-schema.ts';
import { createPostgresEngine } from './index.ts';
import { walStreamOptionsSchema } from './wal/wal-stream-options.ts';

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
      selectsContents: true,
      optionsSchema: logicalOptionsSchema,
    },
    {
      name: PHYSICAL.method,
      description:
        'the files of the whole server with the WAL that makes them consistent; with a stream, any instant after it',
      online: true,
      roles: PHYSICAL.roles,
      selectsContents: false,
      optionsSchema: physicalOptionsSchema,
    },
  ],
  restoreWays: [
    { name: 'new', description: 'into a new database', undo: false },
    { name: 'swap', description: 'beside the old database, then swapped in by rename', undo: true },
    { name: 'in-place', description: 'over the old database, in one transaction', undo: false },
    {
      name: 'folder',
      description: 'the whole server into a new folder, stopped, at any instant of a recovery window',
      undo: false,
    },
  ],
  stream: {
    title: 'WAL',
    description: 'the write-ahead log, received over a replication slot',
    optionsSchema: walStreamOptionsSchema,
    isKept: (segment) => segment.endsWith('.history'),
  },
  checks: postgresChecks,
  create: createPostgresEngine,
};
