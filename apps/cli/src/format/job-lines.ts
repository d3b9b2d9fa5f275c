import { unreachable } from '@lastgood/core';
import { bytes, duration, instant, shortInstant } from '@lastgood/core/format';
import {
  type CopyRotation,
  type Detail,
  type Finding,
  formatFinding,
  formatReason,
  type JobResult,
  type JobView,
  type Progress,
  type RestorePlanSummary,
  type RestoreScope,
  remedyOfFinding,
} from '@lastgood/protocol';
import { contentsLines } from './contents-lines.ts';
import { shortId } from './ids.ts';
import { safeText } from './safe-text.ts';
import { table } from './table.ts';

/** One line of what a job does now: phase, bytes, rate and the time that is left. */
export function progressLine(progress: Progress): string {
  const { phase, doneBytes, totalBytes, bytesPerSecond, doneItems, totalItems } = progress;
  const items = doneItems === undefined || totalItems === undefined ? '' : ` ${doneItems} of ${totalItems}`;
  const parts = [`${safeText(phase)}${items}`];
  if (doneBytes > 0)
    parts.push(
      totalBytes !== null && totalBytes > 0 ? `${bytes(doneBytes)} of about ${bytes(totalBytes)}` : bytes(doneBytes),
    );
  if (bytesPerSecond > 0) parts.push(`${bytes(bytesPerSecond)}/s`);
  if (bytesPerSecond > 0 && totalBytes !== null && totalBytes > doneBytes)
    parts.push(`about ${duration(((totalBytes - doneBytes) / bytesPerSecond) * 1000)} left`);
  return parts.join(' · ');
}

/** A finding and what to do about it, in lines of their own. */
function findingLines(label: string, finding: Finding): string[] {
  const remedy = remedyOfFinding(finding);
  const text = `  ${label.padEnd(12)}${safeText(formatFinding(finding))}`;
  return remedy === null ? [text] : [text, `  ${''.padEnd(12)}${safeText(remedy)}`];
}

/** The value of a row that an engine adds. */
export function detailText({ value, unit }: Detail): string {
  if (typeof value === 'string') return unit === 'instant' ? instant(value) : safeText(value);
  if (unit === 'bytes') return bytes(value);
  return unit === 'milliseconds' ? duration(value) : String(value);
}

/** What is restored, in words. */
function scopeText(scope: RestoreScope): string {
  switch (scope.kind) {
    case 'server':
      return 'the whole server';
    case 'database':
      return `database "${safeText(scope.database)}"`;
    case 'tables':
      return `${scope.tables.map((name) => safeText(name)).join(', ')} of database "${safeText(scope.database)}"`;
    default:
      return unreachable(scope);
  }
}

const labeled = (label: string, text: string): string => `  ${label.padEnd(11)} ${text}`;

/** What a person must know before they consent. */
export function planLines(plan: RestorePlanSummary): string[] {
  const list = (items: readonly string[]): string => items.map(safeText).join(', ') || 'nothing';
  const { scope, into } = plan.request;
  const kept = into.way === 'swap' && plan.replaces.length > 0 ? ' (kept aside for undo)' : '';
  const free = plan.freeBytes === null ? 'unknown (the server is on another machine)' : bytes(plan.freeBytes);
  return [
    `Plan ${plan.hash.slice(0, 12)}: restore ${scopeText(scope)} of ${instant(plan.recoveryPoint)} into "${safeText(plan.into)}" (${into.way})`,
    labeled('reads', `${bytes(plan.readBytes)} of backup ${plan.backupId}`),
    labeled('space', `needs about ${bytes(plan.needBytes)}; free ${free}`),
    labeled('replaces', `${list(plan.replaces)}${kept}`),
    labeled('missing', list(plan.missing.map(({ kind, name }) => `${kind} ${name}`))),
    ...(plan.estimatedMs === null ? [] : [labeled('takes', `about ${duration(plan.estimatedMs)}`)]),
    ...plan.details.map((detail) => labeled(safeText(detail.label), detailText(detail))),
    ...plan.warnings.flatMap((warning) => findingLines('warning', warning)),
    ...plan.refusals.flatMap((refusal) => findingLines('refused', refusal)),
  ];
}

/** Removed backups that their store keeps: expired, and not gone. */
function lockedLines(locked: { readonly count: number; readonly until: string } | undefined): string[] {
  if (locked === undefined) return [];
  const { count, until } = locked;
  return [`${count} expired, but locked in the repository${count > 1 ? ', the first' : ''} until ${instant(until)}`];
}

const graceText = (hours: number | undefined, removed: number): string =>
  hours === undefined || hours === 0 || removed === 0
    ? ''
    : `; the bytes of what goes now are freed by a rotation after ${duration(hours * 3_600_000)}, and can be brought back until then (docs/operations.md)`;

/** What a finished job found or made, for people. */
export function resultLines(result: JobResult): string[] {
  const lines = linesOf(result);
  return result.truncated === true ? [...lines, TRUNCATED] : lines;
}

const TRUNCATED =
  'This result was too long to be sent whole: the ends of its lists and long texts are missing, its counts are not.';

type CheckResult = Extract<JobResult, { command: 'check' }>;
const checkLines = ({ kind, passed, durationMs, tries, details, findings }: CheckResult): string[] => [
  `${kind} check ${passed ? 'passed' : 'FAILED'} (${duration(durationMs)}, ${tries} ${tries === 1 ? 'try' : 'tries'})`,
  ...details.map((detail) => `  ${safeText(detail.label)}: ${safeText(detailText(detail))}`),
  ...findings.flatMap((finding) => findingLines('finding', finding)),
];
const setAsideLine = (result: Extract<JobResult, { command: 'drop-set-aside' }>): string =>
  `dropped "${safeText(result.name)}"${result.freedBytes === null ? '' : `, which freed ${bytes(result.freedBytes)}`} (${duration(result.durationMs)})`;

const undoLines = (result: Extract<JobResult, { command: 'undo' }>): string[] => [
  `"${safeText(result.into)}" holds the data from before the restore again (${duration(result.durationMs)})`,
  ...(result.setAsideAs === null ? [] : [`  the restored data is kept as "${safeText(result.setAsideAs)}"`]),
];

function rotationLines(result: Extract<JobResult, { command: 'rotate' }>): string[] {
  const rows = result.decisions.map(({ backupId, finishedAt, keep, reason }) => [
    shortId(backupId),
    finishedAt === '' ? '-' : shortInstant(finishedAt),
    keep ? 'keep' : 'remove',
    safeText(formatReason(reason)),
  ]);
  const freed = result.dryRun
    ? 'nothing was removed (dry run)'
    : `freed ${bytes(result.freedBytes)}${graceText(result.graceHours, result.removedCount)}`;
  return [
    ...table(['backup', 'finished', 'decision', 'reason'], rows, 'There are no backups.'),
    `${result.keptCount} stay, ${result.removedCount} ${result.dryRun ? 'would go' : 'go'}; ${freed}`,
    ...lockedLines(result.locked),
    ...(result.copies ?? []).flatMap(copyRotationLines),
  ];
}

const copyLines = ({ copies, durationMs }: Extract<JobResult, { command: 'copy' }>): string[] => [
  ...copies.map(
    ({ repository, copied, presentCount, segmentCount, copiedBytes }) =>
      `${repository}: copied ${copied.length} backups (${bytes(copiedBytes)}) and ${segmentCount} log segments, read back and equal; ${presentCount} were there already`,
  ),
  `took ${duration(durationMs)}`,
];

function copyRotationLines({ repository, removedCount, freedBytes, locked, error }: CopyRotation): string[] {
  if (error !== undefined) return [`${repository}: nothing was removed (${error.code}: ${safeText(error.message)})`];
  return [
    `${repository}: ${removedCount} go; freed ${bytes(freedBytes)}`,
    ...lockedLines(locked).map((line) => `${repository}: ${line}`),
  ];
}

function linesOf(result: JobResult): string[] {
  switch (result.command) {
    case 'backup': {
      const { backup } = result;
      return [
        `backup ${backup.backupId}${backup.state === 'suspect' ? ' (SUSPECT)' : ''}`,
        `  contents    ${backup.contents.map(({ name }) => safeText(name)).join(', ')}`,
        `  size        ${bytes(backup.producedBytes)}, stored as ${bytes(backup.storedBytes)}, read back and equal`,
        `  recovers to ${instant(backup.recoveryPoint)}`,
        `  took        ${duration(result.durationMs)}`,
        ...backup.warnings.flatMap((warning) => findingLines('warning', warning)),
      ];
    }
    case 'verify':
      return [
        `${result.passed ? 'passed' : 'FAILED'}: backup ${result.backupId} reached level ${result.reached} of ${result.level} (${duration(result.durationMs)})`,
        ...result.findings.map(
          (finding) =>
            `  level ${finding.level}  ${finding.object === null ? '' : `${safeText(finding.object)}: `}${safeText(formatFinding(finding))}`,
        ),
        ...result.remarks.flatMap((remark) => findingLines('note', remark)),
      ];
    case 'rotate':
      return rotationLines(result);
    case 'plan':
      return planLines(result.plan);
    case 'restore': {
      const counts = result.counts.map((count) => `${detailText(count)} ${safeText(count.label)}`).join(', ');
      const equal = counts === '' ? '' : `: ${counts}, equal to the backup`;
      return [
        `restored ${scopeText(result.scope)} into "${safeText(result.into)}"${equal} (${duration(result.durationMs)})`,
        labeled('goes back', `to ${instant(result.recoveryPoint)}`),
        ...(result.setAsideAs === null ? [] : [`  the old data is kept as "${safeText(result.setAsideAs)}"`]),
        ...result.warnings.flatMap((warning) => findingLines('warning', warning)),
      ];
    }
    case 'plan-undo':
      return result.details.map((detail) => labeled(safeText(detail.label), detailText(detail)));
    case 'undo':
      return undoLines(result);
    case 'hold':
      return [
        `backup ${result.backupId} is held${result.hold.reason === '' ? '' : ` (${safeText(result.hold.reason)})`}: no rotation removes it, or what it depends on`,
      ];
    case 'copy':
      return copyLines(result);
    case 'release':
      return [`backup ${result.backupId} is ${result.wasHeld ? 'no longer held' : 'not held'}`];
    case 'drop-set-aside':
      return [setAsideLine(result)];
    case 'list-contents':
      return contentsLines(result);
    case 'check':
      return checkLines(result);
    case 'hook':
      return [`the hook ended with exit status 0 (${duration(result.durationMs)})`];
    default:
      return unreachable(result);
  }
}

/** The state of a job in a word or two, for lists. */
export function stateOf(job: JobView): string {
  if (job.state === 'queued' && !job.hostOnline) return 'queued (host is offline)';
  if (job.cancelRequested && job.endedAt === null) return `${job.state} (cancel asked)`;
  const [first, ...others] = job.waitingFor;
  if (first !== undefined) {
    const more = others.length === 0 ? '' : ` and ${others.length} more`;
    return `${job.state}, waiting for ${first.command} of ${first.target} (job ${shortId(first.jobId)})${more}`;
  }
  return job.error === null ? job.state : `${job.state} (${job.error.code})`;
}
