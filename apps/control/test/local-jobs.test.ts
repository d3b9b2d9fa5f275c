import { randomUUID } from 'node:crypto';
import type { JobDescription, JobEvent, JournalJob } from '@lastgood/protocol';
import { aJobDescription, aJournalJob } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { AgentSocket, until } from './support/agent-socket.ts';
import { ControlHarness } from './support/control-harness.ts';

const SCHEDULE = randomUUID();
/** An occurrence that an agent has created ten minutes ago, by its clock. */
function occurrence(now: number): JobDescription {
  const due = now - 600_000;
  const origin = { kind: 'schedule', scheduleId: SCHEDULE, due } as const;
  return aJobDescription(randomUUID(), { origin, createdAt: due + 1, startBy: now + 600_000 });
}
const eventsOf = ({ jobId, createdAt }: JobDescription, ...types: JobEvent['type'][]): JobEvent[] =>
  types.map((type, index) => ({
    ...{ id: `${jobId}-${index + 1}`, previousEventId: index === 0 ? null : `${jobId}-${index}`, jobId, attempt: 1 },
    ...{ eventNumber: index + 1, type, at: createdAt + index, error: null, result: null },
  }));
const report = async (agent: AgentSocket, events: JobEvent[], ...jobs: JobDescription[]): Promise<unknown> =>
  (await agent.call('report', agent.session({ events, jobs })))?.result?.data;

test('a job that its agent has created appears with its schedule and the times of the host', async () => {
  await using bench = await ControlHarness.start();
  const agent = await AgentSocket.connect(bench, await bench.enroll());
  await agent.announce('shop');
  const job = occurrence(bench.clock.now());
  const events = eventsOf(job, 'accepted', 'running', 'succeeded');
  expect(await report(agent, events, job)).toEqual({ acceptedIds: events.map(({ id }) => id) });
  const view = await bench.admin().job.query({ jobId: job.jobId });
  expect(view).toMatchObject({
    ...{ state: 'succeeded', host: 'db-1', target: 'shop', createdBy: `schedule ${SCHEDULE}`, spec: job.spec },
    ...{ createdAt: job.createdAt, startedAt: job.createdAt + 1, endedAt: job.createdAt + 2 },
  });
  // Reported again, before and after a restart, it is the same job.
  expect(await report(agent, events, job)).toEqual({ acceptedIds: events.map(({ id }) => id) });
  await bench.close();
  await bench.open();
  expect(await bench.admin().jobs.query({})).toEqual([
    expect.objectContaining({ jobId: job.jobId, state: 'succeeded' }),
  ]);
});

test('a job that both the agent and the control plane know is canceled through the agent', async () => {
  await using bench = await ControlHarness.start();
  const agent = await AgentSocket.connect(bench, await bench.enroll());
  await agent.announce('shop');
  const job = occurrence(bench.clock.now());
  await report(agent, eventsOf(job, 'accepted'), job);
  expect(await bench.admin().cancelJob.mutate({ jobId: job.jobId })).toMatchObject({
    ...{ state: 'accepted', cancelRequested: true, endedAt: null },
  });
  await until('the cancel', () => agent.commands.find(({ type }) => type === 'job.cancel'));
});

test('the id of a job of one host cannot be taken over by another one, by a report or by a hello', async () => {
  await using bench = await ControlHarness.start();
  const owner = await AgentSocket.connect(bench, await bench.enroll('db-1'));
  await owner.announce('shop');
  const job = occurrence(bench.clock.now());
  await report(owner, eventsOf(job, 'accepted', 'running', 'failed'), job);
  const identity = await bench.enroll('db-2');
  const other = await AgentSocket.connect(bench, identity);
  await other.announce('shop');
  const forged = eventsOf(job, 'accepted', 'running', 'succeeded');
  // Accepted, so that it is not sent for ever, and without effect.
  expect(await report(other, forged, { ...job, createdAt: 1 })).toEqual({ acceptedIds: forged.map(({ id }) => id) });
  await other.end();
  const jobs: JournalJob[] = [aJournalJob(job.jobId, { lastType: 'succeeded', open: false, eventNumber: 3 })];
  await AgentSocket.connect(bench, identity, { jobs });
  const view = await bench.admin().job.query({ jobId: job.jobId });
  expect(view).toMatchObject({ host: 'db-1', state: 'failed', createdAt: job.createdAt });
  expect(bench.logged.some(({ message }) => message === 'reported the jobs of another host')).toBe(true);
});

test('R17: after the loss of the catalog, jobs have the times and the creator that their agent knows', async () => {
  await using bench = await ControlHarness.start();
  const identity = await bench.enroll();
  const created = bench.clock.now() - 86_400_000;
  const jobs = [
    aJournalJob(randomUUID(), {
      ...{ origin: { kind: 'command', by: 'alice' }, createdAt: created, startedAt: created + 5, endedAt: created + 9 },
      ...{ eventNumber: 3, lastType: 'succeeded', open: false },
    }),
    aJournalJob(randomUUID(), {
      ...{
        origin: { kind: 'schedule', scheduleId: SCHEDULE, due: created },
        createdAt: created + 1,
        startedAt: created + 2,
      },
      ...{ eventNumber: 2, lastType: 'running', running: true },
    }),
  ];
  await AgentSocket.connect(bench, identity, { incarnation: randomUUID(), lastSeq: 7, jobs });
  const views = await bench.admin().jobs.query({});
  expect(views.toSorted((a, b) => a.createdAt - b.createdAt)).toMatchObject([
    { createdBy: 'alice', createdAt: created, startedAt: created + 5, endedAt: created + 9 },
    { createdBy: `schedule ${SCHEDULE}`, createdAt: created + 1, startedAt: created + 2, endedAt: null },
  ]);
});
