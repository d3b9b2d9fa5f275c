import { exitStatusOf } from '@lastgood/core';
import { duration, instant } from '@lastgood/core/format';
import { backupIdOf, ERROR_CATALOG, type JobSpec, type JobView } from '@lastgood/protocol';
import type { CommandContext } from '../command-context.ts';
import { jobDocument } from '../documents.ts';
import { shortId } from '../format/ids.ts';
import { progressLine, resultLines, stateOf } from '../format/job-lines.ts';
import { safeText } from '../format/safe-text.ts';
import { table } from '../format/table.ts';
import { failureOfJob, watchJob } from '../watch.ts';
import { wholeNumber } from './input.ts';
import { jobIdOf, selectorInput } from './resolve.ts';

/** The database, the backup and the way that a job is about, as far as it names them. */
function aboutText(spec: JobSpec): string {
  const parts: string[] = [];
  if (spec.command === 'backup') parts.push(spec.method ?? '', ...(spec.contents ?? []));
  if (spec.command === 'plan' || spec.command === 'restore') {
    const { scope, into } = spec.request;
    parts.push('database' in scope ? scope.database : 'server', into.way);
  }
  if (spec.command === 'verify') parts.push(`level ${spec.level}`);
  if (spec.command === 'rotate' && spec.dryRun) parts.push('dry run');
  if (spec.command === 'hold' || spec.command === 'release') parts.push(shortId(spec.backupId));
  const backupId = backupIdOf(spec);
  if (backupId !== null) parts.push(`backup ${shortId(backupId)}`);
  return parts.filter((part) => part !== '').join(' ') || '-';
}

export async function listJobs(
  context: CommandContext,
  selector: string | undefined,
  options: { limit: string },
): Promise<number> {
  const client = await context.client();
  const limit = wholeNumber('--limit', options.limit, 1, 1000);
  const jobs = await client.jobs.query({ limit, ...selectorInput(selector) });
  const rows = jobs.map((job) => {
    const spent = job.startedAt === null ? '-' : duration(Math.max(0, (job.endedAt ?? Date.now()) - job.startedAt));
    return [
      shortId(job.jobId),
      job.command,
      `${job.environment}/${job.host}/${job.target}`,
      aboutText(job.spec),
      stateOf(job),
      instant(job.createdAt),
      spent,
      job.createdBy,
    ];
  });
  context.output.answer({ jobs: jobs.map(jobDocument) }, () =>
    table(['job', 'command', 'target', 'about', 'state', 'created', 'took', 'by'], rows, 'There are no jobs.'),
  );
  return 0;
}

/** Everything about one job in a few lines. */
function jobLines(job: JobView): string[] {
  const head = [
    `job ${job.jobId}: ${job.command} of ${job.environment}/${job.host}/${job.target}, ${stateOf(job)}, attempt ${job.attempt}, by ${safeText(job.createdBy)} at ${instant(job.createdAt)}`,
  ];
  if (job.progress !== null) head.push(`  ${progressLine(job.progress)}`);
  if (job.error !== null)
    head.push(`  ${job.error.code}: ${safeText(job.error.message)}`, `  ${safeText(job.error.remedy)}`);
  return [...head, ...(job.result === null ? [] : resultLines(job.result))];
}

export async function showJob(context: CommandContext, wanted: string): Promise<number> {
  const client = await context.client();
  const job = await client.job.query({ jobId: await jobIdOf(client, wanted) });
  context.output.answer({ job: jobDocument(job) }, () => jobLines(job));
  return 0;
}

export async function watch(context: CommandContext, wanted: string): Promise<number> {
  const { output, signal, url } = context;
  const client = await context.client();
  const jobId = await jobIdOf(client, wanted);
  const onChange = (job: JobView): void => {
    if (output.json && job.endedAt === null)
      output.answer({ messageType: 'progress', job: jobDocument(job) }, () => []);
  };
  const job = await watchJob(jobId, { client, url, output, signal, onChange });
  output.answer({ messageType: 'result', job: jobDocument(job) }, () => jobLines(job));
  const failure = failureOfJob(job);
  if (failure !== undefined) return ERROR_CATALOG[failure.code].exit;
  return job.result === null ? 0 : exitStatusOf(job.result);
}

export async function cancelJob(context: CommandContext, wanted: string): Promise<number> {
  const client = await context.client();
  const job = await client.cancelJob.mutate({ jobId: await jobIdOf(client, wanted) });
  context.output.answer({ job: jobDocument(job) }, () => [
    job.endedAt === null ? `asked job ${job.jobId} to stop` : `job ${job.jobId} is over: ${stateOf(job)}`,
  ]);
  return 0;
}
