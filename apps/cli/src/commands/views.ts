import {
  type BackupView,
  ERROR_CATALOG,
  findingKey,
  formatFinding,
  type TargetStatus,
  type TargetView,
} from '@lastgood/protocol';
import type { CommandContext } from '../command-context.ts';
import { shortId } from '../format/ids.ts';
import { table } from '../format/table.ts';
import { ageInHours, bytes, duration, shortInstant, wholeNumber } from '../format/units.ts';
import { backupIdOf, checkedSelector, databasesOf, fullName } from './resolve.ts';

const ago = (at: string | number): string => `${duration(Math.max(0, Date.now() - new Date(at).getTime()))} ago`;
const verifiedText = (verified: BackupView['verified']): string =>
  verified === null ? 'never' : `${verified.passed ? `level ${verified.level}` : 'FAILED'}, ${ago(verified.at)}`;

const named = (selector: string | undefined): { target?: string } =>
  selector === undefined ? {} : { target: checkedSelector(selector) };

const stateText = ({ online, state }: Pick<TargetView, 'online' | 'state'>): string =>
  online ? state : 'host offline';

function statusText({ hostState, state, problems }: TargetStatus): string {
  if (hostState === 'never') return 'never seen';
  if (hostState === 'offline') return 'host offline';
  if (state === null) return 'no targets';
  return state === 'ok' && problems.length > 0 ? 'NOT IN ORDER' : state;
}

const statusName = ({ environment, host, target }: TargetStatus): string =>
  target === null ? `${environment}/${host}` : `${environment}/${host}/${target}`;

/** The question of the product, for every database: to when could we go back, how long would it take, when was that last proven. */
export async function status(
  context: CommandContext,
  selector: string | undefined,
  options: { maxAge?: string } = {},
): Promise<number> {
  const maxAgeMs = options.maxAge === undefined ? Number.POSITIVE_INFINITY : ageInHours(options.maxAge) * 3_600_000;
  /** A database that was never backed up is older than any age. */
  const isOld = (exposureMs: number | null): boolean => exposureMs === null || exposureMs > maxAgeMs;
  const client = await context.client();
  const targets = await client.status.query(named(selector));
  const answers = targets.map((target) => ({
    ...target,
    databases: target.databases.map((database) => ({
      ...database,
      exposureMs:
        database.goesBackTo === null ? null : Math.max(0, Date.now() - Date.parse(database.goesBackTo.recoveryPoint)),
    })),
  }));
  const rows = answers.flatMap((target) => {
    const name = statusName(target);
    if (target.databases.length === 0) return [[name, '-', statusText(target), 'no database is known', '-', '-']];
    return target.databases.map(({ database, onServer, goesBackTo, exposureMs, restoreMs, proven }) => [
      name,
      database,
      onServer === false && target.problems.length === 0 ? 'not on the server' : statusText(target),
      goesBackTo === null
        ? 'NOWHERE: no good backup'
        : `${isOld(exposureMs) ? 'OLD: ' : ''}${shortInstant(goesBackTo.recoveryPoint)} (${ago(goesBackTo.recoveryPoint)})`,
      restoreMs === null ? 'not measured' : duration(restoreMs),
      proven === null ? 'NEVER' : `level ${proven.level}, ${ago(proven.at)}`,
    ]);
  });
  const findings = answers.flatMap((target) => {
    // Problems first; findings of severity error are among them.
    const all = new Map([...target.problems, ...target.findings].map((finding) => [findingKey(finding), finding]));
    return [...all.values()].map((finding) => `${statusName(target)}: ${formatFinding(finding)}`);
  });
  context.output.answer(answers, () => [
    ...table(
      ['target', 'database', 'state', 'could go back to', 'restore took', 'last proven'],
      rows,
      'There are no hosts, so nothing is protected. Enroll one with `lastgood tokens enroll`.',
    ),
    ...findings,
  ]);
  const protects = ({ problems, databases }: (typeof answers)[number]): boolean =>
    problems.length === 0 && !databases.some((database) => isOld(database.exposureMs));
  return answers.length > 0 && answers.every(protects) ? 0 : ERROR_CATALOG.BACKUP_CORRUPT.exit;
}

export async function hosts(context: CommandContext): Promise<number> {
  const list = await (await context.client()).hosts.query({});
  const rows = list.map((host) => [
    `${host.environment}/${host.host}`,
    host.state === 'offline' ? `offline since ${shortInstant(host.since)}` : host.state,
    host.agentVersion ?? '-',
    host.targets.join(', ') || '-',
    host.clockSkewMs === null
      ? '-'
      : Math.abs(host.clockSkewMs) < 1000
        ? 'ok'
        : `${duration(Math.abs(host.clockSkewMs))} ${host.clockSkewMs > 0 ? 'ahead' : 'behind'}`,
  ]);
  context.output.answer(list, () => [
    ...table(
      ['host', 'state', 'agent', 'targets', 'clock'],
      rows,
      'There are no hosts. Enroll one with `lastgood tokens enroll`.',
    ),
  ]);
  return 0;
}

export async function targets(context: CommandContext, selector: string | undefined): Promise<number> {
  const list = await (await context.client()).targets.query(named(selector));
  const rows = list.map((target) => [
    fullName(target),
    `${target.engine} ${target.version ?? ''}`.trim(),
    stateText(target),
    target.databases.map((database) => database.name).join(', ') || '-',
    target.sizeBytes === null ? '-' : bytes(target.sizeBytes),
    target.lastGood === null ? 'none' : ago(target.lastGood.recoveryPoint),
    target.lastProven === null ? 'never' : verifiedText(target.lastProven.verified),
  ]);
  const findings = list.flatMap((target) =>
    target.findings.map((finding) => `${fullName(target)}: ${formatFinding(finding)}`),
  );
  context.output.answer(list, () => [
    ...table(
      ['target', 'engine', 'state', 'databases', 'size', 'last good', 'last proven'],
      rows,
      'There are no targets.',
    ),
    ...findings,
  ]);
  return 0;
}

export async function backups(
  context: CommandContext,
  selector: string | undefined,
  options: { limit: string },
): Promise<number> {
  const limit = wholeNumber('--limit', options.limit, 1, 1000);
  const list = await (await context.client()).backups.query({
    limit,
    ...named(selector),
  });
  const rows = list.map((backup) => [
    shortId(backup.backupId),
    `${backup.environment}/${backup.host}/${backup.target}`,
    shortInstant(backup.recoveryPoint),
    databasesOf(backup).join(', '),
    bytes(backup.storedBytes),
    [backup.state, ...(backup.restorable.ok ? [] : ['not restorable']), ...(backup.held ? ['held'] : [])].join(', '),
    verifiedText(backup.verified),
  ]);
  context.output.answer(list, () => [
    ...table(
      ['backup', 'target', 'goes back to', 'databases', 'stored', 'state', 'verified'],
      rows,
      'There are no backups.',
    ),
  ]);
  return 0;
}

export async function hold(context: CommandContext, wanted: string, held: boolean, reason: string): Promise<number> {
  const client = await context.client();
  const backupId = await backupIdOf(client, wanted);
  const backup = await client.hold.mutate({ backupId, held, reason });
  context.output.answer(backup, () => [
    held ? `backup ${backupId} is held: no rotation removes it` : `backup ${backupId} is no longer held`,
  ]);
  return 0;
}

export async function audit(context: CommandContext, options: { limit: string }): Promise<number> {
  const list = await (await context.client()).audit.query({ limit: wholeNumber('--limit', options.limit, 1, 1000) });
  const rows = list.map((entry) => [shortInstant(entry.at), entry.actor, entry.action, entry.subject, entry.detail]);
  context.output.answer(list, () => [
    ...table(['at', 'by', 'action', 'subject', 'detail'], rows, 'Nothing was recorded yet.'),
  ]);
  return 0;
}
