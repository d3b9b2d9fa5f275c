import { bytes, duration, instant, shortInstant } from '@lastgood/core/format';
import { type BackupView, EXIT_STATUS, formatFinding } from '@lastgood/protocol';
import type { CommandContext } from '../command-context.ts';
import { jobDocument } from '../documents.ts';
import { shortId } from '../format/ids.ts';
import { resultLines } from '../format/job-lines.ts';
import { safeText } from '../format/safe-text.ts';
import { table } from '../format/table.ts';
import { verifiedText } from '../format/times.ts';
import { instantMs, wholeNumber } from './input.ts';
import { runJob } from './jobs.ts';
import { backupIdOf, databasesOf, fullName, oneTarget, selectorInput } from './resolve.ts';

export interface ListOptions {
  readonly limit: string;
  readonly at?: string;
}

const HOLD_TEXTS: Readonly<Record<BackupView['holdState'], readonly string[]>> = {
  none: [],
  pending: ['hold pending'],
  held: ['held'],
  releasing: ['held until its release is reported'],
};

const stateText = ({ state, restorable, holdState }: BackupView): string =>
  [state, ...(restorable.ok ? [] : ['not restorable']), ...HOLD_TEXTS[holdState]].join(', ');

function holdLines({ hold }: BackupView): string[] {
  if (hold === null) return [];
  const by = `${hold.by === null ? '' : ` by ${hold.by}`}${hold.at === null ? '' : ` at ${instant(hold.at)}`}`;
  return [`  held            ${safeText(`${hold.reason || 'without a reason'}${by}`)}`];
}

const targetOf = ({ environment, host, target }: BackupView): string => `${environment}/${host}/${target}`;

export async function listBackups(
  context: CommandContext,
  selector: string | undefined,
  options: ListOptions,
): Promise<number> {
  const limit = wholeNumber('--limit', options.limit, 1, 1000);
  const at = options.at === undefined ? {} : { atMs: instantMs('--at', options.at) };
  const backups = await (await context.client()).backups.query({ limit, ...at, ...selectorInput(selector) });
  const rows = backups.map((backup) => [
    shortId(backup.backupId),
    targetOf(backup),
    shortInstant(backup.recoveryPoint),
    databasesOf(backup).join(', '),
    bytes(backup.storedBytes),
    stateText(backup),
    verifiedText(backup.verified),
  ]);
  context.output.answer({ backups }, () =>
    table(
      ['backup', 'target', 'recovery point', 'databases', 'stored', 'state', 'verified'],
      rows,
      'There are no backups.',
    ),
  );
  return 0;
}

/** What a backup contains and what is known about it, in lines. */
function backupLines(backup: BackupView): string[] {
  const took = Date.parse(backup.finishedAt) - Date.parse(backup.startedAt);
  const contents = backup.contents.map(({ kind, name, bytes: size }) => [name, kind, bytes(size)]);
  const { restorable } = backup;
  return [
    `backup ${backup.backupId} of ${targetOf(backup)}: ${stateText(backup)}`,
    `  recovery point  ${instant(backup.recoveryPoint)}`,
    `  method          ${safeText(backup.engine)} ${safeText(backup.method)}, in repository ${backup.repository}`,
    `  size            ${bytes(backup.producedBytes)}, stored as ${bytes(backup.storedBytes)}`,
    `  took            ${Number.isNaN(took) ? '-' : duration(Math.max(0, took))}, by job ${backup.jobId}`,
    `  verified        ${verifiedText(backup.verified)}`,
    ...holdLines(backup),
    ...(restorable.ok
      ? []
      : [`  not restorable  ${restorable.reason.code} ${safeText(Object.values(restorable.reason.params).join(' '))}`]),
    ...(backup.dependsOn.length === 0 ? [] : [`  depends on      ${backup.dependsOn.join(', ')}`]),
    ...backup.warnings.map((warning) => `  warning         ${safeText(formatFinding(warning))}`),
    '',
    ...table(['name', 'kind', 'size'], contents, 'It contains nothing that can be restored by name.'),
  ];
}

export async function showBackup(context: CommandContext, wanted: string): Promise<number> {
  const client = await context.client();
  const backup = await client.backup.query({ backupId: await backupIdOf(client, wanted) });
  context.output.answer({ backup }, () => backupLines(backup));
  return 0;
}

/** Lists the tables of a backup, or those with a name. */
export async function listContents(
  context: CommandContext,
  wanted: string,
  options: { readonly name?: string },
): Promise<number> {
  const client = await context.client();
  const backup = await client.backup.query({ backupId: await backupIdOf(client, wanted) });
  const { job, result } = await runJob(context, targetOf(backup), {
    command: 'list-contents',
    target: backup.target,
    backupId: backup.backupId,
    name: options.name ?? null,
  });
  context.output.answer({ job: jobDocument(job) }, () => resultLines(result));
  return 0;
}

/** Lists the backups of a target that contain a table, newest first. Exit status 4 when none does. */
export async function findInBackups(context: CommandContext, selector: string, name: string): Promise<number> {
  const target = await oneTarget(await context.client(), selector);
  const { job, result } = await runJob(context, fullName(target), {
    command: 'list-contents',
    target: target.name,
    backupId: null,
    name,
  });
  context.output.answer({ job: jobDocument(job) }, () => resultLines(result));
  return result.backups.length === 0 ? EXIT_STATUS.found.status : EXIT_STATUS.done.status;
}
