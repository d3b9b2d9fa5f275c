import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { CLOSE, LIMITS } from '@lastgood/protocol';
import { expect, test } from 'vitest';
import { AgentSocket, helloInput, until } from './support/agent-socket.ts';
import { ControlHarness, headersOf, type Identity } from './support/control-harness.ts';

const MIB = 1024 * 1024;
const beat = { ackSeq: 0, progress: [], running: [], outboxDepth: 0 };

/** A control plane with a hostile host and a good one; the good one is asked at the end whether it still lives. */
const UNLIMITED = { perSecond: 1e12, burst: 1e12 };
/** What is tested here are the limits of one socket; rates have tests of their own. */
const agentRates = { calls: UNLIMITED, bytes: UNLIMITED, jobs: UNLIMITED };
async function hostile(limits: object = {}) {
  const bench = await ControlHarness.start({ limits: { agentRates, ...limits } });
  const [bad, good] = [await bench.enroll('bad'), await bench.enroll('good')];
  const other = await AgentSocket.connect(bench, good);
  const begun = process.memoryUsage.rss();
  return {
    bench,
    bad,
    grown: (): number => process.memoryUsage.rss() - begun,
    fine: async () => {
      expect((await other.call('heartbeat', other.session(beat)))?.result).toBeDefined();
      expect(bench.logged.filter(({ message }) => message === 'unexpected error')).toEqual([]);
    },
    [Symbol.asyncDispose]: () => bench[Symbol.asyncDispose](),
  };
}

/** One masked frame as bytes: whatever header we like. */
function frame(first: number, payload: Uint8Array, length?: Uint8Array, masked = true): Buffer {
  const size = payload.length;
  const short = size < 126 ? Buffer.from([size]) : Buffer.from([126, size >> 8, size & 0xff]);
  const head = Buffer.from(length ?? short);
  head[0] = (head[0] ?? 0) | (masked ? 0x80 : 0);
  return Buffer.concat([Buffer.from([first]), head, masked ? Buffer.alloc(4) : Buffer.alloc(0), payload]);
}

/** A connection below the WebSocket library: upgraded, then raw bytes. Resolves with the close code of the other side. */
async function rawSocket(
  bench: ControlHarness,
  identity: Identity,
): Promise<{ socket: Socket; code: Promise<number> }> {
  const socket = connect(bench.port, '127.0.0.1');
  socket.on('error', () => undefined);
  const headers = Object.entries({
    Host: 'x',
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': randomBytes(16).toString('base64'),
    'Sec-WebSocket-Extensions': 'permessage-deflate',
    ...headersOf(identity, bench.clock.now()),
  });
  socket.write(`GET /agent HTTP/1.1\r\n${headers.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`);
  const [head] = (await once(socket, 'data')) as [Buffer];
  expect(head.toString()).toMatch(/^HTTP\/1.1 101/);
  // Compression was offered and is not taken.
  expect(head.toString().toLowerCase()).not.toContain('deflate');
  let bytes = Buffer.alloc(0);
  const code = new Promise<number>((resolve) => {
    socket.on('data', (chunk) => {
      bytes = Buffer.concat([bytes, chunk]).subarray(-200);
    });
    socket.on('close', () => {
      const at = bytes.lastIndexOf(0x88);
      resolve(at >= 0 && at + 4 <= bytes.length ? bytes.readUInt16BE(at + 2) : 0);
    });
  });
  return { socket, code };
}

const text = (value: string): Buffer => Buffer.from(value);
const RAW: [string, Buffer, number][] = [
  ['an unmasked frame', frame(0x81, text('{}'), undefined, false), 1002],
  ['a reserved bit', frame(0xc1, text('{}')), 1002],
  ['a reserved opcode', frame(0x83, text('{}')), 1002],
  ['a fragmented ping', frame(0x09, text('a')), 1002],
  ['a ping of 126 bytes', frame(0x89, Buffer.alloc(126)), 1002],
  ['a length of 2^63', frame(0x81, text(''), Buffer.from([127, 0x80, 0, 0, 0, 0, 0, 0, 0])), 1009],
  ['a length over the limit', frame(0x81, text(''), Buffer.from([127, 0, 0, 0, 0, 0, 4, 0, 1])), 1009],
  ['invalid UTF-8', frame(0x81, Buffer.from([0xff, 0xfe, 0x41])), 1007],
  ['a close code 1005', frame(0x88, Buffer.from([0x03, 0xed])), 1002],
  ['a close of one byte', frame(0x88, Buffer.from([0x03])), 1002],
  ['a continuation of nothing', frame(0x80, text('{}')), 1002],
  [
    '65 fragments',
    Buffer.concat([frame(0x01, text('{')), ...Array.from({ length: 70 }, () => frame(0x00, text(' ')))]),
    1008,
  ],
  ['a binary frame', frame(0x82, text('{}')), CLOSE.badFrame],
  ['no JSON', frame(0x81, text('<html>')), CLOSE.badFrame],
  ['half of a JSON', frame(0x81, text('{"id":1')), CLOSE.badFrame],
  ['an empty frame', frame(0x81, text('')), CLOSE.badFrame],
  [
    'a pong nobody asked for, then nothing',
    Buffer.concat([frame(0x8a, text('x')), frame(0x88, Buffer.from([3, 0xe8]))]),
    1000,
  ],
];

test.each(RAW)('WS frames: %s ends its own connection with a code', async (_what, bytes, code) => {
  await using scene = await hostile();
  const { socket, code: closed } = await rawSocket(scene.bench, scene.bad);
  socket.write(bytes);
  expect(await closed).toBe(code);
  await scene.fine();
});

test.each([
  ['null', 'null'],
  ['a number', '1'],
  ['an id of null', '{"id":null,"method":"mutation","params":{"path":"hello"}}'],
  ['an id that is an object', '{"id":{},"method":"mutation","params":{"path":"hello"}}'],
  ['an unknown method', '{"id":1,"method":"__proto__","params":{"path":"hello"}}'],
  ['a path that is a list', '{"id":1,"method":"mutation","params":{"path":["hello"]}}'],
  [
    'a lastEventId that is an object',
    '{"id":1,"method":"subscription","params":{"path":"commands","lastEventId":{"a":1}}}',
  ],
  [
    'a huge lastEventId',
    JSON.stringify({ id: 1, method: 'subscription', params: { path: 'commands', lastEventId: 'x'.repeat(200_000) } }),
  ],
  ['a foreign lastEventId', '{"id":1,"method":"subscription","params":{"path":"commands","lastEventId":"7"}}'],
  ['brackets 50,000 deep', '['.repeat(50_000) + ']'.repeat(50_000)],
  [
    'a batch of 5,000 calls',
    `[${Array.from({ length: 5_000 }, (_, n) => `{"id":${n},"method":"query","params":{}}`).join()}]`,
  ],
  [
    'a batch of 129 calls',
    `[${Array.from({ length: 129 }, (_, n) => `{"id":${n},"method":"mutation","params":{"path":"ack"}}`).join()}]`,
  ],
])('WS frames: %s calls nothing and is closed with 4400', async (_what, bytes) => {
  await using scene = await hostile();
  const agent = await AgentSocket.open(scene.bench, scene.bad);
  agent.send(bytes);
  expect((await agent.closed).code).toBe(CLOSE.badFrame);
  expect(agent.replies).toEqual([]);
  await scene.fine();
});

test('WS frames: a frame above the limit and a batch of 10,000 calls are closed as too big', async () => {
  await using scene = await hostile();
  const big = await AgentSocket.open(scene.bench, scene.bad);
  big.send(`"${'x'.repeat(LIMITS.frameBytes)}"`);
  expect((await big.closed).code).toBe(1009);
  const batch = await AgentSocket.open(scene.bench, scene.bad);
  batch.send(
    Array.from({ length: 10_000 }, (_, id) => ({ id, method: 'mutation', params: { path: 'hello', input: {} } })),
  );
  expect((await batch.closed).code).toBe(1009);
  await scene.fine();
});

test('an unknown procedure and a wrong input are answered with codes alone', async () => {
  await using scene = await hostile();
  const agent = await AgentSocket.connect(scene.bench, scene.bad);
  const wrong = [
    await agent.call('nothing', {}),
    await agent.call('__proto__', {}),
    // What people may do is behind another door.
    await agent.call('createToken', { name: 'x', scope: 'admin', expiresInHours: null }),
    await agent.call('hosts', {}, 'query'),
    await agent.call('constructor.prototype', {}),
    await agent.call('hello', { clock: 'now', secret: 'hunter2' }),
    await agent.call('hello', helloInput(0)),
    await agent.call('ack', { sessionId: 'another', upToSeq: 1 }),
    await agent.call('ack', { ...agent.session(), upToSeq: -1 }),
    await agent.call('ack', { ...agent.session(), upToSeq: 2 ** 53 }),
    await agent.call('report', agent.session({ events: [] })),
    await agent.call('commands', {}, 'query'),
  ];
  for (const reply of wrong) {
    expect(reply?.error?.data.code).toMatch(
      /^(NOT_FOUND|BAD_REQUEST|METHOD_NOT_SUPPORTED|INTERNAL_SERVER_ERROR|CONFLICT)$/,
    );
    expect(reply?.error?.message).toBe(reply?.error?.data.code);
    expect(JSON.stringify(reply)).not.toMatch(/stack|hunter2|node:|\.ts/);
  }
  await scene.fine();
});

test('20,000 subscriptions on one socket: one is served, the others are refused, memory stays bounded', async () => {
  await using scene = await hostile();
  const agent = await AgentSocket.connect(scene.bench, scene.bad);
  for (let n = 0; n < 200; n += 1)
    agent.send(
      Array.from({ length: 100 }, (_, m) => ({
        id: n * 100 + m,
        method: 'subscription',
        params: { path: 'commands', input: agent.session() },
      })),
    );
  await until(
    'the answers',
    () => agent.replies.filter(({ error }) => error !== undefined).length === 20_000 || undefined,
  );
  expect(scene.grown()).toBeLessThan(300 * MIB);
  await scene.fine();
});

test('a subscription that was stopped may be begun again', async () => {
  await using scene = await hostile();
  const agent = await AgentSocket.connect(scene.bench, scene.bad);
  agent.send({ id: 'commands', method: 'subscription.stop' });
  agent.send({ id: 'unknown', method: 'subscription.stop' });
  await until('the stop', () => agent.replies.some(({ result }) => result?.type === 'stopped') || undefined);
  agent.send({ id: 'again', method: 'subscription', params: { path: 'commands', input: agent.session() } });
  await until(
    'the start',
    () => agent.replies.some(({ id, result }) => id === 'again' && result?.type === 'started') || undefined,
  );
});

test('a flood of pings is answered or ended, and nobody else waits for it', async () => {
  await using scene = await hostile({ drainMs: 300 });
  const { socket, code } = await rawSocket(scene.bench, scene.bad);
  socket.pause();
  const ping = frame(0x89, Buffer.alloc(100));
  const flood = Buffer.concat(Array.from({ length: 10_000 }, () => ping));
  for (let n = 0; n < 40 && !socket.destroyed; n += 1) socket.write(flood);
  await scene.fine();
  expect(scene.grown()).toBeLessThan(300 * MIB);
  socket.resume();
  socket.destroy();
  await code;
});

test('K5: who asks and never reads is not read any more and closed with 4408; what waits for it is bounded', async () => {
  await using scene = await hostile({ drainMs: 300 });
  const agent = await AgentSocket.connect(scene.bench, scene.bad);
  agent.socket.pause();
  const ask = JSON.stringify(
    Array.from({ length: 100 }, (_, id) => ({ id, method: 'mutation', params: { path: `nothing-${'x'.repeat(40)}` } })),
  );
  const ended = once(agent.socket, 'close');
  const flood = setInterval(() => {
    scene.bench.clock.advance(5);
    for (let n = 0; n < 20 && agent.socket.bufferedAmount < 8 * MIB; n += 1) agent.send(ask);
  }, 5);
  try {
    await until(
      'the end of its session',
      async () =>
        (await scene.bench.admin().hosts.query()).find(({ host }) => host === 'bad')?.state === 'offline' || undefined,
    );
  } finally {
    clearInterval(flood);
  }
  expect(scene.grown()).toBeLessThan(300 * MIB);
  agent.socket.resume();
  const [code] = (await ended) as [number];
  // The code is behind all that it did not read, and the time for that is bounded as well.
  expect([CLOSE.slowConsumer, 1006]).toContain(code);
  await scene.fine();
});

test('the calls of one socket that are worked on at once are bounded, and all are answered in the end', async () => {
  await using scene = await hostile();
  const agent = await AgentSocket.connect(scene.bench, scene.bad);
  for (let n = 0; n < 5_000; n += 1)
    agent.send({ id: n, method: 'mutation', params: { path: 'heartbeat', input: agent.session(beat) } });
  await scene.fine();
  await until(
    'all answers',
    () =>
      agent.replies.filter(({ id, result }) => typeof id === 'number' && result?.data !== undefined).length >= 5_000 ||
      undefined,
  );
  expect(scene.grown()).toBeLessThan(200 * MIB);
});

test('a progress that names ever new jobs does not fill the memory of the control plane', async () => {
  await using scene = await hostile();
  const agent = await AgentSocket.connect(scene.bench, scene.bad);
  await agent.announce('shop');
  const spec = { command: 'backup', target: 'shop', method: null, contents: null, options: {} } as const;
  const job = await scene.bench.admin().createJob.mutate({ target: 'shop', spec, idempotencyKey: randomUUID() });
  const told = (jobId: string) => ({
    jobId,
    attempt: 1,
    phase: 'dump',
    doneBytes: 1,
    totalBytes: null,
    bytesPerSecond: 1,
    at: 0,
  });
  await agent.call('heartbeat', agent.session({ ...beat, progress: [told(job.jobId)] }));
  expect((await scene.bench.admin().job.query({ jobId: job.jobId })).progress?.phase).toBe('dump');
  await agent.call('heartbeat', agent.session({ ...beat, progress: [told(randomUUID())] }));
  expect((await scene.bench.admin().job.query({ jobId: job.jobId })).progress).toBeNull();
});
