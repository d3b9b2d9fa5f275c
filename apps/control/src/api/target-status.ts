import {
  evaluateDatabases,
  findingOfReason,
  type RestoreTime,
  type SharedFacts,
  type StatusReason,
  worstState,
} from '@lastgood/core/objectives';
import {
  type DatabaseStatus,
  type Finding,
  type HostView,
  makeFinding,
  type Subject,
  type TargetStatus,
} from '@lastgood/protocol';
import type { AgentRecord } from '../catalog/agents.ts';
import { databaseFacts, type TargetRecords } from './database-facts.ts';

type HostState = HostView['state'];

const hostSubject = ({ environment, host }: AgentRecord): Subject => ({ kind: 'host', name: `${environment}/${host}` });
const offlineSince = (agent: AgentRecord): number => agent.lastSeenAt ?? agent.enrolledAt;
const iso = (atMs: number): string => new Date(atMs).toISOString();

const restoreTimeView = (time: RestoreTime): DatabaseStatus['restoreTime'] =>
  time.basis === 'measured' ? { basis: 'measured', ms: time.ms, at: iso(time.atMs) } : time;

/** The reasons of a target that its agent has reported itself, as findings of severity `error`. */
function reportedErrors({ inventory }: TargetRecords): Finding[] {
  const { name, state, findings } = inventory;
  const subject = { kind: 'target', name } as const;
  const server =
    state === 'ok' ? [] : [makeFinding(state === 'refused' ? 'SERVER_REFUSED' : 'SERVER_UNREACHABLE', subject)];
  return [...server, ...findings.filter(({ severity }) => severity === 'error')];
}

/** The status of one target: its own reasons, and each of its databases. */
export function targetStatus(
  agent: AgentRecord,
  shared: SharedFacts,
  records: TargetRecords,
  nowMs: number,
): TargetStatus {
  const { inventory, copies } = records;
  const facts = databaseFacts(records);
  const evaluated = evaluateDatabases(shared, facts, nowMs);
  const subject = { kind: 'target', name: inventory.name } as const;
  const finding = (about: Subject) => (reason: StatusReason) =>
    findingOfReason(reason, { host: hostSubject(agent), subject: about }, offlineSince(agent));
  const databases = evaluated.databases.map((status, index): DatabaseStatus => {
    const known = facts[index];
    const { database, state, exposureMs, restoreTime, isRecoveryPointTested } = status;
    const { recoveryPoint = null, restoreTest = null } = known ?? {};
    const copy = copies.find(({ name }) => name === database);
    return {
      database,
      state,
      reasons: status.reasons.map(finding({ kind: 'database', name: database })),
      onServer: known?.isOnServer ?? null,
      copy: copy === undefined ? null : { jobId: copy.jobId, of: copy.of },
      recoveryPoint: recoveryPoint === null ? null : { backupId: recoveryPoint.backupId, at: iso(recoveryPoint.atMs) },
      exposureMs,
      restoreTime: restoreTimeView(restoreTime),
      restoreTest:
        restoreTest === null
          ? null
          : {
              backupId: restoreTest.backupId,
              at: iso(restoreTest.atMs),
              level: restoreTest.level,
              ofRecoveryPoint: isRecoveryPointTested,
            },
    };
  });
  const errors = reportedErrors(records);
  const unknown = databases.length === 0 ? [makeFinding('DATABASES_UNKNOWN', subject)] : [];
  const { environment, host } = agent;
  return {
    environment,
    host,
    hostState: shared.hostState,
    target: inventory.name,
    state: worstState([
      evaluated.state,
      ...(errors.length > 0 ? (['at_risk'] as const) : []),
      ...(unknown.length > 0 ? (['none'] as const) : []),
    ]),
    serverState: inventory.state,
    reasons: [...unknown, ...evaluated.reasons.map(finding(subject)), ...errors],
    findings: inventory.findings.filter(({ severity }) => severity !== 'error'),
    databases,
    objectives: null,
  };
}

/** A host that has reported no target. */
export function bareHostStatus(agent: AgentRecord, hostState: HostState): TargetStatus {
  const { environment, host } = agent;
  const subject = hostSubject(agent);
  const reasons: Finding[] = [makeFinding('HOST_WITHOUT_TARGETS', subject)];
  if (hostState === 'never') reasons.unshift(makeFinding('HOST_NEVER_CONNECTED', subject));
  if (hostState === 'offline')
    reasons.unshift(makeFinding('HOST_OFFLINE', subject, { since: iso(offlineSince(agent)) }));
  if (hostState === 'quarantined') reasons.unshift(makeFinding('HOST_QUARANTINED', subject));
  const common = { environment, host, hostState, target: null, serverState: null, findings: [], databases: [] };
  return { ...common, state: 'unknown', reasons, objectives: null };
}
