import { type ArtifactSource, Failure } from '@lastgood/core';
import { type DatabaseArtifacts, globalsOf } from './artifacts.ts';
import { roleStatements, unusualAttributes } from './globals.ts';
import type { Server } from './server.ts';

interface Agent {
  readonly name: string;
  readonly super: boolean;
  readonly makes: boolean;
  readonly replicates: boolean;
  readonly bypasses: boolean;
}

/** What an agent may give to a role that it makes, beside a login and the like. Since PostgreSQL 16 that is what it has itself. */
function mayGive(agent: Agent, attribute: string, major: number): boolean {
  if (attribute === 'SUPERUSER') return agent.super;
  if (attribute === 'REPLICATION') return agent.super || (major >= 16 && agent.replicates);
  if (attribute === 'BYPASSRLS') return agent.super || (major >= 16 && agent.bypasses);
  return true;
}

/** Missing roles that the agent's own role may not make as they were: told before a restore, which would end at the first of them. */
export async function refusedRoles(
  { session, facts }: Server,
  missing: readonly string[],
  source: ArtifactSource,
  { fingerprint }: DatabaseArtifacts,
  signal: AbortSignal,
): Promise<string[]> {
  if (missing.length === 0) return [];
  const agent = await session.one<Agent>(
    'select rolname as name, rolsuper as super, rolcreaterole as makes, rolreplication as replicates, rolbypassrls as bypasses from pg_roles where rolname = current_user',
  );
  if (agent.super) return [];
  if (!agent.makes)
    return [`roles ${missing.join(', ')} are missing, and the agent's role "${agent.name}" may make none (CREATEROLE)`];
  const globals = await globalsOf(source, signal);
  return missing.flatMap((role) => {
    try {
      const { make } = roleStatements(globals, [role], new Set(), fingerprint.bootstrap?.role);
      const attributes = make
        .flatMap(unusualAttributes)
        .filter((attribute) => !mayGive(agent, attribute, facts.version.major));
      return attributes.length === 0
        ? []
        : [
            `role "${role}" is missing and had ${attributes.join(' and ')}, which the agent's role "${agent.name}" may not give: make it first`,
          ];
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      return [error.message];
    }
  });
}
