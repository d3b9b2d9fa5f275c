import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { captureTool, runTool } from '@lastgood/host';
import { expect, test } from 'vitest';
import { seedShop, startPostgres, TcpFaultProxy } from '../src/index.ts';

/** Answers every byte with the same byte, and keeps what it was sent. */
async function echo() {
  const sockets = new Set<Socket>();
  const seen: Buffer[] = [];
  const left: (() => void)[] = [];
  let gone = 0;
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => {
      gone += 1;
      for (const wake of left.splice(0)) wake();
    });
    socket
      .on('error', () => undefined)
      .on('data', (chunk: Buffer) => {
        seen.push(chunk);
        socket.write(chunk);
      });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    seen: () => Buffer.concat(seen).toString(),
    /** Waits until so many clients are gone. */
    isLeft: async (count: number) => {
      while (gone < count) await new Promise<void>((resolve) => left.push(resolve));
    },
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
async function client(port: number): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port });
  await once(socket, 'connect');
  return socket.on('error', () => undefined);
}
const errorOf = async (socket: Socket): Promise<string> => {
  const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
  return error.code ?? '';
};
const said = async (socket: Socket, text: string): Promise<string> => {
  socket.write(text);
  const [chunk] = (await once(socket, 'data')) as [Buffer];
  return chunk.toString();
};

test('without a fault bytes pass both ways, counted, and an end is passed on', async () => {
  await using server = await echo();
  await using proxy = await TcpFaultProxy.open({ port: server.port });
  const socket = await client(proxy.port);
  expect(await said(socket, 'hello')).toBe('hello');
  expect([proxy.bytes('toServer'), proxy.bytes('toClient'), proxy.connections, proxy.accepted]).toEqual([5, 5, 1, 1]);
  socket.end();
  await once(socket, 'end');
  await proxy.until((p) => p.connections === 0);
});

test('10 MiB pass a slow reader whole', async () => {
  const data = Buffer.alloc(10 * 1024 * 1024, 'ab\0');
  const server = createServer((socket) => socket.resume().end(data)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  await using proxy = await TcpFaultProxy.open({
    port: typeof address === 'object' && address !== null ? address.port : 0,
  });
  const socket = await client(proxy.port);
  await proxy.until((p) => p.bytes('toClient') > 64 * 1024);
  expect((await buffer(socket)).equals(data)).toBe(true);
  await proxy.until((p) => p.connections === 0);
  server.close();
});

test('K3: a cut resets every open connection on both sides, and the next one is served', async () => {
  await using server = await echo();
  await using proxy = await TcpFaultProxy.open({ port: server.port });
  const [one, two] = [await client(proxy.port), await client(proxy.port)];
  await Promise.all([said(one, 'x'), said(two, 'x')]);
  const errors = Promise.all([errorOf(one), errorOf(two)]);
  proxy.cut();
  expect(await errors).toEqual(['ECONNRESET', 'ECONNRESET']);
  await server.isLeft(2);
  const next = await client(proxy.port);
  expect(await said(next, 'again')).toBe('again');
  next.destroy();
});

test('K1: a held connection says nothing to either side, hides that one is gone, and flows on after resume', async () => {
  await using server = await echo();
  await using proxy = await TcpFaultProxy.open({ port: server.port });
  const [socket, leaver] = [await client(proxy.port), await client(proxy.port)];
  const broken = await client(proxy.port);
  await Promise.all([socket, leaver, broken].map((one) => said(one, '.')));
  proxy.hold();
  broken.resetAndDestroy();
  socket.write('held');
  leaver.destroy();
  const late = await client(proxy.port);
  late.write('late');
  await proxy.until((p) => p.accepted === 4);
  // Another connection around the proxy answers meanwhile: the held bytes had their chance.
  const around = await client(server.port);
  await said(around, '-');
  expect([server.seen(), proxy.bytes('toServer')]).toEqual(['...-', 3]);
  expect([socket.destroyed, late.destroyed, proxy.connections]).toEqual([false, false, 4]);
  const answers = Promise.all([once(socket, 'data'), once(late, 'data')]);
  await proxy.resume();
  expect((await answers).map(String)).toEqual(['held', 'late']);
  await proxy.until((p) => p.connections === 2);
  for (const one of [socket, late, around]) one.destroy();
});

test('K2: one direction is held alone', async () => {
  await using server = await echo();
  await using proxy = await TcpFaultProxy.open({ port: server.port });
  const socket = await client(proxy.port);
  proxy.hold('toClient');
  socket.write('one way');
  await proxy.until((p) => p.bytes('toServer') === 7);
  expect(proxy.bytes('toClient')).toBe(0);
  const answer = once(socket, 'data');
  await proxy.resume();
  expect(String(await answer)).toBe('one way');
  socket.destroy();
});

test('new connections are refused while open ones live, until resume on the same port', async () => {
  await using server = await echo();
  await using proxy = await TcpFaultProxy.open({ port: server.port });
  const open = await client(proxy.port);
  await said(open, 'x');
  proxy.refuse();
  expect(await errorOf(connect({ host: '127.0.0.1', port: proxy.port }))).toBe('ECONNREFUSED');
  expect(await said(open, 'y')).toBe('y');
  await proxy.resume();
  const next = await client(proxy.port);
  expect(await said(next, 'z')).toBe('z');
  open.destroy();
  next.destroy();
});

test.for(['reset', 'end'] as const)(
  'a connection is cut by %s after exactly so many bytes to the client',
  async (by) => {
    await using server = await echo();
    await using proxy = await TcpFaultProxy.open({ port: server.port });
    proxy.cutAfter({ direction: 'toClient', bytes: 1000, by });
    const socket = await client(proxy.port);
    let got = 0;
    socket.on('data', (chunk: Buffer) => {
      got += chunk.length;
    });
    const error = errorOf(socket).catch(() => 'none');
    const ended = by === 'end' ? once(socket, 'end') : error;
    socket.write(Buffer.alloc(900));
    await proxy.until((p) => p.bytes('toClient') === 900);
    socket.write(Buffer.alloc(5000));
    await ended;
    expect([got, proxy.bytes('toClient')]).toEqual([1000, 1000]);
    if (by === 'reset') expect(await error).toBe('ECONNRESET');
    socket.destroy();
    await proxy.until((p) => p.connections === 0);
  },
);

test('cut after bytes to the server: no byte more arrives there', async () => {
  await using server = await echo();
  await using proxy = await TcpFaultProxy.open({ port: server.port });
  proxy.cutAfter({ direction: 'toServer', bytes: 3 });
  const socket = await client(proxy.port);
  socket.write('abcdef');
  await errorOf(socket);
  await server.isLeft(1);
  expect(server.seen()).toBe('abc');
});

test('a server that is not there looks like a cut', async () => {
  await using proxy = await TcpFaultProxy.open({ port: 1 });
  const socket = connect({ host: '127.0.0.1', port: proxy.port });
  expect(await errorOf(socket)).toBe('ECONNRESET');
});

test('A1, A5: pg_dump through the proxy is whole, fails after a cut, and waits while held', async () => {
  await using postgres = await startPostgres();
  await seedShop(postgres, 'shop', { rows: 20_000 });
  await using proxy = await TcpFaultProxy.open({ port: postgres.port });
  const dump = (signal = new AbortController().signal) => ({
    file: join(postgres.binDir, 'pg_dump'),
    args: ['--host=127.0.0.1', `--port=${proxy.port}`, `--username=${postgres.user}`, '--dbname=shop'],
    env: { PGPASSFILE: postgres.passfile },
    signal,
    timeoutMs: 60_000,
  });
  const { stdout } = await captureTool(dump());
  expect(stdout).toContain('PostgreSQL database dump complete');
  proxy.cutAfter({ direction: 'toClient', bytes: Math.round(proxy.bytes('toClient') / 2) });
  await expect(captureTool(dump())).rejects.toMatchObject({ code: 'TOOL_FAILED' });
  await proxy.resume();
  const half = Math.round(proxy.bytes('toClient') / 3);
  const before = proxy.bytes('toClient');
  const stop = new AbortController();
  const held = runTool(dump(stop.signal));
  await proxy.until((p) => p.bytes('toClient') > before + half / 2);
  proxy.hold();
  stop.abort();
  await expect(held).rejects.toMatchObject({ code: 'JOB_CANCELED' });
});
