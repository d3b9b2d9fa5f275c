import { goodCopiesOf } from '@lastgood/core';
import {
  evaluateDatabases,
  findingOfReason,
  type RestoreTime,
  type SharedFacts,
  type StatusReason,
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
import { databaseFacts } from '../targets/database-facts.ts';
import type { Measurements } from '../targets/measurement-index.ts';
import type { TargetRecords } from '../targets/target-records.ts';

type HostState = HostView['state'];

const hostSubject = ({ environment, host }: AgentRecord): Subject => ({ kind: 'host', name: `${environment}/${host}` });
const offlineSince = (agent: AgentRecord): number => agent.lastSeenAt ?? agent.enrolledAt;
const iso = (atMs: number): string => new Date(atMs).toISOString();

const restoreTimeView = (time: RestoreTime): DatabaseStatus['restoreTime'] =>
  time.basis === 'measured' ? { basis: 'measured', ms: time.ms, at: iso(time.atMs) } : time;

/** Where the backup of a recovery point is good. */
function goodCopies(backupId: string | undefined, { coverage }: TargetRecords): string[] {
  const backup = coverage.find(({ lastGood }) => lastGood?.backupId === backupId)?.lastGood ?? null;
  return backup === null || backupId === undefined ? [] : goodCopiesOf(backup);
}

/** The status of one target: its own reasons, and each of its databases. */
export function targetStatus(
  agent: AgentRecord,
  shared: SharedFacts,
  { records, measurements }: { readonly records: TargetRecords; readonly measurements: Measurements },
  nowMs: number,
): TargetStatus {
  const { inventory, copies } = records;
  const facts = databaseFacts(records, measurements);
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
      goodCopies: goodCopies(recoveryPoint?.backupId, records),
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
  const unknown = databases.length === 0 ? [makeFinding('DATABASES_UNKNOWN', subject)] : [];
  const { environment, host } = agent;
  return {
    environment,
    host,
    hostState: shared.hostState,
    target: inventory.name,
    state: unknown.length > 0 ? 'none' : evaluated.state,
    serverState: inventory.state,
    reasons: [...unknown, ...evaluated.reasons.map(finding(subject))],
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
