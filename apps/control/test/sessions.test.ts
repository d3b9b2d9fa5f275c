import { randomUUID } from 'node:crypto';
import { CLOSE } from '@lastgood/protocol';
import { expect, test } from 'vitest';
import { AgentSocket, helloInput, until } from './support/agent-socket.ts';
import { ControlBench } from './support/control-bench.ts';

const backup = { command: 'backup', target: 'shop', databases: null, digests: false } as const;
const event = (jobId: string, more: object = {}) => ({
  id: randomUUID(),
  prev: null,
  jobId,
  attempt: 1,
  n: 1,
  type: 'accepted',
  at: 0,
  error: null,
  result: null,
  ...more,
});

test('R10: a call that waited behind a newer hello changes nothing and closes its connection as superseded', async () => {
  await using bench = await ControlBench.start();
  const identity = await bench.enrol();
  const instanceId = randomUUID();
  const old = await AgentSocket.connect(bench, identity, { instanceId });
  await old.announce('shop');
  const job = await bench.admin().createJob.mutate({ target: 'shop', spec: backup, idempotencyKey: randomUUID() });
  await until('the command', () => old.commands[0]);
  const next = await AgentSocket.open(bench, identity);
  // One turn of the loop reads both sockets, so that the report is queued behind the hello.
  next.send({
    id: 1,
    method: 'mutation',
    params: { path: 'hello', input: helloInput(bench.clock.now(), { instanceId }) },
  });
  old.send({
    id: 'late',
    method: 'mutation',
    params: { path: 'report', input: old.session({ events: [event(job.jobId)] }) },
  });
  await next.reply(1);
  const late = await old.reply('late');
  const view = await bench.admin().job.query({ jobId: job.jobId });
  // Served before the hello or refused after it, never in between.
  expect(late?.result === undefined ? 'dispatched' : 'accepted').toBe(view.state);
  expect((await old.closed).code).toBe(CLOSE.superseded);
});

test('R10: a hello on a connection older than the newest that said hello is refused, even when that one is gone', async () => {
  await using bench = await ControlBench.start();
  const identity = await bench.enrol();
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
  await using bench = await ControlBench.start();
  const before = await bench.enrol();
  const silent = await AgentSocket.open(bench, before);
  const speaking = await AgentSocket.connect(bench, before);
  const after = await bench.enrol();
  expect(after.agentId).toBe(before.agentId);
  expect((await speaking.closed).code).toBe(CLOSE.superseded);
  silent.send({ id: 1, method: 'mutation', params: { path: 'hello', input: helloInput(bench.clock.now()) } });
  expect((await silent.closed).code).toBe(CLOSE.superseded);
  await AgentSocket.connect(bench, after);
});

test('of two hellos at once the newer connection has the session, and its epoch is the higher', async () => {
  await using bench = await ControlBench.start();
  const identity = await bench.enrol();
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
  await using bench = await ControlBench.start();
  const identity = await bench.enrol();
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
  const right = await bench.enrol();
  expect((await AgentSocket.connect(bench, right)).sessionId).not.toBe('');
});
