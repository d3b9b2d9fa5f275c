import { type Clock, Failure } from '@lastgood/core';
import { type ControlLedger, createJob, creatorOf, type JobDescription, requestCancel } from '@lastgood/protocol';
import type { AgentRecord } from '../catalog/agents.ts';
import type { Change } from '../catalog/catalog.ts';
import { assertHoldIsInTime } from './holds.ts';
import type { Decision, LedgerStore } from './ledger-store.ts';
import { assertQueueCapacity } from './queue-limit.ts';

/** Queues a job for an agent, together with `changes`. Throws BAD_INPUT or CONFLICT if the queue of the host is full. */
export async function queueJob(
  ledgers: LedgerStore,
  agent: AgentRecord,
  job: JobDescription,
  idempotencyKey: string,
  changes: readonly Change[],
): Promise<void> {
  const { agentId } = agent;
  const queue = (before: ControlLedger): Decision<undefined> => {
    assertQueueCapacity(before, agent, job.spec);
    assertHoldIsInTime(before, job.spec);
    const ledger = createJob(before, job);
    const created = ledger.jobs.get(job.jobId);
    if (created === undefined || ledger === before) throw new Failure('CONFLICT', `job ${job.jobId} exists already`);
    const record = { job: created, agentId, createdBy: creatorOf(job.origin), idempotencyKey };
    return { ledger, value: undefined, changes: [{ type: 'job.create', record }, ...changes] };
  };
  await ledgers.apply(agentId, queue, [job.jobId]);
}

/** Cancels a job, or asks its agent to. */
export async function cancelJob(
  ledgers: LedgerStore,
  clock: Clock,
  { agentId, jobId }: { agentId: string; jobId: string },
  changes: readonly Change[],
): Promise<void> {
  await ledgers.apply(agentId, (before) => ({
    ledger: requestCancel(before, jobId, clock.now()),
    value: undefined,
    changes,
  }));
}
