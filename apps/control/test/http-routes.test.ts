import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { ControlHarness } from './support/control-harness.ts';

test.for([
  ['GET', '/', 404, 'NOT_FOUND'],
  ['GET', '/trpc', 404, 'NOT_FOUND'],
  ['GET', '/constructor', 404, 'NOT_FOUND'],
  ['POST', '/healthz', 405, 'BAD_INPUT'],
  ['DELETE', '/enroll', 405, 'BAD_INPUT'],
  ['GET', '/enroll?token=x', 405, 'BAD_INPUT'],
  ['GET', '/trpc/nothing', 404, 'NOT_FOUND'],
  ['GET', '/trpc/createToken', 405, 'BAD_INPUT'],
  ['DELETE', '/trpc/hosts', 415, 'BAD_INPUT'],
] as const)('%s %s is answered with %i and %s, a sentence and a remedy', async ([method, path, status, code]) => {
  await using bench = await ControlHarness.start();
  const response = await fetch(`${bench.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${bench.adminToken}` },
  });
  const { error } = (await response.json()) as { error: { data?: { failure: object } } };
  const failure = error.data?.failure ?? error;
  expect({ status: response.status, ...failure }).toEqual({
    status,
    code,
    message: expect.stringMatching(/./),
    remedy: expect.stringMatching(/./),
  });
});

test('a check of the health may ask for the head alone', async () => {
  await using bench = await ControlHarness.start();
  expect((await fetch(`${bench.url}/healthz`, { method: 'HEAD' })).status).toBe(200);
});

test.for([
  ['0.0.0.0', true],
  ['::', true],
  ['127.0.0.1', false],
  ['127.0.0.2', false],
  ['localhost', false],
] as const)('on %s the missing TLS is warned of: %s', async ([host, warned]) => {
  await using bench = await ControlHarness.start({ host });
  expect(bench.logged.some(({ message }) => message.includes('without TLS'))).toBe(warned);
});

/** Sends bytes as they are and gives the whole answer. */
async function send(port: number, bytes: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.end(bytes);
  return await text(socket);
}

test.for([
  ['a host that is none', '/trpc/hosts', 'a b'],
  ['a host that is half an address', '/trpc/hosts', '[::1'],
  ['an input that is not JSON', '/trpc/hosts?input=%7B', 'x'],
  ['an input that is not text', '/trpc/hosts?input=%E0%A4%A', 'x'],
  ['parameters that are no JSON', '/trpc/hosts?connectionParams=%7B', 'x'],
])('a request with %s is refused, and nothing of it is logged', async ([, path, host]) => {
  await using bench = await ControlHarness.start();
  const logged = bench.logged.length;
  for (const token of ['', `authorization: Bearer ${bench.adminToken}\r\n`]) {
    const said = await send(bench.port, `GET ${path} HTTP/1.1\r\nhost: ${host}\r\n${token}connection: close\r\n\r\n`);
    // Some are refused for want of a token first.
    expect(said).toMatch(
      token === '' ? /^HTTP\/1\.1 40[01] [\s\S]*(BAD_INPUT|UNAUTHENTICATED)/ : /^HTTP\/1\.1 400 [\s\S]*BAD_INPUT/,
    );
    expect(said).not.toMatch(/node:|\.ts:|\.mjs:/);
  }
  expect(bench.logged.slice(logged)).toEqual([]);
});
