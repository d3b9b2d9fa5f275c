import {
  type DatabaseStatus,
  errorCodes,
  type HostView,
  type TargetInventory,
  type TargetStatus,
} from '@lastgood/protocol';
import type { AgentRecord } from '../catalog/agents.ts';

type HostState = HostView['state'];
const CODED = new RegExp(`^(?:${errorCodes.join('|')}): `);

function problemsOfHost(agent: AgentRecord, hostState: HostState): string[] {
  if (hostState === 'never') return ['the agent of this host was never here'];
  if (hostState === 'online') return [];
  return [`the host is offline since ${new Date(agent.lastSeenAt ?? agent.enrolledAt).toISOString()}`];
}

/** One target, with all that is not in order. What nobody has told of protects nothing: silence is a problem as well. */
export function targetStatus(
  agent: AgentRecord,
  hostState: HostState,
  { name, state, findings }: TargetInventory,
  databases: DatabaseStatus[],
): TargetStatus {
  const problems = problemsOfHost(agent, hostState);
  if (state !== 'ok') problems.push(`the database server is ${state}`);
  // A finding with a code is what kept the agent from its work; the others are good to know.
  problems.push(...findings.filter((finding) => CODED.test(finding)));
  if (databases.length === 0) problems.push('no database is known, and no good backup');
  const { environment, host } = agent;
  const online = hostState === 'online';
  return { environment, host, hostState, target: name, online, state, findings, problems, databases };
}

/** A host that has told of no target. */
export function bareHostStatus(agent: AgentRecord, hostState: HostState): TargetStatus {
  const { environment, host } = agent;
  const problems = [...problemsOfHost(agent, hostState), 'the host has told of no target'];
  const online = hostState === 'online';
  return { environment, host, hostState, target: null, online, state: null, findings: [], problems, databases: [] };
}
