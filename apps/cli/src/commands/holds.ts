import type { BackupView, JobSpec } from '@lastgood/protocol';
import type { CommandContext } from '../command-context.ts';
import { jobDocument } from '../documents.ts';
import { resultLines } from '../format/job-lines.ts';
import { runJob, sendJob } from './jobs.ts';
import { backupIdOf } from './resolve.ts';

export interface HoldOptions {
  readonly detach?: boolean;
}

type HoldSpec = Extract<JobSpec, { command: 'hold' | 'release' }>;

/** A hold is in force at once: until the agent has written it into the repository, no rotation of the backup is planned. */
async function runHold(
  context: CommandContext,
  { environment, host, target }: BackupView,
  spec: HoldSpec,
  { detach }: HoldOptions,
): Promise<number> {
  const name = `${environment}/${host}/${target}`;
  if (detach === true) {
    const job = await sendJob(context, name, spec);
    context.output.answer({ job: jobDocument(job) }, () => [
      `the ${spec.command} of backup ${spec.backupId} is pending until its host reports it; follow it with \`lastgood jobs watch ${job.jobId}\``,
    ]);
    return 0;
  }
  const { job, result } = await runJob(context, name, spec);
  context.output.answer({ job: jobDocument(job) }, () => resultLines(result));
  return 0;
}

async function backupOf(context: CommandContext, wanted: string): Promise<BackupView> {
  const client = await context.client();
  return await client.backup.query({ backupId: await backupIdOf(client, wanted) });
}

export async function hold(
  context: CommandContext,
  wanted: string,
  options: HoldOptions & { readonly reason: string },
): Promise<number> {
  const backup = await backupOf(context, wanted);
  const { backupId, target } = backup;
  return await runHold(context, backup, { command: 'hold', target, backupId, reason: options.reason }, options);
}

export async function release(context: CommandContext, wanted: string, options: HoldOptions): Promise<number> {
  const backup = await backupOf(context, wanted);
  const { backupId, target } = backup;
  return await runHold(context, backup, { command: 'release', target, backupId }, options);
}
