import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Mutation, mutationsOf, root } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { AgentSocket, until } from './support/agent-socket.ts';
import { ControlHarness, type Identity } from './support/control-harness.ts';

type Message = Record<string, unknown>;
const goldenFile = join(root, 'packages/protocol/test/golden/version-1.json');
const golden: Record<string, Message> = JSON.parse(readFileSync(goldenFile, 'utf8'));
const isObject = (value: unknown): value is Message =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const rate = { perSecond: 1e12, burst: 1e12 };
const UNLIMITED = { calls: rate, bytes: rate, jobs: rate };
/** Six of the hostile values for each field: each accepted message is a commit. */
const thirdOf = (mutations: readonly Mutation[]): Mutation[] => mutations.filter((_, index) => index % 3 === 0);

/** The right agent of a host: it takes a job, reports its end, and is listed. */
async function expectRecovery(bench: ControlHarness, identity: Identity): Promise<void> {
  const agent = await AgentSocket.connect(bench, identity);
  await agent.announce('shop');
  const spec = { command: 'backup', target: 'shop', method: null, contents: null, options: {} } as const;
  const { jobId } = await bench.admin().createJob.mutate({ target: 'shop', spec, idempotencyKey: randomUUID() });
  const command = await until('the job', () =>
    agent.commands.find((each) => each.type === 'job.start' && each.jobId === jobId),
  );
  await agent.call('ack', agent.session({ upToSeq: command.seq }));
  const event = { id: `end of ${jobId}`, previousEventId: null, jobId, attempt: 1, eventNumber: 1, type: 'rejected' };
  const report = { events: [{ ...event, at: bench.clock.now(), error: null, result: null }], jobs: [] };
  expect(await agent.call('report', agent.session(report))).toMatchObject({
    result: { data: { acceptedIds: [event.id] } },
  });
  expect((await bench.admin().job.query({ jobId })).state).toBe('rejected');
  expect((await bench.admin().hosts.query({})).map(({ state }) => state)).toEqual(['online']);
  expect(bench.logged.filter(({ message }) => message === 'unexpected error')).toEqual([]);
  await agent.end();
}

/** Sends each mutation as the input of a call, in sessions of one host. Each is answered, or ends its connection. */
async function sendAll(bench: ControlHarness, identity: Identity, path: string, mutations: readonly Mutation[]) {
  let agent = await AgentSocket.connect(bench, identity);
  const send = async ({ value }: Mutation): Promise<boolean> => {
    // The id of the session stays right, unless it is what was changed.
    const isOfSession = isObject(value) && value['sessionId'] === golden['ackInput']?.['sessionId'];
    return (await agent.call(path, isOfSession ? agent.session(value) : value)) !== undefined;
  };
  for (let from = 0; from < mutations.length; from += 16) {
    const some = mutations.slice(from, from + 16);
    const answered = await Promise.all(some.map(send));
    if (answered.every(Boolean)) continue;
    // One of them has ended the connection, perhaps before the others were read.
    for (const mutation of some) {
      if (agent.socket.readyState !== WebSocket.OPEN) agent = await AgentSocket.connect(bench, identity);
      await send(mutation);
    }
  }
  await agent.end();
}

test('attack-B2: whatever a hello holds, the right agent of the host can take jobs afterwards', async () => {
  await using bench = await ControlHarness.start({ limits: { agentRates: UNLIMITED } });
  const identity = await bench.enroll();
  for (const { value } of thirdOf(mutationsOf(golden['helloInput']))) {
    const agent = await AgentSocket.open(bench, identity);
    await agent.call('hello', value);
    await agent.end();
  }
  await expectRecovery(bench, identity);
});

test.for([
  ['ack', 'ackInput'],
  ['requestGrant', 'requestGrantInput'],
  ['report', 'reportInput'],
  ['heartbeat', 'heartbeatInput'],
  ['inventory', 'inventoryInput'],
] as const)('attack-B1: whatever an agent sends with %s, it can take jobs afterwards', async ([path, message]) => {
  await using bench = await ControlHarness.start({ limits: { agentRates: UNLIMITED } });
  const identity = await bench.enroll();
  await sendAll(bench, identity, path, thirdOf(mutationsOf(golden[message])));
  await expectRecovery(bench, identity);
});
