import { expect, test } from 'vitest';
import { ControlHarness } from './support/control-harness.ts';

const adminIds = async (bench: ControlHarness): Promise<string[]> =>
  (await bench.admin().tokens.query())
    .filter(({ scope, revokedAt }) => scope === 'admin' && !revokedAt)
    .map(({ id }) => id);

test('the last living token of an administrator is not revoked, others are', async () => {
  await using bench = await ControlHarness.start();
  const [first = ''] = await adminIds(bench);
  const admin = bench.admin();
  await admin.createToken.mutate({ name: 'destroyer', scope: 'destroy', expiresInHours: null });
  const short = await admin.createToken.mutate({ name: 'short', scope: 'admin', expiresInHours: 1 });
  bench.clock.advance(3_600_001);
  const refused = await bench.call('mutation', 'revokeToken', { id: first }, bench.adminToken);
  expect(refused).toMatchObject({
    status: 409,
    failure: { code: 'CONFLICT', remedy: expect.stringContaining('tokens create') },
  });
  // Neither one that has expired nor one of another scope would let anybody in as administrator.
  expect((await bench.call('query', 'tokens', {}, bench.adminToken)).status).toBe(200);
  expect((await bench.call('mutation', 'revokeToken', { id: short.view.id }, bench.adminToken)).status).toBe(200);
  const second = await bench.tokenOf('admin');
  expect((await bench.call('mutation', 'revokeToken', { id: first }, second)).status).toBe(200);
  expect((await bench.call('query', 'tokens', {}, bench.adminToken)).status).toBe(401);
  expect((await bench.call('query', 'tokens', {}, second)).status).toBe(200);
});

test('of two administrators who revoke each other at once one is left', async () => {
  await using bench = await ControlHarness.start();
  const [first = ''] = await adminIds(bench);
  const { token, view } = await bench.admin().createToken.mutate({ name: 'two', scope: 'admin', expiresInHours: null });
  const answers = await Promise.all([
    bench.call('mutation', 'revokeToken', { id: view.id }, bench.adminToken),
    bench.call('mutation', 'revokeToken', { id: first }, token),
  ]);
  // The later one finds itself revoked already, or the last.
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
  const [one, other] = await Promise.all([
    bench.call('query', 'tokens', {}, bench.adminToken),
    bench.call('query', 'tokens', {}, token),
  ]);
  expect([one.status, other.status].toSorted()).toEqual([200, 401]);
});

test('a start without a valid admin token creates one in the file and logs it', async () => {
  await using bench = await ControlHarness.start();
  const [first = ''] = await adminIds(bench);
  const { token } = await bench.admin().createToken.mutate({ name: 'short', scope: 'admin', expiresInHours: 1 });
  await bench.admin(token).revokeToken.mutate({ id: first });
  await bench.close();
  await bench.open();
  // One is left, so the file is as it was: with a token that is revoked.
  expect((await bench.call('query', 'tokens', {}, bench.adminToken)).status).toBe(401);
  expect((await bench.call('query', 'tokens', {}, token)).status).toBe(200);
  bench.clock.advance(3_600_001);
  await bench.close();
  await bench.open();
  expect((await bench.call('query', 'tokens', {}, token)).status).toBe(401);
  expect((await bench.call('query', 'tokens', {}, bench.adminToken)).status).toBe(200);
  expect(bench.logged.filter(({ message }) => message.startsWith('no valid admin token'))).toHaveLength(1);
  const [entry] = await bench.admin().audit.query({ limit: 1 });
  expect(entry).toMatchObject({ actor: 'control', action: 'token.create', subject: 'admin' });
});
