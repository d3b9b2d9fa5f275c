import { randomUUID } from 'node:crypto';
import { CLOSE, type JobSpec } from '@lastgood/protocol';
import { expect, test } from 'vitest';
import { AgentSocket, until } from './support/agent-socket.ts';
import { ControlHarness, type Identity } from './support/control-harness.ts';

const backup: JobSpec = { command: 'backup', target: 'shop', method: null, contents: null, options: {} };
const LEASE_MS = 90_000;
const FAST = { limits: { maintenanceMs: 20 } };

/** A host with one target, and its agent. */
async function host(bench: ControlHarness, name: string): Promise<{ identity: Identity; agent: AgentSocket }> {
  const identity = await bench.enroll(name);
  const agent = await AgentSocket.connect(bench, identity);
  await agent.announce('shop');
  return { identity, agent };
}
async function send(bench: ControlHarness, name: string, more: object = {}): Promise<string> {
  const input = { target: `${name}/shop`, spec: backup, idempotencyKey: randomUUID(), ...more };
  return (await bench.admin().createJob.mutate(input)).jobId;
}
const stateOf = async (bench: ControlHarness, jobId: string) => (await bench.admin().job.query({ jobId })).state;
const becomes = async (bench: ControlHarness, jobId: string, state: string): Promise<unknown> =>
  await until(`the job to be ${state}`, async () => ((await stateOf(bench, jobId)) === state ? true : undefined));

/** A job that runs on a host, as its agent has reported it. */
async function running(bench: ControlHarness, name: string, agent: AgentSocket): Promise<string> {
  const jobId = await send(bench, name);
  await until('the command', () => agent.commands.find((command) => 'jobId' in command && command.jobId === jobId));
  const told = { jobId, attempt: 1, at: 0, error: null, result: null };
  const accepted = { ...told, id: randomUUID(), previousEventId: null, eventNumber: 1, type: 'accepted' };
  const begun = { ...told, id: randomUUID(), previousEventId: accepted.id, eventNumber: 2, type: 'running' };
  await agent.call('report', agent.session({ events: [accepted, begun] }));
  expect(await stateOf(bench, jobId)).toBe('running');
  return jobId;
}
const beat = (agent: AgentSocket, jobIds: readonly string[]) =>
  agent.call('heartbeat', {
    ...agent.session({ ackSeq: 0, progress: [], outboxDepth: 0 }),
    running: jobIds.map((jobId) => ({ jobId, attempt: 1 })),
  });

test('K1: a running job without a report for the time of its lease is lost, and found again by a heartbeat', async () => {
  await using bench = await ControlHarness.start(FAST);
  const { agent } = await host(bench, 'db-1');
  const { agent: quiet } = await host(bench, 'db-2');
  const [heard, unheard] = [await running(bench, 'db-1', agent), await running(bench, 'db-2', quiet)];
  bench.clock.advance(LEASE_MS - 10_000);
  await beat(agent, [heard]);
  // Alive, but of its job it says nothing.
  await beat(quiet, []);
  bench.clock.advance(20_000);
  await becomes(bench, unheard, 'lost');
  expect(await stateOf(bench, heard)).toBe('running');
  await beat(quiet, [unheard]);
  expect(await stateOf(bench, unheard)).toBe('running');
  // The row says so as well.
  bench.clock.advance(LEASE_MS + 1);
  await becomes(bench, unheard, 'lost');
  await bench.close();
  await bench.open();
  expect(await stateOf(bench, unheard)).toBe('lost');
});

test('K1, R11: a job that could not be dispatched to its host before its start-by time has expired', async () => {
  await using bench = await ControlHarness.start(FAST);
  const { agent } = await host(bench, 'db-1');
  await agent.end();
  const short = await send(bench, 'db-1', { startByMs: 60_000 });
  const long = await send(bench, 'db-1', { startByMs: 3_600_000 });
  expect([await stateOf(bench, short), await stateOf(bench, long)]).toEqual(['queued', 'queued']);
  bench.clock.advance(60_001);
  await becomes(bench, short, 'expired');
  expect(await bench.admin().job.query({ jobId: short })).toMatchObject({ error: { code: 'JOB_EXPIRED' } });
  expect(await stateOf(bench, long)).toBe('queued');
});

test('K1: a session that is silent for the time of a lease is closed, one that speaks is not', async () => {
  await using bench = await ControlHarness.start(FAST);
  const { agent: silent } = await host(bench, 'db-1');
  const { agent: speaking } = await host(bench, 'db-2');
  bench.clock.advance(LEASE_MS - 1);
  await beat(speaking, []);
  bench.clock.advance(2);
  expect(await silent.closed).toEqual({ code: CLOSE.slowConsumer, reason: 'silent' });
  expect((await beat(speaking, []))?.result).toBeDefined();
});

test('K1: after a start every running job has a whole lease, for its agent may be on its way', async () => {
  await using bench = await ControlHarness.start();
  const { agent } = await host(bench, 'db-1');
  const jobId = await running(bench, 'db-1', agent);
  const { agent: last } = await host(bench, 'db-2');
  await last.end();
  const witness = await send(bench, 'db-2', { startByMs: 60_000 });
  await bench.close();
  bench.clock.advance(3_600_000);
  await bench.open(FAST);
  // Its host is looked at after the other one: when this job has expired, the other one was judged.
  await becomes(bench, witness, 'expired');
  expect(await stateOf(bench, jobId)).toBe('running');
  bench.clock.advance(LEASE_MS + 1);
  await becomes(bench, jobId, 'lost');
});

for (const [minutes, granted] of [
  [-6, false],
  [-4, true],
  [4, true],
  [6, false],
] as const)
  test(`I11: a destructive job ${granted ? 'may begin' : 'does not begin'} on a host whose clock is off by ${minutes} minutes`, async () => {
    await using bench = await ControlHarness.start();
    const agent = await AgentSocket.open(bench, await bench.enroll('db-1'));
    await agent.hello(bench.clock.now(), { clock: bench.clock.now() + minutes * 60_000 });
    agent.send({ id: 'commands', method: 'subscription', params: { path: 'commands', input: agent.session() } });
    await agent.announce('shop');
    const jobId = await send(bench, 'db-1', { spec: { command: 'undo', target: 'shop', restoreJobId: randomUUID() } });
    await until('the command', () => agent.commands[0]);
    const begun = await agent.call('requestGrant', agent.session({ jobId, attempt: 1, nonce: 'n' }));
    expect(begun?.result?.data).toMatchObject(granted ? { granted: true } : { granted: false, reason: 'clock' });
  });
