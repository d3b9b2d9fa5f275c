import type { FleetAlertFacts, HostAlertFacts } from '@lastgood/core/alerts';
import type { FleetFile } from '@lastgood/core/fleet-file';
import type { AgentRecord } from '../catalog/agents.ts';
import type { Catalog } from '../catalog/catalog.ts';
import { HEARTBEAT_MS } from '../dispatch/times.ts';
import { readDrills } from '../runbooks/read-drills.ts';
import type { AgentRegistry } from '../sessions/agent-registry.ts';

/** A message that was given up is reported for so long. */
const GIVEN_UP_MS = 86_400_000;

export type HostState = HostAlertFacts['state'];

export function hostStateNow(registry: AgentRegistry, { agentId, quarantinedAt, lastSeenAt }: AgentRecord): HostState {
  if (quarantinedAt !== null) return 'quarantined';
  if (registry.session(agentId)?.alive === true) return 'online';
  return lastSeenAt === null ? 'never' : 'offline';
}

/** What is known of a host now. While the control plane was down it saw nobody: that time does not count. */
export function hostFacts(registry: AgentRegistry, agent: AgentRecord, upSinceMs: number): HostAlertFacts {
  const { environment, host, enrolledAt, lastSeenAt, quarantinedAt } = agent;
  const state = hostStateNow(registry, agent);
  const since = quarantinedAt ?? lastSeenAt ?? enrolledAt;
  return {
    environment,
    host,
    state,
    sinceMs: state === 'offline' ? Math.max(since, upSinceMs) : since,
    heartbeatMs: HEARTBEAT_MS,
    clockSkewMs: registry.session(agent.agentId)?.clockSkewMs ?? null,
    certificateExpiresMs: null,
    repositories: [],
  };
}

/** What is known of the control plane itself. */
export async function fleetFacts(
  catalog: Catalog,
  {
    upSinceMs,
    lastCopyMs,
    otherControlSeenMs,
    file,
  }: {
    readonly upSinceMs: number;
    readonly lastCopyMs: number | null;
    readonly otherControlSeenMs: number | null;
    readonly file: FleetFile;
  },
  nowMs: number,
): Promise<FleetAlertFacts> {
  const tokens = await catalog.tokens.list();
  return {
    startedMs: upSinceMs,
    lastCatalogBackupMs: lastCopyMs,
    tokens: tokens
      .filter(({ kind, revokedAt }) => kind === 'api' && revokedAt === null)
      .map(({ name, expiresAt }) => ({ name, expiresMs: expiresAt })),
    drills: await readDrills(catalog, file, nowMs),
    otherControlSeenMs,
    undelivered: await catalog.notifications.undelivered(nowMs - GIVEN_UP_MS),
  };
}
