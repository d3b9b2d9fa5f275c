import { randomUUID } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { expect, test } from 'vitest';
import { AgentSocket } from './support/agent-socket.ts';
import { ControlHarness, enrollment } from './support/control-harness.ts';

test('a token that is wrong, expired, revoked, used or for another host or environment takes nobody in', async () => {
  await using bench = await ControlHarness.start();
  const refused = async (body: object): Promise<string> => {
    const { status, failure } = await bench.postEnrol(body);
    expect({ status, code: failure?.code }).toEqual({ status: 403, code: 'ENROLL_TOKEN_INVALID' });
    expect(failure?.remedy).not.toBe('');
    return failure?.message ?? '';
  };
  const token = await bench.enrollToken('db-1');
  await refused({ ...enrollment('lge_wrong').body });
  await refused({ ...enrollment(bench.adminToken).body });
  await refused({ ...enrollment(token).body, host: 'db-2' });
  await refused({ ...enrollment(token).body, environment: 'production' });
  expect((await bench.postEnrol(enrollment(token).body)).status).toBe(200);
  await refused(enrollment(token).body);
  const revoked = await bench
    .admin()
    .createEnrollToken.mutate({ environment: 'test', host: 'db-3', expiresInHours: 1 });
  await bench.admin().revokeToken.mutate({ id: revoked.view.id });
  await refused(enrollment(revoked.token, 'db-3').body);
  const old = await bench.enrollToken('db-4');
  bench.clock.advance(3_600_001);
  await refused(enrollment(old, 'db-4').body);
  expect((await bench.admin().hosts.query()).map(({ host }) => host)).toEqual(['db-1']);
});

test('an enrollment whose answer was lost is answered again for ten minutes, to the same key alone', async () => {
  await using bench = await ControlHarness.start();
  const { body } = enrollment(await bench.enrollToken('db-1', 'test', 0.01));
  const first = await bench.postEnrol(body);
  expect(await bench.postEnrol(body)).toEqual(first);
  // The token itself is over by now; the answer is not.
  bench.clock.advance(9 * 60_000);
  expect(await bench.postEnrol(body)).toEqual(first);
  expect((await bench.postEnrol({ ...body, publicKey: enrollment('x').body.publicKey })).status).toBe(403);
  expect((await bench.postEnrol({ ...body, installId: randomUUID() })).status).toBe(403);
  bench.clock.advance(61_000);
  expect((await bench.postEnrol(body)).status).toBe(403);
  const audit = await bench.admin().audit.query({ limit: 100 });
  expect(audit.filter(({ action }) => action.startsWith('agent.enroll'))).toHaveLength(1);
});

test('of two hosts that use one token at once one is taken in', async () => {
  await using bench = await ControlHarness.start();
  const token = await bench.enrollToken('db-1');
  const answers = await Promise.all([1, 2, 3, 4].map(() => bench.postEnrol(enrollment(token).body)));
  expect(answers.map(({ status }) => status).toSorted()[0]).toBe(200);
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
  expect(answers.every(({ status }) => status < 500)).toBe(true);
  expect(await bench.admin().hosts.query()).toHaveLength(1);
});

test('guessing tokens is slowed down with 429, for a minute', async () => {
  await using bench = await ControlHarness.start({ limits: { enrollmentsPerMinute: 5 } });
  const statuses = [];
  for (let n = 0; n < 7; n += 1) statuses.push((await bench.postEnrol(enrollment(`lge_${n}`).body)).status);
  expect(statuses).toEqual([403, 403, 403, 403, 403, 429, 429]);
  const token = await bench.enrollToken('db-1');
  bench.clock.advance(60_000);
  expect((await bench.postEnrol(enrollment(token).body)).status).toBe(200);
});

test('neither tokens nor private keys are in the data folder of the control plane', async () => {
  await using bench = await ControlHarness.start();
  const [operate, enroll] = [await bench.tokenOf('operate'), await bench.enrollToken('db-1')];
  const { body, key } = enrollment(enroll);
  await bench.postEnrol(body);
  await bench.call('query', 'whoAmI', undefined, operate);
  const secrets = [operate, enroll, key.export({ type: 'pkcs8', format: 'pem' }).toString().split('\n')[1] ?? ''];
  const entries = await readdir(bench.dataDir, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(bench.dataDir, join(entry.parentPath, entry.name)));
  expect(files).toContain('catalog.sqlite-wal');
  for (const name of files) {
    const bytes = await readFile(join(bench.dataDir, name));
    for (const secret of secrets) expect({ name, found: bytes.includes(secret) }).toEqual({ name, found: false });
    // The one token that a person has to find lies in its own file and nowhere else.
    expect(bytes.includes(bench.adminToken)).toBe(name === 'admin.token');
  }
  const said = JSON.stringify(bench.logged);
  for (const secret of [...secrets, bench.adminToken]) expect(said).not.toContain(secret);
});

const good = enrollment('lge_x').body;
test.each([
  ['nothing', ''],
  ['no JSON', '{'],
  ['a list', '[]'],
  ['null', 'null'],
  ['brackets 50,000 deep', '['.repeat(50_000)],
  ['a body of 300 KiB', JSON.stringify({ ...good, labels: { a: 'x'.repeat(300 * 1024) } })],
  ['a host that is a path', JSON.stringify({ ...good, host: '../../etc/passwd' })],
  ['a host with a NUL', JSON.stringify({ ...good, host: 'a\0b' })],
  ['a label that is a number', JSON.stringify({ ...good, labels: { a: 1 } })],
  ['an invalid key', JSON.stringify({ ...good, token: 'lge_x', publicKey: 'ssh-ed25519 AAAA' })],
  ['an install id that is none', JSON.stringify({ ...good, installId: 'x' })],
  ['a token of 64 KiB', JSON.stringify({ ...good, token: 'x'.repeat(65_536) })],
])('enrollment with %s is refused as bad input, and nothing is stored', async (_what, body) => {
  await using bench = await ControlHarness.start();
  const { status, failure, text } = await bench.postEnrol(body);
  expect({ status, code: failure?.code }).toEqual({ status: 400, code: 'BAD_INPUT' });
  expect(text).not.toMatch(/node:|\.ts:|SELECT/i);
  expect(await bench.admin().hosts.query()).toEqual([]);
});

test('K10: enrollment speaks this protocol and the two before, and says so to others', async () => {
  await using bench = await ControlHarness.start();
  for (const protocol of [2, 99, -2]) {
    const { status, failure } = await bench.postEnrol({
      ...enrollment(await bench.enrollToken('db-1')).body,
      protocol,
    });
    expect({ status, code: failure?.code }).toEqual({ status: 426, code: 'PROTOCOL_UNSUPPORTED' });
  }
  const { body } = enrollment(await bench.enrollToken('db-1'));
  expect((await bench.postEnrol({ ...body, future: { x: 1 } })).status).toBe(200);
});

test('enrolling a host again keeps its id and its jobs, and its old key opens nothing', async () => {
  await using bench = await ControlHarness.start();
  const before = await bench.enroll('db-1');
  const agent = await AgentSocket.connect(bench, before);
  await agent.announce('shop');
  const spec = { command: 'backup', target: 'shop', method: null, contents: null, options: {} } as const;
  const job = await bench.admin().createJob.mutate({ target: 'shop', spec, idempotencyKey: randomUUID() });
  const after = await bench.enroll('db-1');
  expect(after.agentId).toBe(before.agentId);
  await expect(AgentSocket.open(bench, before).then((socket) => socket.hello(0))).rejects.toThrow();
  const again = await AgentSocket.connect(bench, after);
  expect((await bench.admin().job.query({ jobId: job.jobId })).endedAt).toBeNull();
  expect(again.sessionId).not.toBe('');
});
