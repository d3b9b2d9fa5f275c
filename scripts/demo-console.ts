import { randomUUID } from 'node:crypto';
import { styleText } from 'node:util';
import type { JobResult, JobSpec } from '@lastgood/protocol';
import { type AdminClient, waitFor } from '@lastgood/testkit';

const started = performance.now();
export const stopping = new AbortController();
// SIGHUP: the terminal was closed.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stopping.abort());

export const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
export const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
export const print = (text: string): void =>
  console.log(`${styleText('dim', seconds(performance.now() - started).padStart(7))}  ${text}`);

/** Runs one job and returns its result. Throws with cause and remedy when the job does not succeed. */
export async function run<C extends JobSpec['command']>(
  client: AdminClient,
  spec: Extract<JobSpec, { command: C }>,
): Promise<Extract<JobResult, { command: C }>> {
  const job = await client.createJob.mutate({ target: spec.target, spec, idempotencyKey: randomUUID() });
  const ended = await waitFor(`the ${spec.command} to end`, 300_000, stopping.signal, async () => {
    const view = await client.job.query({ jobId: job.jobId });
    return view.endedAt === null ? undefined : view;
  });
  if (ended.state !== 'succeeded' || ended.result?.command !== spec.command) {
    throw new Error(
      `${spec.command} ${ended.state}: ${ended.error?.message ?? 'no message'} ${ended.error?.remedy ?? ''}`,
    );
  }
  return ended.result as Extract<JobResult, { command: C }>;
}
