import { randomUUID } from 'node:crypto';
import { CLOSE, type JournalJob } from '@lastgood/protocol';
import { aJournalJob } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { AgentSocket, helloInput, until } from './support/agent-socket.ts';
import { ControlHarness } from './support/control-harness.ts';

const backup = { command: 'backup', target: 'shop', method: null, contents: null, options: {} } as const;
const event = (jobId: string, more: object = {}) => ({
  id: randomUUID(),
  previousEventId: null,
  jobId,
  attempt: 1,
  eventNumber: 1,
  type: 'accepted',
  at: 0,
  error: null,
  result: null,
  ...more,
});

/** A job that an agent has taken and reported nothing about. */
const journal = (jobId: string): JournalJob =>
  aJournalJob(jobId, { eventNumber: 0, lastEventId: null, lastType: null });

test('R10: a call that waited behind a newer hello changes nothing and closes its connection as superseded', async () => {
  await using bench = await ControlHarness.start();
  const identity = await bench.enroll();
  const instanceId = randomUUID();
  const old = await AgentSocket.connect(bench, identity, { instanceId });
  await old.announce('shop');
  let current = old;
  let refused = 0;
  for (let round = 0; round < 10; round += 1) {
    const { jobId } = await bench
      .admin()
      .createJob.mutate({ target: 'shop', spec: backup, idempotencyKey: randomUUID() });
    await until('the command', () => current.commands.find((command) => 'jobId' in command && command.jobId === jobId));
    const next = await AgentSocket.open(bench, identity);
    const hello = helloInput(bench.clock.now(), { instanceId, lastSeq: round + 1, jobs: [journal(jobId)] });
    // Both arrive in one turn of the loop: the report passes the door and waits behind the hello.
    next.send({ id: 'hello', method: 'mutation', params: { path: 'hello', input: hello } });
    const input = current.session({ events: [event(jobId)] });
    current.send({ id: 'late', method: 'mutation', params: { path: 'report', input } });
    next.adopt(await next.reply('hello'));
    expect((await current.closed).code).toBe(CLOSE.superseded);
    const { state } = await bench.admin().job.query({ jobId });
    const answered = current.replies.some(({ id, result }) => id === 'late' && result !== undefined);
    // Served before the hello, or refused after it; never taken from a session that is over.
    expect(state).toBe(answered ? 'accepted' : 'dispatched');
    if (!answered) refused += 1;
    next.send({ id: 'commands', method: 'subscription', params: { path: 'commands', input: next.session() } });
    current = next;
  }
  expect(refused).toBeGreaterThan(0);
});

test('R10: a hello on a connection older than the newest that said hello is refused, even when that one is gone', async () => {
  await using bench = await ControlHarness.start();
  const identity = await bench.enroll();
  const older = await AgentSocket.open(bench, identity);
  const newer = await AgentSocket.connect(bench, identity);
  await newer.end();
  await until('the control plane to notice', async () =>
    (await bench.admin().hosts.query())[0]?.state === 'offline' ? true : undefined,
  );
  older.send({ id: 1, method: 'mutation', params: { path: 'hello', input: helloInput(bench.clock.now()) } });
  expect((await older.closed).code).toBe(CLOSE.superseded);
  const third = await AgentSocket.connect(bench, identity);
  expect(third.sessionId).not.toBe('');
});

test('R10: a connection opened with the old key says no hello after the host was enrolled again', async () => {
  await using bench = await ControlHarness.start();
  const before = await bench.enroll();
  const silent = await AgentSocket.open(bench, before);
  const speaking = await AgentSocket.connect(bench, before);
  const after = await bench.enroll();
  expect(after.agentId).toBe(before.agentId);
  expect((await speaking.closed).code).toBe(CLOSE.superseded);
  silent.send({ id: 1, method: 'mutation', params: { path: 'hello', input: helloInput(bench.clock.now()) } });
  expect((await silent.closed).code).toBe(CLOSE.superseded);
  await AgentSocket.connect(bench, after);
});

test('of two hellos at once the newer connection has the session, and its epoch is the higher', async () => {
  await using bench = await ControlHarness.start();
  const identity = await bench.enroll();
  const instanceId = randomUUID();
  for (let round = 0; round < 20; round += 1) {
    const one = await AgentSocket.open(bench, identity);
    const two = await AgentSocket.open(bench, identity);
    const hello = {
      id: 1,
      method: 'mutation',
      params: { path: 'hello', input: helloInput(bench.clock.now(), { instanceId }) },
    };
    const [first, second] = round % 2 === 0 ? [one, two] : [two, one];
    first.send(hello);
    second.send(hello);
    expect((await one.closed).code).toBe(CLOSE.superseded);
    two.adopt(await two.reply(1));
    const beat = { ackSeq: 0, progress: [], running: [], outboxDepth: 0 };
    expect((await two.call('heartbeat', two.session(beat)))?.result).toBeDefined();
    await two.end();
  }
});

test('J4: two hosts that take turns with one identity are both refused until the right one is enrolled again', async () => {
  await using bench = await ControlHarness.start();
  const identity = await bench.enroll();
  const [original, clone] = [randomUUID(), randomUUID()];
  const first = await AgentSocket.connect(bench, identity, { instanceId: original });
  const cloned = await AgentSocket.connect(bench, identity, { instanceId: clone });
  await first.closed;
  const again = await AgentSocket.open(bench, identity);
  again.send({
    id: 1,
    method: 'mutation',
    params: { path: 'hello', input: helloInput(bench.clock.now(), { instanceId: original }) },
  });
  expect((await again.closed).code).toBe(CLOSE.quarantined);
  expect((await cloned.closed).code).toBe(CLOSE.quarantined);
  await expect(AgentSocket.open(bench, identity).then((agent) => agent.hello(0))).rejects.toThrow();
  expect(bench.logged.some(({ message }) => message.includes('quarantined'))).toBe(true);
  const audit = await bench.admin().audit.query({ limit: 100 });
  expect(audit.filter(({ action }) => action === 'agent.quarantine')).toHaveLength(1);
  await bench.close();
  await bench.open();
  await expect(AgentSocket.open(bench, identity).then((agent) => agent.hello(0))).rejects.toThrow();
  const right = await bench.enroll();
  expect((await AgentSocket.connect(bench, right)).sessionId).not.toBe('');
});
