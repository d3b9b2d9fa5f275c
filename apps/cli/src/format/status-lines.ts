import { duration, shortInstant } from '@lastgood/core/format';
import { type DatabaseStatus, type Finding, findingKey, formatFinding, type TargetStatus } from '@lastgood/protocol';
import { shortId } from './ids.ts';
import { table } from './table.ts';
import { ago } from './times.ts';

export const STATE_TEXTS: Readonly<Record<TargetStatus['state'], string>> = {
  none: 'NONE',
  missed: 'MISSED',
  unknown: 'UNKNOWN',
  at_risk: 'at risk',
  pending: 'pending',
  protected: 'protected',
};

export const nameOf = ({ environment, host, target }: TargetStatus): string =>
  target === null ? `${environment}/${host}` : `${environment}/${host}/${target}`;

function databaseName({ database, onServer, copy }: DatabaseStatus): string {
  if (onServer === false) return `${database} (not on the server)`;
  return copy === null ? database : `${database} (restored from ${copy.of})`;
}

function restoreTimeText({ restoreTime }: DatabaseStatus): string {
  switch (restoreTime.basis) {
    case 'measured':
      return duration(restoreTime.ms);
    case 'estimated':
      return `${duration(restoreTime.ms)} (estimated)`;
    case 'unknown':
      return 'not measured';
  }
}

function restoreTestText({ restoreTest }: DatabaseStatus): string {
  if (restoreTest === null) return 'never';
  const { level, at, backupId, ofRecoveryPoint } = restoreTest;
  return `level ${level}, ${ago(at)}${ofRecoveryPoint ? '' : `, of older backup ${shortId(backupId)}`}`;
}

function rowOf(name: string, database: DatabaseStatus): string[] {
  const { state, recoveryPoint, exposureMs } = database;
  return [
    name,
    databaseName(database),
    state === null ? 'excluded' : STATE_TEXTS[state],
    recoveryPoint === null ? 'none' : shortInstant(recoveryPoint.at),
    exposureMs === null ? '-' : duration(exposureMs),
    restoreTimeText(database),
    restoreTestText(database),
  ];
}

function rowsOf(target: TargetStatus): string[][] {
  const name = nameOf(target);
  if (target.databases.length > 0) return target.databases.map((database) => rowOf(name, database));
  return [[name, '-', STATE_TEXTS[target.state], 'none', '-', 'not measured', 'never']];
}

/** The findings of a target, the reasons for its state first. Databases that have the same reason share a line. */
function findingsOf({ reasons, databases, findings }: TargetStatus): Finding[] {
  const all = [...reasons, ...databases.flatMap((database) => database.reasons), ...findings];
  return [...new Map(all.map((finding) => [findingKey(finding), finding])).values()];
}

/** The findings of a target as lines that begin with its name. */
export const findingLines = (target: TargetStatus): string[] =>
  findingsOf(target).map((finding) => `${nameOf(target)}: ${formatFinding(finding)}`);

/** The table of a fleet's status, and below it why each target is in its state. */
export function statusLines(targets: readonly TargetStatus[]): string[] {
  return [
    ...table(
      ['target', 'database', 'state', 'recovery point', 'exposure', 'restore time', 'last restore test'],
      targets.flatMap(rowsOf),
      'There are no hosts, so nothing is protected. Enroll one with `lastgood tokens enroll`.',
    ),
    ...targets.flatMap(findingLines),
  ];
}
