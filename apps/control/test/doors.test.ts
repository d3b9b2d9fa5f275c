import { expect, test } from 'vitest';
import { ControlBench } from './support/control-bench.ts';

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
  await using bench = await ControlBench.start();
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
  await using bench = await ControlBench.start();
  expect((await fetch(`${bench.url}/healthz`, { method: 'HEAD' })).status).toBe(200);
});

test.for([
  ['0.0.0.0', true],
  ['::', true],
  ['127.0.0.1', false],
  ['127.0.0.2', false],
  ['localhost', false],
] as const)('on %s the missing TLS is warned of: %s', async ([host, warned]) => {
  await using bench = await ControlBench.start({ host });
  expect(bench.logged.some(({ message }) => message.includes('without TLS'))).toBe(warned);
});
