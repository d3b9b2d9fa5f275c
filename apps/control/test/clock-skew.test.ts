import { randomUUID } from 'node:crypto';
import type { JobSpec } from '@lastgood/protocol';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { AgentSocket } from './support/agent-socket.ts';
import { ControlHarness } from './support/control-harness.ts';

const OFF = 6 * 60_000;
let bench: ControlHarness;
let agent: AgentSocket;
let jobId: string;
/** An agent whose clock is six minutes ahead, with a rotation that waits for its grant. */
beforeEach(async () => {
  bench = await ControlHarness.start();
  agent = await AgentSocket.connect(bench, await bench.enroll(), { clock: bench.clock.now() + OFF });
  await agent.announce('shop');
  const spec = {
    command: 'rotate' as const,
    target: 'shop',
    retention: { minimum: 1 },
    holds: [],
    dryRun: false,
  } satisfies JobSpec;
  ({ jobId } = await bench.admin().createJob.mutate({ target: 'shop', spec, idempotencyKey: randomUUID() }));
});
afterEach(() => bench[Symbol.asyncDispose]());

async function begin(clock?: number): Promise<unknown> {
  const input = { jobId, attempt: 1, nonce: 'n', ...(clock === undefined ? {} : { clock }) };
  return (await agent.call('requestGrant', agent.session(input)))?.result?.data;
}
async function beat(clock?: number): Promise<void> {
  const input = { ackSeq: 1, progress: [], running: [], outboxDepth: 0, ...(clock === undefined ? {} : { clock }) };
  expect((await agent.call('heartbeat', agent.session(input)))?.error).toBeUndefined();
}
const refused = { granted: false, reason: 'clock' };

test('D1: a host whose clock is wrong begins nothing destructive', async () => {
  expect(await begin()).toMatchObject(refused);
  expect(await begin(bench.clock.now() + OFF)).toMatchObject(refused);
  expect((await bench.admin().hosts.query({}))[0]?.clockSkewMs).toBe(OFF);
});

test('D1: a clock that was repaired is believed in the same session, by the next begin or heartbeat', async () => {
  expect(await begin(bench.clock.now() + OFF)).toMatchObject(refused);
  expect(await begin(bench.clock.now())).toMatchObject({ granted: true });
  await beat(bench.clock.now() + OFF);
  expect(await begin()).toMatchObject(refused);
  await beat(bench.clock.now());
  expect(await begin()).toMatchObject({ granted: true });
});

test('D1: an older agent, which tells its clock with its hello alone, is held to that', async () => {
  await beat();
  expect(await begin()).toMatchObject(refused);
});
