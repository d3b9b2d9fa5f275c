import type { CommandContext } from '../command-context.ts';
import { jobDocument } from '../documents.ts';
import { resultLines } from '../format/job-lines.ts';
import { runJob, type Timing } from './jobs.ts';
import { backupIdOf, fullName, oneTarget } from './resolve.ts';

export interface CopyOptions extends Timing {
  readonly to?: string;
}

/** Copies a backup, or all that are missing there, into the other repositories of a target. */
export async function copy(
  context: CommandContext,
  selector: string,
  wanted: string | undefined,
  options: CopyOptions,
): Promise<number> {
  const client = await context.client();
  const target = await oneTarget(client, selector);
  const backupId = wanted === undefined ? null : await backupIdOf(client, wanted);
  const spec = { command: 'copy', target: target.name, backupId, repository: options.to ?? null } as const;
  const { job, result } = await runJob(context, fullName(target), spec, options);
  context.output.answer({ job: jobDocument(job) }, () => resultLines(result));
  return 0;
}
