import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { CLOSE } from '@lastgood/protocol';
import { expect, test } from 'vitest';
import { AgentSocket, upgrade } from './support/agent-socket.ts';
import { ControlHarness, headersOf } from './support/control-harness.ts';

/** What one raw request gets, byte for byte as we send it. */
async function raw(port: number, bytes: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  socket.end(bytes);
  return await text(socket).catch(() => '');
}

test('an upgrade without an identity, with a wrong one or at another place is refused with its reason', async () => {
  await using bench = await ControlHarness.start();
  const identity = await bench.enroll();
  const now = bench.clock.now();
  const good = () => headersOf(identity, bench.clock.now());
  const { privateKey } = generateKeyPairSync('ed25519');
  const cases: [string, Record<string, string>, number, string, string?][] = [
    ['no header', {}, 426, 'protocol'],
    ['no authorization', { 'x-lastgood-protocol': '1' }, 401, 'unknown'],
    ['a bearer token', { ...good(), authorization: `Bearer ${bench.adminToken}` }, 401, 'unknown'],
    ['an agent nobody enrolled', headersOf({ ...identity, agentId: randomUUID() }, now), 401, 'unknown'],
    ['another key', headersOf({ ...identity, key: privateKey }, now), 401, 'signature'],
    ['a signature of yesterday', headersOf(identity, now - 86_400_000), 401, 'clock'],
    ['a signature from before the start', headersOf(identity, now - 1), 401, 'clock'],
    ['another install id', { ...good(), 'x-lastgood-install': randomUUID() }, 403, 'install'],
    ['an origin', { ...good(), origin: 'https://evil.example' }, 403, 'origin'],
    ['an origin of null', { ...good(), origin: 'null' }, 403, 'origin'],
    ['K10: a newer protocol', { ...good(), 'x-lastgood-protocol': '2' }, 426, 'protocol'],
    ['a protocol that is not a number', { ...good(), 'x-lastgood-protocol': 'NaN' }, 426, 'protocol'],
    ['another path', good(), 404, 'path', '/trpc/hello'],
    ['a path below', good(), 404, 'path', '/agent/'],
    ['connectionParams asked for', good(), 404, 'path', '/agent?connectionParams=1'],
  ];
  for (const [what, headers, status, reason, path] of cases) {
    const answer = await upgrade(bench.port, headers, path);
    expect({ what, status: answer.status, reason: answer.reason }).toEqual({ what, status, reason });
    expect(answer.head).toContain('x-lastgood-time');
  }
  expect((await upgrade(bench.port, good())).status).toBe(101);
});

test('K4: a signature opens one connection, before and after a restart', async () => {
  await using bench = await ControlHarness.start();
  const identity = await bench.enroll();
  const headers = headersOf(identity, bench.clock.now());
  expect((await upgrade(bench.port, headers)).status).toBe(101);
  expect(await upgrade(bench.port, headers)).toMatchObject({ status: 401, reason: 'replay' });
  await bench.close();
  bench.clock.advance(1_000);
  await bench.open();
  expect(await upgrade(bench.port, headers)).toMatchObject({ status: 401, reason: 'clock' });
  expect((await upgrade(bench.port, headersOf(identity, bench.clock.now()))).status).toBe(101);
});

test('an agent has few connections at once; more are refused with 429 while others are served', async () => {
  await using bench = await ControlHarness.start({ limits: { connectionsPerAgent: 3 } });
  const [greedy, other] = [await bench.enroll('db-1'), await bench.enroll('db-2')];
  const open = [];
  for (let n = 0; n < 3; n += 1) open.push(await AgentSocket.open(bench, greedy));
  expect(await upgrade(bench.port, headersOf(greedy, bench.clock.now()))).toMatchObject({
    status: 429,
    reason: 'connections',
  });
  expect((await AgentSocket.connect(bench, other)).sessionId).not.toBe('');
  await open[0]?.end();
  await expect.poll(async () => (await upgrade(bench.port, headersOf(greedy, bench.clock.now()))).status).toBe(101);
});

test('a connection that says no hello is ended after its time, pings or not', async () => {
  await using bench = await ControlHarness.start({ limits: { helloMs: 200 } });
  const identity = await bench.enroll();
  const silent = await AgentSocket.open(bench, identity);
  const chatty = await AgentSocket.open(bench, identity);
  const pings = setInterval(() => chatty.send('PING'), 20);
  expect(await silent.closed).toEqual({ code: CLOSE.protocol, reason: 'no hello' });
  expect((await chatty.closed).code).toBe(CLOSE.protocol);
  clearInterval(pings);
  const speaking = await AgentSocket.connect(bench, identity);
  expect(speaking.sessionId).not.toBe('');
});

test('an invalid request ends its own connection and nothing else', async () => {
  await using bench = await ControlHarness.start();
  const identity = await bench.enroll();
  const agent = await AgentSocket.connect(bench, identity);
  const ws =
    'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n';
  const host = 'Host: x\r\n';
  const lines = [
    `GET // HTTP/1.1\r\n${host}${ws}\r\n`,
    `GET /\\ HTTP/1.1\r\n${host}${ws}\r\n`,
    `GET http://[ HTTP/1.1\r\n${host}${ws}\r\n`,
    `GET // HTTP/1.1\r\n${host}\r\n`,
    `GET /trpc/../../etc/passwd HTTP/1.1\r\n${host}\r\n`,
    `GET /trpc/%2e%2e/%00 HTTP/1.1\r\n${host}\r\n`,
    `POST /enroll HTTP/1.1\r\n${host}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    `POST /enroll HTTP/1.1\r\n${host}Content-Length: 104857600\r\n\r\n`,
    `POST /enroll HTTP/1.1\r\n${host}Content-Length: -1\r\n\r\n`,
    `GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n`,
    `GET /healthz HTTP/9.9\r\n${host}\r\n`,
    `GET /healthz HTTP/1.1\r\n${host}${'X-A: b\r\n'.repeat(3_000)}\r\n`,
    `GET /agent HTTP/1.1\r\n${host}${ws}Sec-WebSocket-Protocol: ${'a,'.repeat(8_000)}a\r\n\r\n`,
    'GET /agent HT',
    '\0\0\0\0',
    '\x16\x03\x01\x02\x00\x01',
  ];
  for (const line of lines) {
    const answer = await raw(bench.port, line);
    expect(`${JSON.stringify(line.slice(0, 60))} ${answer.slice(0, 12)}`).not.toMatch(/HTTP\/1.1 5|HTTP\/1.1 101/);
    expect(answer).not.toMatch(/at \w+ \(|node:|\.ts:/);
  }
  const beat = { ackSeq: 0, progress: [], running: [], outboxDepth: 0 };
  expect((await agent.call('heartbeat', agent.session(beat)))?.result).toBeDefined();
  expect(bench.logged.filter(({ message }) => message === 'unexpected error')).toEqual([]);
});

test('1,000 connections that never speak hinder nobody', async () => {
  await using bench = await ControlHarness.start({ limits: { helloMs: 500 } });
  const identity = await bench.enroll('db-1');
  const before = process.memoryUsage.rss();
  const sockets = Array.from({ length: 1_000 }, () => connect(bench.port, '127.0.0.1').on('error', () => undefined));
  await Promise.all(sockets.map((socket) => once(socket, 'connect')));
  const agent = await AgentSocket.connect(bench, identity);
  const beat = { ackSeq: 0, progress: [], running: [], outboxDepth: 0 };
  expect((await agent.call('heartbeat', agent.session(beat)))?.result).toBeDefined();
  expect((await fetch(`${bench.url}/healthz`)).status).toBe(200);
  expect(process.memoryUsage.rss() - before).toBeLessThan(150 * 1024 * 1024);
  for (const socket of sockets) socket.destroy();
});

test('a page of a browser gets no leave to read, whatever Host it names (DNS rebinding)', async () => {
  await using bench = await ControlHarness.start();
  for (const path of ['/trpc/whoAmI', '/enroll', '/healthz', '/agent']) {
    const asked = await raw(
      bench.port,
      `OPTIONS ${path} HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\nConnection: close\r\nAccess-Control-Request-Method: POST\r\n\r\n`,
    );
    expect(asked.toLowerCase()).not.toContain('access-control-allow');
  }
  const spoofed = await raw(
    bench.port,
    'GET /trpc/tokens HTTP/1.1\r\nHost: 127.0.0.1:7420\r\nX-Forwarded-For: 127.0.0.1\r\nConnection: close\r\n\r\n',
  );
  expect(spoofed).toMatch(/^HTTP\/1.1 401/);
  const inQuery = await raw(
    bench.port,
    `GET /trpc/whoAmI?token=${bench.adminToken}&authorization=Bearer%20${bench.adminToken} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
  );
  expect(inQuery).toMatch(/^HTTP\/1.1 401/);
});

test('a stop tells every connection to drain, refuses new ones and ends', async () => {
  await using bench = await ControlHarness.start();
  const identity = await bench.enroll();
  const speaking = await AgentSocket.connect(bench, identity);
  const silent = await AgentSocket.open(bench, identity);
  // Reads nothing any more, so it never answers the close.
  const deaf = await AgentSocket.open(bench, identity);
  deaf.socket.pause();
  const stopped = bench.close();
  expect((await speaking.closed).code).toBe(CLOSE.drain);
  expect((await silent.closed).code).toBe(CLOSE.drain);
  await stopped;
  deaf.socket.terminate();
});

const WEBSOCKET =
  'Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n';
/** A connection that never ends its side, whatever the other side does. */
async function halfOpen(port: number, bytes: string): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true }).on('error', () => undefined);
  await once(socket, 'connect');
  socket.write(bytes);
  return socket;
}

test('M17: a refused connection is ended, though its other side stays open', async () => {
  await using bench = await ControlHarness.start();
  const before = (await readdir('/proc/self/fd')).length;
  const sockets = await Promise.all(
    Array.from({ length: 20 }, () => halfOpen(bench.port, `GET /agent HTTP/1.1\r\n${WEBSOCKET}\r\n`)),
  );
  for (const socket of sockets) {
    const answer = await text(socket);
    expect(answer).toMatch(/^HTTP\/1.1 426 /);
  }
  // Ours are open all the same: each is one descriptor here, and none there.
  await expect.poll(async () => (await readdir('/proc/self/fd')).length, { timeout: 10_000 }).toBeLessThan(before + 30);
  for (const socket of sockets) socket.destroy();
});

test('M17: no unauthenticated connection delays a stop, whatever it has sent and however it is left open', async () => {
  await using bench = await ControlHarness.start();
  const sockets = [];
  for (const bytes of [
    '',
    'GET /agent HT',
    `GET /agent HTTP/1.1\r\n${WEBSOCKET}\r\n`,
    `GET /agent HTTP/1.1\r\n${WEBSOCKET}`,
    'POST /enroll HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{',
    'POST /trpc/createToken HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{',
    'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n',
  ])
    sockets.push(await halfOpen(bench.port, bytes));
  // A client that reads nothing does not notice that the other side has ended.
  for (const socket of sockets) socket.pause();
  await bench.close();
  for (const socket of sockets) socket.destroy();
});

test('M17: a request whose head does not end is ended after its time', async () => {
  await using bench = await ControlHarness.start({ limits: { helloMs: 200 } });
  for (const bytes of ['', 'GET /healthz HTTP/1.1\r\nHost: ']) {
    const socket = await halfOpen(bench.port, bytes);
    expect(await text(socket)).toMatch(/^HTTP\/1.1 408 /);
    socket.destroy();
  }
});

test('M17: of too many unauthenticated the oldest are ended; agents and people with a token are not among them', async () => {
  await using bench = await ControlHarness.start({ limits: { unauthenticated: 5 } });
  const agent = await AgentSocket.connect(bench, await bench.enroll());
  const person = await halfOpen(
    bench.port,
    `GET /trpc/whoAmI HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${bench.adminToken}\r\n\r\n`,
  );
  await once(person, 'data');
  const unauthenticated: Socket[] = [];
  for (let n = 0; n < 8; n += 1) {
    const socket = connect(bench.port, '127.0.0.1').on('error', () => undefined);
    await once(socket, 'connect');
    unauthenticated.push(socket.resume());
  }
  await expect
    .poll(() => unauthenticated.map((socket) => socket.closed))
    .toEqual([true, true, true, ...Array(5).fill(false)]);
  const beat = { ackSeq: 0, progress: [], running: [], outboxDepth: 0 };
  expect((await agent.call('heartbeat', agent.session(beat)))?.result).toBeDefined();
  person.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
  const [answer] = (await once(person, 'data')) as [Buffer];
  expect(answer.toString()).toMatch(/^HTTP\/1.1 200 /);
  for (const socket of [...unauthenticated, person]) socket.destroy();
});
