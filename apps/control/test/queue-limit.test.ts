import { randomUUID } from 'node:crypto';
import { CLOSE, type HelloAnswer, type JournalJob, LIMITS } from '@lastgood/protocol';
import { aJournalJob } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { AgentSocket } from './support/agent-socket.ts';
import { ControlHarness, type Identity } from './support/control-harness.ts';

/** A job of some 30 KiB. */
const spec = {
  ...{ command: 'backup' as const, target: 'shop', method: null, options: {} },
  contents: Array.from({ length: 480 }, (_, n) => String(n).padStart(60, 'x')),
};
const sizeOf = (value: unknown): number => Buffer.byteLength(JSON.stringify(value));

/** An agent that ends a connection with a frame that is too large, as the real one does. */
async function strict(
  bench: ControlHarness,
  identity: Identity,
  jobs: JournalJob[],
): Promise<{ agent: AgentSocket; answer: HelloAnswer }> {
  const agent = await AgentSocket.open(bench, identity, { maxPayload: LIMITS.frameBytes });
  const instanceId = '00000000-0000-4000-8000-000000000001';
  return { agent, answer: await agent.hello(bench.clock.now(), { instanceId, jobs }) };
}

test('K3: jobs that are made at once do not fill a host beyond the frame of its hello', async () => {
  await using bench = await ControlHarness.start();
  const identity = await bench.enroll();
  const agent = await AgentSocket.connect(bench, identity);
  await agent.announce('shop');
  const make = () => bench.admin().createJob.mutate({ target: 'shop', spec, idempotencyKey: randomUUID() });
  const made = await Promise.allSettled(Array.from({ length: 30 }, make));
  const refused = made.filter(({ status }) => status === 'rejected');
  expect(refused.length).toBeGreaterThan(0);
  for (const one of refused)
    expect(one).toMatchObject({
      reason: { data: { failure: { code: 'CONFLICT', message: /jobs wait for test\/db-1/ } } },
    });
  const waiting = (await bench.admin().jobs.query({ limit: 100 })).filter(({ endedAt }) => endedAt === null);
  expect(waiting.length).toBe(made.length - refused.length);
  expect(sizeOf(waiting.map((job) => job.spec))).toBeLessThan(LIMITS.frameBytes / 2);
});

/** Seven jobs of a journal that no catalog knows. */
const unknownJobs = (): JournalJob[] => Array.from({ length: 7 }, () => aJournalJob(randomUUID(), { spec }));

test('K3: a host that has lost more than fits into one answer connects, and receives the rest with its next hello', async () => {
  await using bench = await ControlHarness.start();
  const identity = await bench.enroll();
  const jobs = [unknownJobs(), unknownJobs(), unknownJobs()];
  for (const some of jobs) await (await strict(bench, identity, some)).agent.end();
  const open = jobs.flat().length;
  const heard = new Set<string>();
  let hellos = 0;
  for (let more = true; more; hellos += 1) {
    const { agent, answer } = await strict(bench, identity, []);
    const lost = answer.reset?.jobs ?? [];
    const ended = {
      attempt: 1,
      eventNumber: 2,
      previousEventId: 'e1',
      type: 'interrupted',
      at: 0,
      error: null,
      result: null,
    };
    const events = lost.map(({ jobId }) => ({ ...ended, id: `end of ${jobId}`, jobId }));
    for (const { jobId } of lost) heard.add(jobId);
    await agent.call('report', agent.session({ events }));
    const beat = { ackSeq: 0, progress: [], running: [] };
    // As long as it has something to tell, nobody ends the session.
    expect((await agent.call('heartbeat', agent.session({ ...beat, outboxDepth: 1 })))?.result).toBeDefined();
    more = heard.size < open;
    agent.send({
      id: 'beat',
      method: 'mutation',
      params: { path: 'heartbeat', input: agent.session({ ...beat, outboxDepth: 0 }) },
    });
    if (more) expect((await agent.closed).code).toBe(CLOSE.diverged);
    else expect((await agent.reply('beat'))?.result).toBeDefined();
  }
  expect(heard.size).toBe(open);
  expect(hellos).toBe(3);
});
