import { randomUUID } from 'node:crypto';
import { occurrenceIdOf } from '@lastgood/core/schedules';
import type { JobDescription, JobSpec } from '@lastgood/protocol';
import { aJobDescription } from '@lastgood/testkit';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { InProcessFleet } from '../../../test/support/in-process-fleet.ts';

let fleet: InProcessFleet;
beforeEach(async () => {
  fleet = await InProcessFleet.open();
});
afterEach(() => fleet[Symbol.asyncDispose]());

const SCHEDULE = randomUUID();
const rotate: JobSpec = { command: 'rotate', target: 'shop', retention: { minimum: 1 }, holds: [], dryRun: false };
function occurrence(due: number, spec?: JobSpec): JobDescription {
  const origin = { kind: 'schedule', scheduleId: SCHEDULE, due } as const;
  return aJobDescription(occurrenceIdOf(SCHEDULE, due), { origin, ...(spec === undefined ? {} : { spec }) });
}

test('a job that the agent creates while the control plane is away runs at once, and is known there in the end', async () => {
  await fleet.startAgent();
  await fleet.announced();
  await fleet.stopControl();
  const job = occurrence(Date.now());
  expect(fleet.agent.createJob(job)).toBe('created');
  expect(fleet.agent.createJob(job)).toBe('known');
  await fleet.until(
    'the end of the job in the journal',
    async () => fleet.journaled(job.jobId)?.state === 'finished' || undefined,
  );
  await fleet.startControl();
  const view = await fleet.job(job.jobId, 'the error', ({ error }) => error !== null);
  // The server of this target is away, which is what the job reports.
  expect(view).toMatchObject({
    ...{ state: 'failed', error: { code: 'DATABASE_UNREACHABLE' }, createdBy: `schedule ${SCHEDULE}`, spec: job.spec },
  });
  expect(view.createdAt).toBeLessThanOrEqual(view.endedAt ?? 0);
});

test('R14: a job that the agent has created starts after a restart without the control plane', async () => {
  await fleet.startAgent();
  await fleet.announced();
  await fleet.stopControl();
  await fleet.stopAgent();
  await fleet.startAgent();
  const job = occurrence(Date.now());
  expect(fleet.agent.createJob(job)).toBe('created');
  await fleet.until(
    'the end of the job in the journal',
    async () => fleet.journaled(job.jobId)?.state === 'finished' || undefined,
  );
});

test('R6: a destructive job that the agent creates waits for the control plane and its grant', async () => {
  await fleet.startAgent();
  await fleet.announced();
  await fleet.stopControl();
  const job = occurrence(Date.now(), rotate);
  fleet.agent.createJob(job);
  expect(fleet.journaled(job.jobId)).toMatchObject({ state: 'accepted', class: 'destructive' });
  await fleet.startControl();
  expect(await fleet.ended(job.jobId)).toMatchObject({ state: 'succeeded', result: { command: 'rotate' } });
});

test('a job that the agent may not run is rejected and reported', async () => {
  await fleet.write((config) => {
    for (const target of Object.values(config.targets)) target['allow'] = { restore: [], rotate: false };
    return config;
  });
  await fleet.startAgent();
  await fleet.announced();
  const job = occurrence(Date.now(), rotate);
  fleet.agent.createJob(job);
  expect(await fleet.ended(job.jobId)).toMatchObject({ state: 'rejected', error: { code: 'HOST_LIMIT' } });
});
