import { once } from 'node:events';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { type EngineContext, noSteps } from '@lastgood/core';
import { systemClock } from '@lastgood/host';
import { freePort, temporaryFolder, waitFor } from '@lastgood/testkit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CheckConfig, checkSchema } from '../src/checks/check-schema.ts';
import { runCheck } from '../src/checks/run-check.ts';
import { parseAgentConfig } from '../src/config/agent-config.ts';
import { executeHostJob, hostCommandsOf, refusalOfHostJob } from '../src/jobs/host-jobs.ts';

let server: Server;
let url: string;
let answers: { status: number; body: string }[] = [];
const received: string[] = [];

beforeAll(async () => {
  server = createServer((request, response) => {
    received.push(`${request.method} ${request.url}`);
    const { status, body } = (answers.length > 1 ? answers.shift() : answers[0]) ?? { status: 500, body: '' };
    response.writeHead(status, { location: '/elsewhere' }).end(body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

const context = (signal = new AbortController().signal): EngineContext => ({
  ...{ workDir: '/', clock: systemClock, steps: noSteps, signal },
  progress: () => undefined,
  log: () => undefined,
});
const checkOf = (content: object): CheckConfig => checkSchema.parse({ within: '0s', ...content });
const run = (content: object) => runCheck(checkOf(content), new Map(), context());
const health = (more: object = {}) => ({
  http: { url: `${url}/health`, json: { 'components.db.status': 'UP' }, ...more },
});
const answer = (status: number, body: unknown) => ({ status, body: JSON.stringify(body) });

describe('an http check', () => {
  test('passes when status and values are as expected', async () => {
    answers = [answer(200, { components: { db: { status: 'UP' } } })];
    expect(await run(health())).toMatchObject({ passed: true, kind: 'http', tries: 1, findings: [] });
  });

  test('names each difference, and never a text that may be data', async () => {
    answers = [answer(503, { components: { db: { status: 'DOWN' } }, user: 'Ada Lovelace' })];
    const found = await run(health({ json: { 'components.db.status': 'UP', user: 'nobody', missing: true } }));
    expect(found.passed).toBe(false);
    expect(found.findings.map(({ params }) => params['found'])).toEqual(['503', 'DOWN', 'another value', 'missing']);
    expect(JSON.stringify(found)).not.toContain('Lovelace');
  });

  test('does not follow a redirect', async () => {
    answers = [{ status: 302, body: '' }];
    received.length = 0;
    expect(await run(health({ json: {} }))).toMatchObject({ passed: false });
    expect(received).toEqual(['GET /health']);
  });

  test('sends a body, and takes any status that is expected', async () => {
    answers = [answer(201, {})];
    expect(await run({ http: { url: `${url}/orders`, method: 'POST', body: '{}', status: 201 } })).toMatchObject({
      passed: true,
    });
    expect(received.at(-1)).toBe('POST /orders');
  });

  test('that may change something is sent once, also when it fails', async () => {
    answers = [answer(503, {})];
    received.length = 0;
    const order = { http: { url: `${url}/orders`, method: 'POST', body: '{}', status: 201 } };
    expect(await run({ ...order, within: '60s' })).toMatchObject({ passed: false, tries: 1 });
    expect(received).toEqual(['POST /orders']);
  });

  test('is tried again until it passes', async () => {
    answers = [answer(503, {}), answer(200, { components: { db: { status: 'UP' } } })];
    expect(await run({ ...health(), within: '60s' })).toMatchObject({ passed: true, tries: 2 });
  });

  test('of a server that does not run is a finding', async () => {
    const found = await run({ http: { url: `http://127.0.0.1:${await freePort()}/` } });
    expect(found.findings).toMatchObject([{ code: 'CHECK_NO_CONNECTION', params: { reason: 'ECONNREFUSED' } }]);
  });

  test('ends when its job is canceled', async () => {
    answers = [answer(503, {})];
    const stop = new AbortController();
    const running = runCheck(checkOf({ ...health(), within: '60s' }), new Map(), context(stop.signal));
    stop.abort(new TypeError('canceled'));
    await expect(running).rejects.toThrow();
  });
});

test('a tcp check passes when the port accepts connections', async () => {
  const port = Number(new URL(url).port);
  expect(await run({ tcp: { port } })).toMatchObject({ passed: true });
  expect(await run({ tcp: { port: 1 } })).toMatchObject({ passed: false, findings: [{ code: 'CHECK_NO_CONNECTION' }] });
});

const FILE = `control: { url: "http://127.0.0.1:1" }
environment: test
host: h
repositories: {}
targets: {}
`;

describe('the agent file', () => {
  test('defines checks and hooks; only hooks that it allows are run', () => {
    const config = parseAgentConfig(
      `${FILE}hooks: { stop: [/bin/false], start: [/bin/true] }\nallow: { hooks: [start] }\nchecks: { app: { tcp: { port: 1 } } }\n`,
      'f',
    );
    const commands = hostCommandsOf(config);
    const refusal = (command: 'check' | 'hook', target: string) =>
      refusalOfHostJob(commands, { command, target })?.code;
    expect(refusal('check', 'app')).toBeUndefined();
    expect(refusal('check', 'other')).toBe('NOT_FOUND');
    expect(refusal('hook', 'start')).toBeUndefined();
    expect(refusal('hook', 'stop')).toBe('HOST_LIMIT');
  });

  test.each([
    ['checks: { a: {} }', 'use exactly one of'],
    ['checks: { a: { tcp: { port: 1 }, http: { url: "http://x" } } }', 'use exactly one of'],
    ['checks: { a: { ping: {} } }', '"ping" needs a target'],
    ['checks: { a: { ping: {}, target: none } }', 'no target is named "none"'],
    ['checks: { a: { tcp: { port: 1 }, target: none } }', '"tcp" has no target'],
    ['checks: { a: { http: { url: "file:///etc/passwd" } } }', 'checks.a.http.url'],
    ['allow: { hooks: [none] }', 'no hook is named "none"'],
  ])('is refused with %s', (line, problem) => {
    expect(() => parseAgentConfig(`${FILE}${line}\n`, 'f')).toThrow(problem);
  });
});

describe('a hook', () => {
  const hookAt = (path: string) => ({ checks: {}, hooks: { start: [path, 'one argument'] } });
  const start = (path: string, signal?: AbortSignal) =>
    executeHostJob({ command: 'hook', target: 'start' }, hookAt(path), new Map(), context(signal));

  test('runs with its arguments, and what it starts in the background goes on', async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, 'start');
    const out = join(folder.path, 'out');
    await writeFile(path, `#!/bin/sh\n( sleep 0.3; echo "$1" >'${out}' ) &\n`);
    await chmod(path, 0o700);
    expect(await start(path)).toMatchObject({ command: 'hook' });
    await waitFor('the background process', 30_000, new AbortController().signal, async () =>
      (await readFile(out, 'utf8').catch(() => '')) === 'one argument\n' ? true : undefined,
    );
  });

  test('fails with its exit status, and its output is not reported', async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, 'start');
    await writeFile(path, '#!/bin/sh\necho secret; echo secret >&2; exit 7\n');
    await chmod(path, 0o700);
    await expect(start(path)).rejects.toMatchObject({
      code: 'TOOL_FAILED',
      message: `${path} ended with exit status 7`,
    });
  });

  test('that others can write is not run', async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, 'start');
    await writeFile(path, '#!/bin/sh\n');
    await chmod(path, 0o722);
    await expect(start(path)).rejects.toThrow('is writable by other users');
  });
});
