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

/**
 * Asks a control plane that has answered before; one that went away is asked again for a minute. What is asked must be safe to
 * repeat: a query, or a change with an idempotency key.
 */
export async function askPatiently<T>(
  { url, output, signal }: Pick<WatchOptions, 'url' | 'output' | 'signal'>,
  ask: () => Promise<T>,
): Promise<T> {
  let silentSince: number | undefined;
  for (;;) {
    const began = performance.now();
    try {
      const answer = await ask();
      if (silentSince !== undefined) output.note('the control plane answers again');
      return answer;
    } catch (error) {
      const failure = failureOf(error, url);
      if (!(failure instanceof Failure) || failure.code !== 'CONTROL_UNREACHABLE' || signal.aborted) throw failure;
      if (silentSince === undefined)
        output.note('the control plane does not answer; asking again (jobs go on without it)');
      silentSince ??= began;
      if (performance.now() - silentSince > PATIENCE_MS) throw failure;
    }
    await delay(ASK_MS, undefined, { signal });
  }
}

/** Follows a job to its end. Ctrl-C ends the watching, never the job. */
export async function watchJob(jobId: string, options: WatchOptions): Promise<JobView> {
  try {
    return await follow(jobId, options);
  } catch (error) {
    if (!options.signal.aborted) throw error;
    options.output.note(
      `no longer watching; the job goes on. Follow it with \`lastgood jobs watch ${jobId}\`, stop it with \`lastgood jobs cancel ${jobId}\`.`,
    );
    throw new Interrupted();
  }
}

/** The job stays open, because its host may come back and report it; but a caller, such as a timer, must not wait forever. */
function givenUp({ jobId, environment, host, state, hostSeenAt }: JobView): Failure {
  const since = hostSeenAt === null ? 'it never came' : `since ${new Date(hostSeenAt).toISOString()}`;
  const message = `host ${environment}/${host} is offline (${since}) and the time of the job is over; it is left open as ${state}`;
  return new Failure('AGENT_OFFLINE', message, {
    remedy: `Start the agent of that host: it tells what became of the job. \`lastgood jobs show ${jobId}\` shows it.`,
  });
}

async function follow(jobId: string, options: WatchOptions): Promise<JobView> {
  const { client, output, signal, onChange } = options;
  let told = '';
  for (;;) {
    const job = await askPatiently(options, () => client.job.query({ jobId }));
    const seen = JSON.stringify([
      job.state,
      job.attempt,
      job.progress,
      job.cancelRequested,
      job.hostOnline,
      job.waitingFor,
    ]);
    if (seen !== told) onChange?.(job);
    told = seen;
    if (job.endedAt !== null) return job;
    if (job.overdue) throw givenUp(job);
    if (job.progress === null) output.status(stateOf(job), stateOf(job));
    else output.status(progressLine(job.progress), job.progress.phase);
    await delay(ASK_MS, undefined, { signal });
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
    job.state === 'canceled' ? 'JOB_CANCELED' : job.state === 'expired' ? 'JOB_EXPIRED' : 'JOB_INTERRUPTED',
    `the job ended as ${job.state}`,
  );
}
