import { EXIT_STATUS, findingKey, formatFinding, type TargetStatus } from '@lastgood/protocol';
import type { CommandContext } from '../command-context.ts';
import { table } from '../format/table.ts';
import { ago } from '../format/times.ts';
import { duration, shortInstant } from '../format/units.ts';
import { durationMs } from './input.ts';
import { selectorInput } from './resolve.ts';

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
  const maxAgeMs = options.maxAge === undefined ? Number.POSITIVE_INFINITY : durationMs('--max-age', options.maxAge);
  /** A database that was never backed up is older than any age. */
  const isOld = (exposureMs: number | null): boolean => exposureMs === null || exposureMs > maxAgeMs;
  const client = await context.client();
  const targets = await client.status.query(selectorInput(selector));
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
  context.output.answer({ targets: answers }, () => [
    ...table(
      ['target', 'database', 'state', 'could go back to', 'restore took', 'last proven'],
      rows,
      'There are no hosts, so nothing is protected. Enroll one with `lastgood tokens enroll`.',
    ),
    ...findings,
  ]);
  const protects = ({ problems, databases }: (typeof answers)[number]): boolean =>
    problems.length === 0 && !databases.some((database) => isOld(database.exposureMs));
  return answers.length > 0 && answers.every(protects) ? 0 : EXIT_STATUS.found.status;
}
