import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { temporaryFolder } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { AgentSocket } from './support/agent-socket.ts';
import { ControlHarness } from './support/control-harness.ts';

const SAME_ORIGIN = { 'sec-fetch-site': 'same-origin', 'content-type': 'application/json' };

const postSession = (bench: ControlHarness, body: object, headers: object = SAME_ORIGIN): Promise<Response> =>
  fetch(`${bench.url}/session`, { method: 'POST', headers: { ...headers }, body: JSON.stringify(body) });

const whoAmI = (bench: ControlHarness, headers: object): Promise<Response> =>
  fetch(`${bench.url}/trpc/whoAmI`, { headers: { ...headers } });

/** The `name=value` of the cookie that an answer sets. */
const cookieOf = (response: Response): string => response.headers.getSetCookie()[0]?.split(';')[0] ?? '';

test('a token opens a session, whose cookie no script can read and no other site can send', async () => {
  await using bench = await ControlHarness.start();
  const response = await postSession(bench, { token: bench.adminToken });
  expect(response.status).toBe(200);
  expect(response.headers.getSetCookie()).toEqual([
    expect.stringMatching(/^lastgood=[\w-]{43}; Path=\/; HttpOnly; SameSite=Strict; Max-Age=28800$/),
  ]);
  const headers = { cookie: cookieOf(response), 'sec-fetch-site': 'same-origin' };
  expect((await whoAmI(bench, headers)).status).toBe(200);
  const session = await fetch(`${bench.url}/session`, { headers });
  expect(await session.json()).toMatchObject({ user: { name: 'admin', scope: 'admin' } });
});

test('over TLS the cookie is bound to TLS and to the host', async () => {
  await using bench = await ControlHarness.start();
  const origin = 'https://lastgood.example.com';
  const response = await postSession(bench, { token: bench.adminToken }, { ...SAME_ORIGIN, origin });
  expect(response.headers.getSetCookie()[0]).toMatch(/^__Host-lastgood=[\w-]{43}; Path=\/; .*; Secure$/);
  const headers = { cookie: cookieOf(response), 'sec-fetch-site': 'same-origin' };
  expect((await whoAmI(bench, headers)).status).toBe(200);
});

test.for([
  ['another site', { 'sec-fetch-site': 'cross-site' }, 403],
  ['another host of the same site', { 'sec-fetch-site': 'same-site' }, 403],
  ['an address that was typed', { 'sec-fetch-site': 'none' }, 403],
  ['an old browser on another origin', { origin: 'https://evil.example' }, 403],
  ['an old browser that sends no origin', {}, 403],
  ['a page of the control plane', { 'sec-fetch-site': 'same-origin' }, 200],
] as const)('a call with the cookie from %s', async ([, headers, status]) => {
  await using bench = await ControlHarness.start();
  const cookie = cookieOf(await postSession(bench, { token: bench.adminToken }));
  expect((await whoAmI(bench, { ...headers, cookie })).status).toBe(status);
  const signIn = await postSession(
    bench,
    { token: bench.adminToken },
    { 'content-type': 'application/json', ...headers },
  );
  expect(signIn.status).toBe(status);
});

test('an old browser without fetch metadata is recognized by its origin', async () => {
  await using bench = await ControlHarness.start();
  const cookie = cookieOf(await postSession(bench, { token: bench.adminToken }));
  expect((await whoAmI(bench, { origin: bench.url, cookie })).status).toBe(200);
});

test.for([
  [
    'sign-out',
    (bench: ControlHarness, cookie: string) =>
      fetch(`${bench.url}/session`, { method: 'DELETE', headers: { ...SAME_ORIGIN, cookie } }),
  ],
  [
    'the revocation of its token',
    async (bench: ControlHarness) => {
      const token = (await bench.admin().tokens.query()).find(({ name }) => name.startsWith('operate'));
      await bench.admin().revokeToken.mutate({ id: token?.id ?? '' });
    },
  ],
  ['its time', async (bench: ControlHarness) => bench.clock.advance(8 * 3_600_000 + 1)],
] as const)('%s ends a session', async ([, end]) => {
  await using bench = await ControlHarness.start();
  const cookie = cookieOf(await postSession(bench, { token: await bench.tokenOf('operate') }));
  const headers = { cookie, 'sec-fetch-site': 'same-origin' };
  expect((await whoAmI(bench, headers)).status).toBe(200);
  await end(bench, cookie);
  expect((await whoAmI(bench, headers)).status).toBe(401);
  expect(await (await fetch(`${bench.url}/session`, { headers })).json()).toMatchObject({ user: null });
});

test('a session survives a restart of the control plane', async () => {
  await using bench = await ControlHarness.start();
  const cookie = cookieOf(await postSession(bench, { token: bench.adminToken }));
  await bench.close();
  await bench.open();
  expect((await whoAmI(bench, { cookie, 'sec-fetch-site': 'same-origin' })).status).toBe(200);
});

test('a sign-in code opens a session with the scope of its token, once and within its time', async () => {
  await using bench = await ControlHarness.start();
  const reader = bench.admin(await bench.tokenOf('read'));
  const { code } = await reader.createSignInCode.mutate({});
  const response = await postSession(bench, { code });
  expect(await response.json()).toMatchObject({ user: { scope: 'read' } });
  expect((await postSession(bench, { code })).status).toBe(401);
  const late = await reader.createSignInCode.mutate({ expiresInMinutes: 1 });
  bench.clock.advance(60_001);
  expect((await postSession(bench, { code: late.code })).status).toBe(401);
});

test('signing in and out is in the audit trail, and no secret is', async () => {
  await using bench = await ControlHarness.start();
  const cookie = cookieOf(await postSession(bench, { token: bench.adminToken }));
  await fetch(`${bench.url}/session`, { method: 'DELETE', headers: { ...SAME_ORIGIN, cookie } });
  const trail = await bench.admin().audit.query({ limit: 10 });
  expect(trail.map(({ action }) => action)).toEqual(expect.arrayContaining(['session.open', 'session.close']));
  expect(JSON.stringify(trail)).not.toContain(cookie.split('=')[1]);
});

test('failed attempts are limited, and a right token signs in all the same: behind a proxy all callers have one address', async () => {
  await using bench = await ControlHarness.start({ limits: { failedSignInsPerMinute: 3 } });
  const statuses: number[] = [];
  for (let attempt = 0; attempt < 4; attempt += 1)
    statuses.push((await postSession(bench, { token: `lg_${'x'.repeat(43)}` })).status);
  expect(statuses).toEqual([401, 401, 401, 429]);
  expect((await postSession(bench, { token: bench.adminToken })).status).toBe(200);
  bench.clock.advance(60_000);
  expect((await postSession(bench, { token: `lg_${'x'.repeat(43)}` })).status).toBe(401);
});

test.for([
  ['a form', 'token=x', 'application/x-www-form-urlencoded'],
  ['text', '{"token":"x"}', 'text/plain'],
  ['another key', '{"password":"x"}', 'application/json'],
  ['both', '{"token":"x","code":"y"}', 'application/json'],
  ['what is not JSON', '{', 'application/json'],
] as const)('%s does not sign in', async ([, body, type]) => {
  await using bench = await ControlHarness.start();
  const headers = { 'sec-fetch-site': 'same-origin', 'content-type': type };
  const response = await fetch(`${bench.url}/session`, { method: 'POST', headers, body });
  expect(response.status).toBe(400);
});

/** The events of a stream until one satisfies `isLast`. */
async function readEvents(response: Response, isLast: (text: string) => boolean): Promise<string> {
  let received = '';
  for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    received += chunk;
    if (isLast(received)) break;
  }
  return received;
}

test('a page that watches a job receives it and a sign of life, and only with a session', async () => {
  await using bench = await ControlHarness.start();
  const agent = await AgentSocket.connect(bench, await bench.enroll());
  await agent.announce('shop');
  const spec = { command: 'backup', target: 'shop', method: null, contents: null, options: {} } as const;
  const job = await bench.admin().createJob.mutate({ target: 'shop', spec, idempotencyKey: 'a-key-of-this-test' });
  const url = `${bench.url}/trpc/watch?input=${encodeURIComponent(JSON.stringify({ jobId: job.jobId }))}`;
  const cookie = cookieOf(await postSession(bench, { token: bench.adminToken }));
  const headers = { accept: 'text/event-stream', 'sec-fetch-site': 'same-origin' };
  const received = await readEvents(await fetch(url, { headers: { ...headers, cookie } }), (text) =>
    text.includes('"kind":"job"'),
  );
  expect(received).toContain('"kind":"alive"');
  expect(received).toContain(job.jobId);
  expect(await (await fetch(url, { headers })).text()).toContain('UNAUTHENTICATED');
});

test('the dashboard is served with a strict policy, its assets for a year, and unknown pages as the page itself', async () => {
  await using folder = await temporaryFolder();
  await mkdir(join(folder.path, 'assets'));
  await writeFile(join(folder.path, 'index.html'), '<!doctype html><title>Lastgood</title>');
  await writeFile(join(folder.path, 'assets/main-1.js'), 'void 0;');
  await writeFile(join(folder.path, 'assets/main-1.js.br'), 'compressed');
  await using bench = await ControlHarness.start({ dashboardDir: folder.path });
  const page = await fetch(`${bench.url}/targets/prod/db-1/shop`, { headers: { accept: 'text/html' } });
  expect([page.status, page.headers.get('cache-control')]).toEqual([200, 'no-cache']);
  const policy = page.headers.get('content-security-policy') ?? '';
  for (const directive of ["default-src 'none'", "script-src 'self'", "trusted-types 'none'", "frame-ancestors 'none'"])
    expect(policy).toContain(directive);
  expect(policy).not.toContain('unsafe');
  const script = await fetch(`${bench.url}/assets/main-1.js`, { headers: { 'accept-encoding': 'identity' } });
  expect(await script.text()).toBe('void 0;');
  expect(script.headers.get('cache-control')).toContain('immutable');
  for (const path of ['/assets/other.js', '/nothing', '/assets/main-1.js.br', '/../package.json'])
    expect((await fetch(bench.url + path, { headers: { accept: '*/*' } })).status).toBe(404);
});
