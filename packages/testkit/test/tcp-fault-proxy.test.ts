import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { captureTool, runTool } from '@lastgood/host';
import { expect, test } from 'vitest';
import { seedShop, startPostgres, TcpFaultProxy } from '../src/index.ts';

/** Starts a server that returns every byte and records what it received. */
async function echo() {
  const sockets = new Set<Socket>();
  const received: Buffer[] = [];
  const waiters: (() => void)[] = [];
  let closed = 0;
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => {
      closed += 1;
      for (const wake of waiters.splice(0)) wake();
    });
    socket
      .on('error', () => undefined)
      .on('data', (chunk: Buffer) => {
        received.push(chunk);
        socket.write(chunk);
      });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    received: () => Buffer.concat(received).toString(),
    /** Waits until this many clients have disconnected. */
    untilClosed: async (count: number) => {
      while (closed < count) await new Promise<void>((resolve) => waiters.push(resolve));
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
const exchange = async (socket: Socket, text: string): Promise<string> => {
  socket.write(text);
  const [chunk] = (await once(socket, 'data')) as [Buffer];
  return chunk.toString();
};

test('without a fault, forwards and counts bytes in both directions and passes on the end', async () => {
  await using server = await echo();
  await using proxy = await TcpFaultProxy.open({ port: server.port });
  const socket = await client(proxy.port);
  expect(await exchange(socket, 'hello')).toBe('hello');
  expect([proxy.bytes('toServer'), proxy.bytes('toClient'), proxy.connections, proxy.accepted]).toEqual([5, 5, 1, 1]);
  socket.end();
  await once(socket, 'end');
  await proxy.until((p) => p.connections === 0);
});

test('forwards 10 MiB to a slow reader completely', async () => {
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

test('K3: cut resets every open connection on both sides, and new connections are accepted', async () => {
  await using server = await echo();
  await using proxy = await TcpFaultProxy.open({ port: server.port });
  const [one, two] = [await client(proxy.port), await client(proxy.port)];
  await Promise.all([exchange(one, 'x'), exchange(two, 'x')]);
  const errors = Promise.all([errorOf(one), errorOf(two)]);
  proxy.cut();
  expect(await errors).toEqual(['ECONNRESET', 'ECONNRESET']);
  await server.untilClosed(2);
  const next = await client(proxy.port);
  expect(await exchange(next, 'again')).toBe('again');
  next.destroy();
});

test('K1: hold stops all traffic, hides disconnects, and forwards held bytes after resume', async () => {
  await using server = await echo();
  await using proxy = await TcpFaultProxy.open({ port: server.port });
  const [socket, closing] = [await client(proxy.port), await client(proxy.port)];
  const broken = await client(proxy.port);
  await Promise.all([socket, closing, broken].map((one) => exchange(one, '.')));
  proxy.hold();
  broken.resetAndDestroy();
  socket.write('held');
  closing.destroy();
  const late = await client(proxy.port);
  late.write('late');
  await proxy.until((p) => p.accepted === 4);
  // A connection that bypasses the proxy gets a response, so the held bytes had time to arrive.
  const direct = await client(server.port);
  await exchange(direct, '-');
  expect([server.received(), proxy.bytes('toServer')]).toEqual(['...-', 3]);
  expect([socket.destroyed, late.destroyed, proxy.connections]).toEqual([false, false, 4]);
  const responses = Promise.all([once(socket, 'data'), once(late, 'data')]);
  await proxy.resume();
  expect((await responses).map(String)).toEqual(['held', 'late']);
  await proxy.until((p) => p.connections === 2);
  for (const one of [socket, late, direct]) one.destroy();
});

test('K2: hold can stop one direction only', async () => {
  await using server = await echo();
  await using proxy = await TcpFaultProxy.open({ port: server.port });
  const socket = await client(proxy.port);
  proxy.hold('toClient');
  socket.write('one way');
  await proxy.until((p) => p.bytes('toServer') === 7);
  expect(proxy.bytes('toClient')).toBe(0);
  const response = once(socket, 'data');
  await proxy.resume();
  expect(String(await response)).toBe('one way');
  socket.destroy();
});

test('refuse rejects new connections and keeps open ones, until resume on the same port', async () => {
  await using server = await echo();
  await using proxy = await TcpFaultProxy.open({ port: server.port });
  const open = await client(proxy.port);
  await exchange(open, 'x');
  proxy.refuse();
  expect(await errorOf(connect({ host: '127.0.0.1', port: proxy.port }))).toBe('ECONNREFUSED');
  expect(await exchange(open, 'y')).toBe('y');
  await proxy.resume();
  const next = await client(proxy.port);
  expect(await exchange(next, 'z')).toBe('z');
  open.destroy();
  next.destroy();
});

test.for(['reset', 'end'] as const)(
  'cutAfter cuts a connection with %s after exactly this many bytes to the client',
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

test('cutAfter forwards no more bytes to the server', async () => {
  await using server = await echo();
  await using proxy = await TcpFaultProxy.open({ port: server.port });
  proxy.cutAfter({ direction: 'toServer', bytes: 3 });
  const socket = await client(proxy.port);
  socket.write('abcdef');
  await errorOf(socket);
  await server.untilClosed(1);
  expect(server.received()).toBe('abc');
});

test('resets the client when the server refuses the connection', async () => {
  await using proxy = await TcpFaultProxy.open({ port: 1 });
  const socket = connect({ host: '127.0.0.1', port: proxy.port });
  expect(await errorOf(socket)).toBe('ECONNRESET');
});

test('A1, A5: pg_dump through the proxy is complete, fails after a cut, and waits while held', async () => {
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
  const waiting = runTool(dump(stop.signal));
  await proxy.until((p) => p.bytes('toClient') > before + half / 2);
  proxy.hold();
  stop.abort();
  await expect(waiting).rejects.toMatchObject({ code: 'JOB_CANCELED' });
});
