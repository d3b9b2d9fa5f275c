import { randomUUID } from 'node:crypto';
import { adminRouter } from '@lastgood/protocol';
import { beforeAll, describe, expect, test } from 'vitest';
import { AgentSocket, until } from './support/agent-socket.ts';
import { BAD_BODIES, BAD_TEXTS, BAD_VALUES } from './support/bad-values.ts';
import { type Answer, ControlHarness } from './support/control-harness.ts';
import { digestOf } from './support/digest.ts';

/** A subscription is a stream: browser-session.test.ts has its cases. */
type Name = Exclude<keyof typeof adminRouter._def.procedures, 'watch'>;
const id = randomUUID();
const backup = { command: 'backup', target: 'shop', method: null, contents: ['shop'], options: {} };
const job = { target: 'shop', idempotencyKey: 'key-of-a-test', startByMs: 60_000, deadlineMs: 60_000 };
const retention = { keepLast: 3, keepWithinHours: 5, minimum: 1 };
const mode = { type: 'new', database: 'shop', as: 'shop2' };
/** Inputs with every field filled; one field after the other is replaced. A new procedure has to bring its own. */
const SAMPLES: Readonly<Record<Name, readonly object[]>> = {
  whoAmI: [{}],
  hosts: [{}],
  targets: [{ target: 'shop' }],
  status: [{ target: 'shop' }],
  backups: [{ target: 'shop', limit: 5, atMs: 1 }],
  backup: [{ backupId: id }],
  selectBackup: [
    { target: 'shop', wanted: { type: 'latest' }, purpose: 'verify', content: 'shop' },
    { target: 'shop', wanted: { type: 'at', atMs: 1 }, purpose: 'restore', content: null },
    { target: 'shop', wanted: { type: 'id', part: 'abcd' }, purpose: 'restore', content: null },
  ],
  jobs: [{ target: 'shop', limit: 5 }],
  job: [{ jobId: id }],
  createJob: [
    { ...job, spec: backup },
    { ...job, spec: { command: 'verify', target: 'shop', backupId: id, level: 1 } },
    { ...job, spec: { command: 'rotate', target: 'shop', retention, holds: [id], dryRun: true } },
    { ...job, spec: { command: 'plan', target: 'shop', backupId: id, mode } },
    { ...job, spec: { command: 'restore', target: 'shop', backupId: id, mode, planHash: '0'.repeat(64) } },
    { ...job, spec: { command: 'undo', target: 'shop', restoreJobId: id } },
    { ...job, spec: { command: 'hold', target: 'shop', backupId: id, reason: 'why' } },
    { ...job, spec: { command: 'release', target: 'shop', backupId: id } },
    { ...job, spec: { command: 'drop-set-aside', target: 'shop', name: 'x' } },
    { ...job, spec: { command: 'list-contents', target: 'shop', backupId: id, name: 'orders' } },
  ],
  cancelJob: [{ jobId: id }],
  setAside: [{ target: 'shop' }],
  tokens: [{}],
  createToken: [{ name: 'ci', scope: 'read', expiresInHours: 1 }],
  createEnrollToken: [{ environment: 'test', host: 'db-1', expiresInHours: 1, replace: true }],
  createSignInCode: [{ expiresInMinutes: 10 }],
  revokeToken: [{ id }],
  audit: [{ limit: 5 }],
  fleetDiff: [{ text: 'policies: {}', file: 'fleet.yaml' }],
  applyFleet: [{ text: 'policies: {}', file: 'fleet.yaml', acceptLoss: false }],
  exportFleet: [{}],
  occurrences: [{ target: 'shop', limit: 5, states: ['missed'], fromMs: 1, untilMs: 2 }],
  alerts: [{ all: true, limit: 5 }],
  acknowledgeAlert: [{ alertId: id, note: 'on it' }],
  runbooks: [{}],
  // Its fields are those of startRunbook as well.
  planRunbook: [{ runbook: 'r', mode: 'run' }],
  startRunbook: [
    {
      ...{ runbook: 'r', mode: 'run', atMs: 1, alternatives: ['a'], planHash: '0'.repeat(64), confirm: 'r' },
      ...{ acceptedSkew: ['a/b/c'], approved: ['a'], idempotencyKey: 'key-of-a-test' },
    },
  ],
  runbookRuns: [{ runbook: 'r', limit: 5 }],
  runbookRun: [{ runId: id }],
  resumeRunbook: [{ runId: id, decision: { type: 'skip', step: 'a', reason: 'why' } }],
  evidence: [{ limit: 5 }],
  evidenceReport: [{ sequence: 1 }],
  abortRunbook: [{ runId: id, reason: 'why' }],
};
const names = Object.keys(adminRouter._def.procedures).filter((name): name is Name => name !== 'watch');
const typeOf = (name: Name) => (adminRouter._def.procedures[name]._def.type === 'query' ? 'query' : 'mutation');

/** The sample with one field, however deep, replaced by each of the values. */
function variants(sample: unknown, values: readonly unknown[]): unknown[] {
  if (typeof sample !== 'object' || sample === null) return [...values];
  const copy = (key: string, value: unknown): unknown =>
    Array.isArray(sample) ? sample.with(Number(key), value) : { ...sample, [key]: value };
  return Object.entries(sample).flatMap(([key, field]) => [
    ...values.map((value) => copy(key, value)),
    ...(typeof field === 'object' ? variants(field, values).map((value) => copy(key, value)) : []),
  ]);
}

/** The variants of all samples. A field that an earlier sample has with the same value was replaced there. */
const inputsOf = (name: Name, values: readonly unknown[]): unknown[] =>
  SAMPLES[name].flatMap((sample, n) => {
    const replaced = new Set(SAMPLES[name].slice(0, n).flatMap((earlier) => Object.entries(earlier).map(fieldKey)));
    const fields = Object.entries(sample).filter((field) => !replaced.has(fieldKey(field)));
    return variants(Object.fromEntries(fields), values).map((variant) => ({ ...sample, ...(variant as object) }));
  });
const fieldKey = ([name, value]: [string, unknown]): string => JSON.stringify([name, value]);

const idOf = ({ data }: Answer): string => (data as { jobId: string }).jobId;

function judge(what: unknown, { status, failure, text }: Answer): void {
  const about = JSON.stringify(what)?.slice(0, 200);
  expect(`${status} ${about}`).not.toMatch(/^5/);
  expect(text).not.toMatch(/node_modules|node:internal|\.ts:\d|SQLITE|select .* from|"stack"/i);
  if (status < 400) return;
  expect({ about, failure }).toMatchObject({
    failure: {
      code: expect.stringMatching(/^[A-Z_]+$/),
      message: expect.any(String),
      remedy: expect.stringMatching(/\w/),
    },
  });
  expect(failure?.code).not.toBe('BUG');
}

describe('bad input', () => {
  let bench: ControlHarness;
  beforeAll(async () => {
    bench = await ControlHarness.start();
    const agent = await AgentSocket.connect(bench, await bench.enroll());
    await agent.announce('shop');
    // Away, so that nothing but the calls of this file changes the catalog.
    await agent.end();
    await bench.call('query', 'whoAmI', undefined, bench.adminToken);
    await until('the end', async () => (await bench.admin().hosts.query())[0]?.state === 'offline' || undefined);
    return () => bench[Symbol.asyncDispose]();
  });
  /** Sends it; what is refused must have changed nothing, neither data nor audit trail. */
  async function tryIt(name: Name, what: unknown, send: () => Promise<Answer>): Promise<number> {
    const before = digestOf(bench.catalogFile);
    const answer = await send();
    judge({ name, what }, answer);
    if (answer.status >= 400) expect(digestOf(bench.catalogFile)).toEqual(before);
    return answer.status;
  }

  test.each(names)('every field of %s takes no text of the list that it should not', async (name) => {
    for (const input of inputsOf(name, BAD_TEXTS)) {
      if (JSON.stringify(input).length > 12_000 && typeOf(name) === 'query') continue;
      await tryIt(name, input, () => bench.call(typeOf(name), name, input, bench.adminToken));
    }
  });

  test.each(names)('every field of %s takes no number, list or object that it should not', async (name) => {
    for (const input of inputsOf(name, BAD_VALUES)) {
      if (JSON.stringify(input).length > 12_000 && typeOf(name) === 'query') continue;
      await tryIt(name, input, () => bench.call(typeOf(name), name, input, bench.adminToken));
    }
  });

  test.each(names)('%s refuses a body that is not a JSON object', async (name) => {
    for (const body of BAD_BODIES) {
      if (body.length > 12_000 && typeOf(name) === 'query') continue;
      await tryIt(name, body, () => bench.callRaw(typeOf(name), name, body, bench.adminToken));
    }
    expect(({} as Record<string, unknown>)['scope']).toBeUndefined();
  });

  test('unknown procedures, wrong methods, batches and big bodies are refused with a code', async () => {
    const token = bench.adminToken;
    for (const path of ['nothing', '__proto__', 'constructor', 'hosts.x', '..', 'hello', '%00', 'x'.repeat(5_000)])
      for (const type of ['query', 'mutation'] as const)
        judge(path, await bench.call(type, encodeURIComponent(path), {}, token));
    for (const name of names)
      judge(name, await bench.call(typeOf(name) === 'query' ? 'mutation' : 'query', name, {}, token));
    const big = await bench.callRaw('mutation', 'createToken', JSON.stringify({ name: 'x'.repeat(400_000) }), token);
    expect(big.status).toBe(413);
    judge('big', big);
    const many = Array.from({ length: 33 }, () => 'hosts').join();
    const batch = await fetch(`${bench.url}/trpc/${many}?batch=1`, { headers: { authorization: `Bearer ${token}` } });
    expect(batch.status).toBe(400);
  });

  test('a selector that several targets answer to is refused with their names', async () => {
    const second = await AgentSocket.connect(bench, await bench.enroll('db-2'));
    await second.announce('shop');
    const answer = await bench.call('query', 'jobs', { target: 'shop' }, bench.adminToken);
    expect(answer).toMatchObject({ status: 400, failure: { code: 'BAD_INPUT' } });
    expect(answer.failure?.message).toContain('test/db-2/shop');
  });
});

test('a job that does not fit into one frame is refused before anything is stored, with a remedy', async () => {
  await using bench = await ControlHarness.start();
  const agent = await AgentSocket.connect(bench, await bench.enroll());
  await agent.announce('shop');
  await bench.call('query', 'whoAmI', undefined, bench.adminToken);
  const holds = (count: number) => Array.from({ length: count }, () => randomUUID());
  const spec = (count: number) => ({
    command: 'rotate',
    target: 'shop',
    retention: {},
    holds: holds(count),
    dryRun: true,
  });
  const databases = Array.from({ length: 1000 }, (_, n) => `${'\u0001'.repeat(58)}${String(n).padStart(4, '0')}`);
  const before = digestOf(bench.catalogFile);
  for (const big of [spec(6_000), spec(1_000), { ...backup, databases }]) {
    const input = { target: 'shop', spec: big, idempotencyKey: randomUUID() };
    const { status, failure } = await bench.call('mutation', 'createJob', input, bench.adminToken);
    expect([400, 413]).toContain(status);
    expect(failure?.code).toBe('BAD_INPUT');
    expect(failure?.remedy).not.toBe('');
  }
  expect(digestOf(bench.catalogFile)).toEqual(before);
  const fitting = { target: 'shop', spec: spec(500), idempotencyKey: randomUUID() };
  const statuses: number[] = [];
  for (let n = 0; n < 20; n += 1)
    statuses.push(
      (await bench.call('mutation', 'createJob', { ...fitting, idempotencyKey: randomUUID() }, bench.adminToken))
        .status,
    );
  // Together they have to fit as well; the rest waits.
  expect(statuses.filter((status) => status === 200).length).toBeGreaterThan(3);
  expect(statuses.at(-1)).toBe(409);
  expect(agent.socket.readyState).toBe(agent.socket.OPEN);
});

test('an idempotency key makes one job, however often and however fast it is sent', async () => {
  await using bench = await ControlHarness.start();
  const agent = await AgentSocket.connect(bench, await bench.enroll());
  await agent.announce('shop', 'other');
  const input = { target: 'shop', spec: backup, idempotencyKey: 'the same key' };
  const answers = await Promise.all(
    Array.from({ length: 8 }, () => bench.call('mutation', 'createJob', input, bench.adminToken)),
  );
  expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
  expect(new Set(answers.map(idOf)).size).toBe(1);
  const before = digestOf(bench.catalogFile);
  for (const other of [
    { ...input, spec: { ...backup, options: { digests: true } } },
    { ...input, spec: { ...backup, contents: ['other'] } },
    { ...input, target: 'other', spec: { ...backup, target: 'other' } },
    { ...input, spec: { command: 'undo', target: 'shop', restoreJobId: id } },
  ]) {
    const { status, failure } = await bench.call('mutation', 'createJob', other, bench.adminToken);
    expect({ status, code: failure?.code }).toEqual({ status: 409, code: 'CONFLICT' });
  }
  expect(digestOf(bench.catalogFile)).toEqual(before);
  // Another caller's keys are another caller's.
  const foreign = await bench.call('mutation', 'createJob', input, await bench.tokenOf('operate'));
  expect(answers.map(idOf)).not.toContain(idOf(foreign));
});
