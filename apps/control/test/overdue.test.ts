import { randomUUID } from 'node:crypto';
import type { JobView } from '@lastgood/protocol';
import { expect, test } from 'vitest';
import { LEASE_MS } from '../src/dispatch/times.ts';
import { AgentSocket, until } from './support/agent-socket.ts';
import { ControlHarness } from './support/control-harness.ts';

const START_BY = 600_000;
const DEADLINE = 3_600_000;

/** A backup that was dispatched to an agent, and the other reports of the agent. */
async function handedOver(bench: ControlHarness, told: readonly string[]) {
  const identity = await bench.enroll();
  const agent = await AgentSocket.connect(bench, identity);
  await agent.announce('shop');
  const spec = { command: 'backup' as const, target: 'shop', method: null, contents: null, options: {} };
  const times = { startByMs: START_BY, deadlineMs: DEADLINE };
  const { jobId } = await bench
    .admin()
    .createJob.mutate({ target: 'shop', spec, idempotencyKey: randomUUID(), ...times });
  await until('the command', () => agent.commands[0]);
  const events = told.map((type, index) => ({
    ...{
      id: `e${index + 1}`,
      previousEventId: index === 0 ? null : `e${index}`,
      jobId,
      attempt: 1,
      eventNumber: index + 1,
      type,
    },
    ...{ at: bench.clock.now(), error: null, result: null },
  }));
  if (events.length > 0) await agent.call('report', agent.session({ events }));
  const view = async (): Promise<JobView> => await bench.admin().job.query({ jobId });
  const gone = async (): Promise<void> => {
    await agent.end();
    await until('the end of the session', async () => ((await view()).hostOnline ? undefined : true));
  };
  return { identity, agent, view, gone };
}

test.for<[string, string[], number]>([
  ['was dispatched over', [], START_BY],
  ['was accepted', ['accepted'], START_BY],
  ['runs', ['accepted', 'running'], DEADLINE],
])('L4: a job that %s is overdue when its host is gone and its time and a lease are over', async ([, told, time]) => {
  await using bench = await ControlHarness.start();
  const { view, gone } = await handedOver(bench, told);
  const leftAt = bench.clock.now();
  await gone();
  bench.clock.advance(time + LEASE_MS);
  expect(await view()).toMatchObject({ overdue: false, endedAt: null });
  bench.clock.advance(1);
  const late = await view();
  expect(late).toMatchObject({ overdue: true, endedAt: null, hostOnline: false, hostSeenAt: leftAt });
});

test('a job whose host is there is not overdue, nor one whose agent may be on its way after a start', async () => {
  await using bench = await ControlHarness.start();
  const { view, agent, gone } = await handedOver(bench, ['accepted']);
  bench.clock.advance(START_BY + LEASE_MS + 1);
  const beat = { ackSeq: 0, progress: [], running: [], outboxDepth: 0 };
  await agent.call('heartbeat', agent.session(beat));
  expect(await view()).toMatchObject({ hostOnline: true, overdue: false });
  await gone();
  expect((await view()).overdue).toBe(true);
  await bench.close();
  await bench.open();
  expect((await view()).overdue).toBe(false);
  bench.clock.advance(LEASE_MS + 1);
  expect((await view()).overdue).toBe(true);
});
