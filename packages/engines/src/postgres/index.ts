import { type Engine, Failure } from '@lastgood/core';
import { z } from 'zod';
import { backup } from './backup.ts';
import type { Session } from './connection.ts';
import { postgresConnectionSchema } from './connection-schema.ts';
import { restore } from './restore.ts';
import { makePlan } from './restore-plan.ts';
import { managedNamePattern, openServer } from './server.ts';
import { undo } from './swap.ts';
import { sweep } from './sweep.ts';
import { checkLevel, verify } from './verify.ts';

export { postgresMethods } from './backup-methods.ts';
export { postgresConnectionSchema } from './connection-schema.ts';

/** Databases that restores and undos have set aside: in no backup, and on the disk until somebody drops them. */
async function keptAside(session: Session): Promise<string[]> {
  const kept = await session.rows<{ name: string; size: string }>(
    "select datname as name, coalesce(pg_size_pretty(case when has_database_privilege(datname, 'connect') then pg_database_size(oid) end), 'unknown') as size from pg_database where datname ~ $1 order by 1",
    [managedNamePattern('(old|undone)')],
  );
  return kept.map(
    ({ name, size }) => `database "${name}" (${size}) is kept aside by a restore: drop it when nobody needs it`,
  );
}

/** The driver of one PostgreSQL server. Throws CONFIG_INVALID when the connection is not valid. */
export function createPostgresEngine(connection: unknown): Engine {
  const parsed = postgresConnectionSchema.safeParse(connection);
  if (!parsed.success) throw new Failure('CONFIG_INVALID', z.prettifyError(parsed.error));
  const server = parsed.data;
  return {
    name: 'postgres',
    async identify(context) {
      await using opened = await openServer(server, context);
      const { systemId, databases } = opened.facts;
      return { systemId, databases: databases.map(({ name }) => name) };
    },
    async probe(context) {
      const unknown = { version: null, systemId: null, sizeBytes: null, databases: [] };
      try {
        await using opened = await openServer(server, context);
        const { version, systemId, databases } = opened.facts;
        const sizeBytes = databases.reduce((sum, database) => sum + database.sizeBytes, 0);
        return {
          state: 'ok',
          version: version.text,
          systemId,
          sizeBytes,
          databases: [...databases],
          findings: [...opened.warnings, ...(await keptAside(opened.session))],
        };
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        return {
          state: error.code === 'DATABASE_UNREACHABLE' ? 'unreachable' : 'refused',
          ...unknown,
          findings: [`${error.code}: ${error.message}`],
        };
      }
    },
    backup: (request, sink, context) => backup(server, request, sink, context),
    checkLevel,
    verify: (level, source, context) => verify(level, server, source, context),
    plan: async (mode, source, context) => (await makePlan(server, mode, source, context)).summary,
    restore: (request, source, context) => restore(server, request, source, context),
    undo: (restoreJobId, context) => undo(server, restoreJobId, context),
    sweep: (context, runningJobs) => sweep(server, context, runningJobs),
  };
}
