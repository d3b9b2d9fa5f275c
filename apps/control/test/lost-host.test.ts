import { randomUUID } from 'node:crypto';
import type { JobSpec, JobView } from '@lastgood/protocol';
import { aJournalJob } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { AgentSocket, until } from './support/agent-socket.ts';
import { ControlHarness } from './support/control-harness.ts';

const START_BY = 600_000;
const rotate: JobSpec = {
  ...{ command: 'rotate', target: 'shop', retention: { minimum: 1, keepLast: 1 }, holds: [], dryRun: false },
};
const backup: JobSpec = { command: 'backup', target: 'shop', method: null, contents: null, options: {} };

const event = (jobId: string, n: number, type: string) => ({
  ...{
    id: `e${n}`,
    previousEventId: n === 1 ? null : `e${n - 1}`,
    jobId,
    attempt: 1,
    eventNumber: n,
    type,
    at: 0,
    error: null,
    result: null,
  },
});

/** Jobs that an agent has taken, and whose start-by time is over since its host went away. */
async function leftBehind(...specs: JobSpec[]) {
  const bench = await ControlHarness.start({
    limits: {
      ...{ helloMs: 10_000, drainMs: 10_000, connectionsPerAgent: 8, unauthenticated: 100, enrollmentsPerMinute: 100 },
      maintenanceMs: 20,
    },
  });
  const identity = await bench.enroll();
  const agent = await AgentSocket.connect(bench, identity);
  await agent.announce('shop');
  const jobIds: string[] = [];
  for (const spec of specs) {
    const times = { startByMs: START_BY, deadlineMs: 60_000 };
    const { jobId } = await bench
      .admin()
      .createJob.mutate({ target: 'shop', spec, idempotencyKey: randomUUID(), ...times });
    jobIds.push(jobId);
  }
  await until('the commands', () => (agent.commands.length === specs.length ? true : undefined));
  await agent.call('ack', agent.session({ upToSeq: specs.length }));
  await agent.call('report', agent.session({ events: jobIds.map((jobId) => event(jobId, 1, 'accepted')) }));
  await agent.end();
  bench.clock.advance(START_BY + 1);
  const view = async (index: number): Promise<JobView> => await bench.admin().job.query({ jobId: jobIds[index] ?? '' });
  return { bench, identity, jobIds, view };
}
test('R11: what would have needed a grant by its start-by time is over, and stays so whatever its host says later', async () => {
  const { bench, identity, jobIds, view } = await leftBehind(rotate);
  await using _ = bench;
  const [jobId = ''] = jobIds;
  const over = await until('the end', async () => ((await view(0)).endedAt === null ? undefined : await view(0)));
  expect(over).toMatchObject({ state: 'expired', overdue: false, error: { code: 'JOB_EXPIRED' } });
  // Also a clock that is set back opens it no more.
  bench.clock.advance(-START_BY);
  const jobs = [aJournalJob(jobId, { spec: rotate, startBy: over.startBy })];
  const agent = await AgentSocket.connect(bench, identity, { lastSeq: 1, jobs });
  const asked = await agent.call('requestGrant', agent.session({ jobId, attempt: 1, nonce: 'n1' }));
  expect(asked?.result?.data).toMatchObject({ granted: false, reason: 'expired' });
  const report = await agent.call('report', agent.session({ events: [event(jobId, 2, 'expired')] }));
  expect(report?.result?.data).toEqual({ acceptedIds: ['e2'] });
  expect(await view(0)).toEqual({ ...over, hostOnline: true, hostSeenAt: expect.any(Number) });
});

test('L4: the open jobs of a host that is lost permanently end when a host is enrolled in its place', async () => {
  const { bench, jobIds, view } = await leftBehind(backup);
  await using _ = bench;
  const [jobId = ''] = jobIds;
  expect((await view(0)).endedAt).toBe(null);
  const agent = await AgentSocket.open(bench, await bench.enroll());
  const { reset } = await agent.hello(bench.clock.now());
  expect(reset?.jobs).toMatchObject([{ jobId }]);
  // As the agent does with every job that it has lost.
  await agent.call('report', agent.session({ events: [event(jobId, 2, 'interrupted')] }));
  await until('the end', async () => ((await view(0)).state === 'expired' ? true : undefined));
});
