import { type ArtifactSource, Failure, type RestoredRoles } from '@lastgood/core';
import { makeRefusal, type Refusal } from '@lastgood/protocol';
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

/** Whether an agent may give an attribute to a role that it creates. Since PostgreSQL 16 it may give what it has itself. */
function mayGive(agent: Agent, attribute: string, major: number): boolean {
  if (attribute === 'SUPERUSER') return agent.super;
  if (attribute === 'REPLICATION') return agent.super || (major >= 16 && agent.replicates);
  if (attribute === 'BYPASSRLS') return agent.super || (major >= 16 && agent.bypasses);
  return true;
}

/** Missing roles that the agent's own role may not create as they were. A restore would fail at the first of them. */
export async function refusedRoles(
  { session, facts }: Server,
  missing: readonly string[],
  source: ArtifactSource,
  { fingerprint }: DatabaseArtifacts,
  rights: RestoredRoles,
  signal: AbortSignal,
): Promise<Refusal[]> {
  if (missing.length === 0) return [];
  const agent = await session.one<Agent>(
    'select rolname as name, rolsuper as super, rolcreaterole as makes, rolreplication as replicates, rolbypassrls as bypasses from pg_roles where rolname = current_user',
  );
  if (agent.super) return [];
  if (!agent.makes) return [makeRefusal('ROLES_NOT_CREATABLE', null, { roles: missing, agent: agent.name })];
  const globals = await globalsOf(source, signal);
  return missing.flatMap((role) => {
    const subject = { kind: 'role', name: role } as const;
    try {
      const { make } = roleStatements(globals, [role], new Set(), fingerprint.bootstrap?.role ?? null, rights);
      const attributes = make
        .flatMap(unusualAttributes)
        .filter((attribute) => !mayGive(agent, attribute, facts.version.major));
      return attributes.length === 0
        ? []
        : [makeRefusal('ROLE_ATTRIBUTES_NOT_GRANTABLE', subject, { attributes, agent: agent.name })];
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      return [makeRefusal('ROLE_NOT_IN_BACKUP', subject)];
    }
  });
}
