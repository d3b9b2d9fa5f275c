import { setTimeout as delay } from 'node:timers/promises';
import { Failure } from '@lastgood/core';
import type { JobView } from '@lastgood/protocol';
import { type AdminClient, failureOf } from './client.ts';
import { progressLine, stateOf } from './format/job-lines.ts';
import type { Output } from './output.ts';

const ASK_MS = 300;
const PATIENCE_MS = 60_000;

export interface WatchOptions {
  readonly client: AdminClient;
  readonly url: string;
  readonly output: Output;
  readonly signal: AbortSignal;
  /** Called with each view that says something new. */
  readonly onChange?: (job: JobView) => void;
}

/** Follows a job to its end. A control plane that goes away is asked again for a minute: the job runs on without it. */
export async function watchJob(
  jobId: string,
  { client, url, output, signal, onChange }: WatchOptions,
): Promise<JobView> {
  let silentSince: number | undefined;
  let told = '';
  for (;;) {
    try {
      const job = await client.job.query({ jobId });
      silentSince = undefined;
      const seen = JSON.stringify([job.state, job.attempt, job.progress, job.cancelRequested, job.hostOnline]);
      if (seen !== told) onChange?.(job);
      told = seen;
      if (job.endedAt !== null) return job;
      output.status(job.progress === null ? `${stateOf(job)}` : progressLine(job.progress));
    } catch (error) {
      const failure = failureOf(error, url);
      if (!(failure instanceof Failure) || failure.code !== 'CONTROL_UNREACHABLE') throw failure;
      const now = performance.now();
      if (silentSince === undefined)
        output.note('the control plane does not answer; asking again (the job goes on without it)');
      silentSince ??= now;
      if (now - silentSince > PATIENCE_MS) throw failure;
    }
    await delay(ASK_MS, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) {
      output.note(
        `no longer watching; the job goes on. Look again with \`lastgood job watch ${jobId}\`, stop it with \`lastgood job cancel ${jobId}\`.`,
      );
      throw new Interrupted();
    }
  }
}

/** Ctrl-C while watching: nothing failed, but the command did not end either. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
}

/** The failure that a job ended with; undefined when it succeeded. */
export function failureOfJob(job: JobView): Failure | undefined {
  if (job.state === 'succeeded') return undefined;
  if (job.error !== null) return new Failure(job.error.code, job.error.message, { remedy: job.error.remedy });
  return new Failure(
    job.state === 'cancelled' ? 'JOB_CANCELLED' : job.state === 'expired' ? 'JOB_EXPIRED' : 'JOB_INTERRUPTED',
    `the job ended as ${job.state}`,
  );
}
