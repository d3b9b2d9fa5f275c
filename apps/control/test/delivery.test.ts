import { randomUUID } from 'node:crypto';
import { CLOSE, type JobSpec } from '@lastgood/protocol';
import { aJournalJob } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { AgentSocket, helloInput, until } from './support/agent-socket.ts';
import { summary } from './support/backup-summary.ts';
import { ControlHarness } from './support/control-harness.ts';

const backup: JobSpec = { command: 'backup', target: 'shop', method: null, contents: null, options: {} };
const beat = { ackSeq: 0, progress: [], running: [], outboxDepth: 0 };
interface Told {
  readonly id: string;
  readonly previousEventId: string | null;
  readonly eventNumber: number;
  readonly type: string;
  readonly result: unknown;
}
const tell = (jobId: string, told: Partial<Told>) => ({
  id: randomUUID(),
  previousEventId: null,
  jobId,
  attempt: 1,
  eventNumber: 1,
  type: 'accepted',
  at: 0,
  error: null,
  result: null,
  ...told,
});
async function scene(options: Parameters<typeof ControlHarness.start>[0] = {}) {
  const bench = await ControlHarness.start(options);
  const identity = await bench.enroll();
  const instanceId = randomUUID();
  const agent = await AgentSocket.connect(bench, identity, { instanceId });
  await agent.announce('shop');
  const send = async (spec: JobSpec = backup): Promise<string> =>
    (await bench.admin().createJob.mutate({ target: 'shop', spec, idempotencyKey: randomUUID() })).jobId;
  const state = async (jobId: string) => (await bench.admin().job.query({ jobId })).state;
  return { bench, identity, instanceId, agent, send, state, [Symbol.asyncDispose]: () => bench[Symbol.asyncDispose]() };
}
const holdOf = (backupId: string): JobSpec => ({ command: 'hold', target: 'shop', backupId, reason: '' });
/** Orders a job without the client, so that a refusal is an answer. */
const orderJob = (bench: ControlHarness, spec: JobSpec) =>
  bench.call('mutation', 'createJob', { target: 'shop', spec, idempotencyKey: randomUUID() }, bench.adminToken);
const accepted = (reply: { result?: { data?: unknown } } | undefined): string[] =>
  (reply?.result?.data as { acceptedIds: string[] } | undefined)?.acceptedIds ?? [];

test('K4: an event that comes twice, late or out of order has its effect once', async () => {
  await using run = await scene();
  const { agent, state } = run;
  const jobId = await run.send();
  await until('the command', () => agent.commands[0]);
  const one = tell(jobId, {});
  const two = tell(jobId, { previousEventId: one.id, eventNumber: 2, type: 'running' });
  const result = { command: 'backup', backup: summary(jobId), durationMs: 1 };
  const three = tell(jobId, { previousEventId: two.id, eventNumber: 3, type: 'succeeded', result });
  const report = async (...events: object[]) => accepted(await agent.call('report', agent.session({ events })));
  expect(await report(one, two)).toEqual([one.id, two.id]);
  expect(await report(two, one)).toEqual([two.id, one.id]);
  expect(await report(three)).toEqual([three.id]);
  for (let n = 0; n < 5; n += 1) expect(await report(three, one, two)).toHaveLength(3);
  expect(await state(jobId)).toBe('succeeded');
  expect(await run.bench.admin().backups.query({})).toHaveLength(1);
});

test('calls that come in one frame have their effect in its order', async () => {
  await using run = await scene();
  const jobId = await run.send();
  await until('the command', () => run.agent.commands[0]);
  let previousEventId: string | null = null;
  const calls = ['accepted', 'running', 'failed'].map((type, index) => {
    const event = tell(jobId, { previousEventId, eventNumber: index + 1, type });
    previousEventId = event.id;
    const input = run.agent.session({ events: [event] });
    return { id: `call ${index}`, method: 'mutation', params: { path: 'report', input } };
  });
  run.agent.send(calls);
  for (const { id } of calls) expect((await run.agent.reply(id))?.result).toBeDefined();
  expect(await run.state(jobId)).toBe('failed');
});

test('a report whose connection dies before its answer counts once when it is sent again', async () => {
  await using run = await scene();
  const jobId = await run.send();
  await until('the command', () => run.agent.commands[0]);
  const event = tell(jobId, {});
  run.agent.send({
    id: 'lost',
    method: 'mutation',
    params: { path: 'report', input: run.agent.session({ events: [event] }) },
  });
  run.agent.socket.close();
  await run.agent.closed;
  const next = await AgentSocket.connect(run.bench, run.identity, {
    instanceId: run.instanceId,
    incarnation: null,
    lastSeq: 1,
    jobs: [aJournalJob(jobId, { lastEventId: event.id })],
  });
  expect(accepted(await next.call('report', next.session({ events: [event] })))).toEqual([event.id]);
  expect(await run.state(jobId)).toBe('accepted');
});

test('sessions that come and go leave nothing behind that listens', async () => {
  await using run = await scene();
  for (let n = 0; n < 30; n += 1) {
    const agent = await AgentSocket.connect(run.bench, run.identity, { instanceId: run.instanceId });
    await agent.end();
  }
  const jobId = await run.send();
  const last = await AgentSocket.connect(run.bench, run.identity, { instanceId: run.instanceId });
  await until('the command', () => last.commands[0]);
  expect(last.commands.filter((command) => command.type === 'job.start' && command.jobId === jobId)).toHaveLength(1);
  expect(run.bench.logged.filter(({ message }) => message === 'agent connected')).toHaveLength(32);
  await until(
    'the ends',
    () => run.bench.logged.filter(({ message }) => message === 'agent disconnected').length >= 30,
  );
});

test('K4: an event of another history is not taken; the session is closed to bring both together', async () => {
  await using run = await scene();
  const jobId = await run.send();
  await until('the command', () => run.agent.commands[0]);
  const one = tell(jobId, {});
  await run.agent.call('report', run.agent.session({ events: [one] }));
  await run.agent.call('report', run.agent.session({ events: [tell(jobId, { eventNumber: 3, type: 'succeeded' })] }));
  expect((await run.agent.closed).code).toBe(CLOSE.diverged);
  expect(await run.state(jobId)).toBe('accepted');
});

test('K4: frames of an old session, sent again on the new connection, are refused', async () => {
  await using run = await scene();
  const { bench, identity, instanceId, agent } = run;
  const jobId = await run.send();
  await until('the command', () => agent.commands[0]);
  const old = agent.session({ events: [tell(jobId, {})] });
  const next = await AgentSocket.connect(bench, identity, { instanceId });
  for (const [path, input] of [
    ['report', old],
    ['ack', agent.session({ upToSeq: 1 })],
    ['heartbeat', agent.session(beat)],
    ['requestGrant', agent.session({ jobId, attempt: 1, nonce: 'n' })],
    ['inventory', agent.session({ hash: 'x', targets: [], backups: [], complete: true })],
    ['hello', helloInput(bench.clock.now())],
  ] as const)
    expect((await next.call(path, input))?.error?.data.code).toBeDefined();
  expect(await run.state(jobId)).toBe('dispatched');
  expect((await bench.admin().targets.query({})).map(({ name }) => name)).toEqual(['shop']);
});

test('K4: an acknowledgement of commands that were never sent acknowledges no later ones', async () => {
  await using run = await scene();
  await run.agent.call('ack', run.agent.session({ upToSeq: 1_000_000 }));
  await run.send();
  await run.send();
  await until('both commands', () => run.agent.commands.length === 2 || undefined);
  expect(run.agent.commands.map(({ seq }) => seq)).toEqual([1, 2]);
});

test('R15: a destructive job is granted once; another nonce never gets it', async () => {
  await using run = await scene();
  const jobId = await run.send({ command: 'undo', target: 'shop', restoreJobId: randomUUID() });
  await until('the command', () => run.agent.commands[0]);
  const begin = async (nonce: string) =>
    (await run.agent.call('requestGrant', run.agent.session({ jobId, attempt: 1, nonce })))?.result?.data;
  expect(await begin('one')).toMatchObject({ granted: true });
  expect(await begin('one')).toMatchObject({ granted: true });
  expect(await begin('two')).toMatchObject({ granted: false, reason: 'used' });
});

test('a rotation does not begin when a backup was held after it had been sent', async () => {
  await using run = await scene();
  const held = summary(randomUUID());
  await run.agent.sendInventory(['shop'], [held]);
  const rotate: JobSpec = { command: 'rotate', target: 'shop', retention: { minimum: 1 }, holds: [], dryRun: false };
  const jobId = await run.send(rotate);
  await run.send(holdOf(held.backupId));
  const begun = await run.agent.call('requestGrant', run.agent.session({ jobId, attempt: 1, nonce: 'n' }));
  expect(begun?.result?.data).toMatchObject({ granted: false, reason: 'holds' });
});

test('a backup cannot be held while a rotation that may be removing it is under way', async () => {
  await using run = await scene();
  const admin = run.bench.admin();
  const [first, second] = [summary(randomUUID()), summary(randomUUID())];
  await run.agent.sendInventory(['shop'], [first, second]);
  const order = async (spec: JobSpec) => (await orderJob(run.bench, spec)).failure?.code ?? 'ordered';
  const hold = (backupId: string) => order(holdOf(backupId));
  expect(await hold(first.backupId)).toBe('ordered');
  const rotate: JobSpec = { command: 'rotate', target: 'shop', retention: { minimum: 1 }, holds: [], dryRun: false };
  const jobId = await run.send(rotate);
  const begin = await run.agent.call('requestGrant', run.agent.session({ jobId, attempt: 1, nonce: 'n' }));
  expect(begin?.result?.data).toMatchObject({ granted: true });
  expect(await hold(second.backupId)).toBe('CONFLICT');
  // The rotation knows of the first hold, so that one may be held again, and a release is always possible.
  expect(await hold(first.backupId)).toBe('ordered');
  expect(await order({ command: 'release', target: 'shop', backupId: second.backupId })).toBe('ordered');
  const states = (await admin.backups.query({})).map(({ backupId, holdState }) => [backupId, holdState]);
  expect(new Map(states as [string, string][])).toEqual(
    new Map([
      [first.backupId, 'pending'],
      [second.backupId, 'none'],
    ]),
  );
  const one = tell(jobId, {});
  const decisions = [
    { backupId: second.backupId, finishedAt: '', keep: false, reason: { code: 'OUTSIDE_RULES', params: {} } },
  ];
  const result = { command: 'rotate', dryRun: false, decisions, keptCount: 1, removedCount: 1, freedBytes: 1 };
  const running = tell(jobId, { previousEventId: one.id, eventNumber: 2, type: 'running' });
  await run.agent.call('report', run.agent.session({ events: [one, running] }));
  expect(await hold(second.backupId)).toBe('CONFLICT');
  const end = tell(jobId, { previousEventId: running.id, eventNumber: 3, type: 'succeeded', result });
  await run.agent.call('report', run.agent.session({ events: [end] }));
  expect(await hold(second.backupId)).toBe('NOT_FOUND');
});

test('of a hold and the grant of a rotation that come at once one is refused, never both granted', async () => {
  await using run = await scene();
  for (let round = 0; round < 20; round += 1) {
    const backup = summary(randomUUID());
    await run.agent.sendInventory(['shop'], [backup]);
    const jobId = await run.send({
      ...{ command: 'rotate', target: 'shop', retention: { minimum: 1 }, holds: [], dryRun: false },
    });
    const begin = () => run.agent.call('requestGrant', run.agent.session({ jobId, attempt: 1, nonce: 'n' }));
    const hold = () => orderJob(run.bench, holdOf(backup.backupId));
    const [granted, held] =
      round % 2 === 0
        ? await Promise.all([begin(), hold()])
        : await Promise.all([hold(), begin()]).then(([one, other]) => [other, one] as const);
    const outcome = `${JSON.stringify(granted?.result?.data)} ${held.failure?.code ?? 'held'}`;
    expect(outcome).toMatch(/"granted":true.* CONFLICT$|"granted":false.* held$/);
    const failed = tell(jobId, { type: 'failed' });
    await run.agent.call('report', run.agent.session({ events: [failed] }));
  }
});

test('an agent can neither take over, judge nor remove the backups and jobs of another host', async () => {
  await using run = await scene();
  const mine = summary(randomUUID());
  await run.agent.sendInventory(['shop'], [mine]);
  const jobId = await run.send();
  const evil = await AgentSocket.connect(run.bench, await run.bench.enroll('db-2'));
  await evil.sendInventory(['evil'], [{ ...mine, state: 'bad', target: 'evil' }]);
  const admin = run.bench.admin();
  const spec: JobSpec = { command: 'undo', target: 'evil', restoreJobId: randomUUID() };
  const ends = async (result: object): Promise<void> => {
    const job = await admin.createJob.mutate({ target: 'evil', spec, idempotencyKey: randomUUID() });
    const one = tell(job.jobId, {});
    const events = [one, tell(job.jobId, { previousEventId: one.id, eventNumber: 2, type: 'succeeded', result })];
    expect(accepted(await evil.call('report', evil.session({ events })))).toHaveLength(2);
  };
  const verdict = {
    level: 1,
    reached: 1,
    passed: false,
    findings: [],
    remarks: [],
    durationMs: 1,
    at: '2026-01-15T12:00:00Z',
  };
  await ends({ command: 'verify', backupId: mine.backupId, ...verdict });
  const decisions = [
    { backupId: mine.backupId, finishedAt: '', keep: false, reason: { code: 'OUTSIDE_RULES', params: {} } },
  ];
  await ends({ command: 'rotate', dryRun: false, decisions, keptCount: 0, removedCount: 1, freedBytes: 1 });
  await evil.call('report', evil.session({ events: [tell(jobId, { type: 'rejected' })] }));
  await evil.end();
  const jobs = [aJournalJob(jobId, { eventNumber: 9, lastEventId: 'x', lastType: 'failed', open: false })];
  const liar = await AgentSocket.connect(run.bench, await run.bench.enroll('db-2'), { jobs });
  expect(liar.sessionId).not.toBe('');
  expect(await admin.backups.query({})).toMatchObject([{ backupId: mine.backupId, state: 'good', host: 'db-1' }]);
  expect((await admin.job.query({ jobId })).host).toBe('db-1');
  // Memory is one thing, the row that a restart reads another.
  await run.bench.close();
  await run.bench.open();
  expect(await run.state(jobId)).toBe('dispatched');
});

test('K10: the hello shows an agent of an older or newer protocol, and unknown fields are ignored', async () => {
  await using run = await scene();
  for (const protocol of [2, 99]) {
    const agent = await AgentSocket.open(run.bench, run.identity);
    agent.send({
      id: 1,
      method: 'mutation',
      params: { path: 'hello', input: helloInput(run.bench.clock.now(), { protocol }) },
    });
    expect((await agent.closed).code).toBe(CLOSE.protocol);
  }
  const agent = await AgentSocket.open(run.bench, run.identity);
  const input = { ...helloInput(run.bench.clock.now(), { instanceId: run.instanceId }), future: { x: [1] } };
  agent.adopt(await agent.call('hello', input));
  const report = { ...agent.session(beat), future: true };
  expect((await agent.call('heartbeat', report))?.result).toBeDefined();
  // A call that only a newer agent makes is answered with an error, and ends nothing.
  expect((await agent.call('tomorrow', {}))?.error?.data.code).toBe('NOT_FOUND');
  expect((await agent.call('heartbeat', agent.session(beat)))?.result).toBeDefined();
});

test('ended jobs are forgotten after their time, never those of a backup that is there, never open ones', async () => {
  await using run = await scene({ limits: { maintenanceMs: 20 } });
  const { bench, agent } = run;
  const admin = bench.admin();
  const end = async (jobId: string, result: unknown): Promise<void> => {
    const one = tell(jobId, {});
    const type = result === null ? 'failed' : 'succeeded';
    const events = [one, tell(jobId, { previousEventId: one.id, eventNumber: 2, type, result })];
    await agent.call('report', agent.session({ events }));
  };
  const kept = await run.send();
  await end(kept, { command: 'backup', backup: summary(kept), durationMs: 1 });
  // More than one batch.
  const old: string[] = [];
  for (let n = 0; n < 20; n += 1) {
    const jobId = await run.send();
    await end(jobId, null);
    old.push(jobId);
  }
  const open = await run.send();
  bench.clock.advance(30 * 86_400_000);
  const young = await run.send();
  await end(young, null);
  const ids = async (): Promise<string[]> => (await admin.jobs.query({ limit: 1000 })).map(({ jobId }) => jobId);
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(await ids()).toHaveLength(23);
  bench.clock.advance(8 * 86_400_000);
  await until('the old jobs to go', async () => ((await ids()).length === 3 ? true : undefined));
  expect((await ids()).toSorted()).toEqual([kept, open, young].toSorted());
  await expect(admin.job.query({ jobId: old[0] ?? '' })).rejects.toThrow('there is no job');
  await bench.close();
  await bench.open();
  expect((await bench.admin().jobs.query({})).length).toBe(3);
});

test('K6: 500 agents that reconnect at once are all served and spread, and memory stays bounded', async () => {
  await using bench = await ControlHarness.start();
  const identities = await Promise.all(Array.from({ length: 500 }, (_, n) => bench.enroll(`db-${n}`)));
  const storm = async (): Promise<AgentSocket[]> =>
    await Promise.all(
      identities.map(async (identity) => {
        const agent = await AgentSocket.open(bench, identity);
        const { spreadMs } = await agent.hello(bench.clock.now());
        expect(spreadMs).toBeGreaterThan(2_000);
        expect((await agent.call('heartbeat', agent.session(beat)))?.result).toBeDefined();
        return agent;
      }),
    );
  await storm();
  const before = process.memoryUsage.rss();
  await bench.close();
  await bench.open();
  await storm();
  const online = (await bench.admin().hosts.query()).filter(({ state }) => state === 'online');
  expect(online).toHaveLength(500);
  expect(process.memoryUsage.rss() - before).toBeLessThan(300 * 1024 * 1024);
});
