import { Failure } from '@lastgood/core';
import { type ControlLedger, type JobSpec, LIMITS, sizeOf } from '@lastgood/protocol';
import type { AgentRecord } from '../catalog/agents.ts';

const MAX_WAITING_BYTES = LIMITS.frameBytes / 2;
/** What a journal reports about a job beside its spec. */
const JOB_OVERHEAD_BYTES = 512;

/**
 * Everything that waits for a host must fit into the one frame of its hello. To be called in the step that creates the job:
 * otherwise concurrent calls would each see the capacity that was there before all of them.
 */
export function assertQueueCapacity(ledger: ControlLedger, { environment, host }: AgentRecord, spec: JobSpec): void {
  const size = sizeOf(spec);
  if (size > LIMITS.specBytes)
    throw new Failure('BAD_INPUT', `the job has ${size} bytes, the limit is ${LIMITS.specBytes}`, {
      remedy: 'Name fewer databases, or release backups that need not be held any more.',
    });
  const waiting = [...ledger.jobs.values()].filter((job) => job.endedAt === null);
  const bytes = waiting.reduce((sum, job) => sum + sizeOf(job.spec) + JOB_OVERHEAD_BYTES, size);
  if (bytes > MAX_WAITING_BYTES)
    throw new Failure('CONFLICT', `${waiting.length} jobs already wait for ${environment}/${host}`, {
      remedy: 'Wait until they have ended, or cancel some (`lastgood jobs list`, `lastgood jobs cancel`).',
    });
}
