import {
  type DatabaseStatus,
  type Finding,
  type HostView,
  makeFinding,
  type ObjectivesView,
  type TargetInventory,
  type TargetStatus,
} from '@lastgood/protocol';
import type { AgentRecord } from '../catalog/agents.ts';

type HostState = HostView['state'];

function problemsOfHost(agent: AgentRecord, hostState: HostState): Finding[] {
  const subject = { kind: 'host', name: `${agent.environment}/${agent.host}` } as const;
  if (hostState === 'never') return [makeFinding('HOST_NEVER_CONNECTED', subject)];
  if (hostState === 'online') return [];
  const since = new Date(agent.lastSeenAt ?? agent.enrolledAt).toISOString();
  return [makeFinding('HOST_OFFLINE', subject, { since })];
}

/** One target with its problems. A host that does not report is a problem as well: what it has protects nothing now. */
export function targetStatus(
  agent: AgentRecord,
  hostState: HostState,
  { name, state, findings }: TargetInventory,
  databases: DatabaseStatus[],
  objectives: ObjectivesView | null,
): TargetStatus {
  const problems = problemsOfHost(agent, hostState);
  const subject = { kind: 'target', name } as const;
  if (state !== 'ok')
    problems.push(makeFinding(state === 'refused' ? 'SERVER_REFUSED' : 'SERVER_UNREACHABLE', subject));
  problems.push(...findings.filter(({ severity }) => severity === 'error'));
  if (databases.length === 0) problems.push(makeFinding('DATABASES_UNKNOWN', subject));
  const { environment, host } = agent;
  const online = hostState === 'online';
  return { environment, host, hostState, target: name, online, state, findings, problems, databases, objectives };
}

/** A host that has reported no target. */
export function bareHostStatus(agent: AgentRecord, hostState: HostState): TargetStatus {
  const { environment, host } = agent;
  const none = makeFinding('HOST_WITHOUT_TARGETS', { kind: 'host', name: `${environment}/${host}` });
  const problems = [...problemsOfHost(agent, hostState), none];
  const online = hostState === 'online';
  const nothing = { target: null, state: null, findings: [], databases: [], objectives: null };
  return { environment, host, hostState, online, problems, ...nothing };
}
