import { Failure } from '@lastgood/core';
import { type ControlLedger, type JobSpec, LIMITS, sizeOf } from '@lastgood/protocol';
import type { AgentRecord } from '../catalog/catalog.ts';

const MAX_SPEC_BYTES = 32 * 1024;
const MAX_WAITING_BYTES = LIMITS.frameBytes / 2;
/** What a journal tells of a job beside its spec. */
const JOB_OVERHEAD_BYTES = 512;

/**
 * Whatever waits for a host must fit into the one frame of its hello. To be asked in the step that makes the job: of calls that
 * come at once each would see the room that there was before all of them.
 */
export function assertQueueCapacity(ledger: ControlLedger, { environment, host }: AgentRecord, spec: JobSpec): void {
  const size = sizeOf(spec);
  if (size > MAX_SPEC_BYTES)
    throw new Failure('BAD_INPUT', `the job has ${size} bytes, at most ${MAX_SPEC_BYTES} fit`, {
      remedy: 'Name fewer databases, or release backups that need not be held any more.',
    });
  const waiting = [...ledger.jobs.values()].filter((job) => job.endedAt === null);
  const bytes = waiting.reduce((sum, job) => sum + sizeOf(job.spec) + JOB_OVERHEAD_BYTES, size);
  if (bytes > MAX_WAITING_BYTES)
    throw new Failure('CONFLICT', `${waiting.length} jobs wait for ${environment}/${host} already`, {
      remedy: 'Wait until they have ended, or cancel some (`lastgood jobs`, `lastgood job cancel`).',
    });
}
