import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer, type Server as HttpServer } from 'node:http';
import { createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { startPostgres, temporaryFolder, waitFor } from '@lastgood/testkit';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { WebSocketServer } from 'ws';
import { Fleet } from '../../support/fleet.ts';

const forever = new AbortController().signal;
const cleanup = new AsyncDisposableStack();
let fleet: Fleet;

beforeAll(async () => {
  const server = cleanup.use(await startPostgres());
  const { path } = cleanup.use(await temporaryFolder());
  fleet = cleanup.use(await Fleet.start(path, server.connection));
});
afterAll(() => cleanup.disposeAsync());
beforeEach(() => fleet.killAgent());

async function listening(server: Server | HttpServer): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new TypeError('no port');
  return address.port;
}
/** Starts the enrolled agent with another server in place of its control plane. */
async function startAgentAgainst(port: number): Promise<void> {
  const config = JSON.parse(await readFile(fleet.configFile, 'utf8'));
  config.control.url = `http://127.0.0.1:${port}`;
  await writeFile(fleet.configFile, JSON.stringify(config), { mode: 0o600 });
  await fleet.startAgent();
}
const failedAttempts = (): { reason: string; waitMs: number }[] =>
  fleet.agentLog
    .split('\n')
    .filter((line) => line.includes('no connection to the control plane'))
    .map((line) => JSON.parse(line));
async function untilAttempts(count: number): Promise<{ reason: string; waitMs: number }[]> {
  return await waitFor(`${count} attempts`, 20_000, forever, async () =>
    failedAttempts().length >= count ? failedAttempts() : undefined,
  );
}

test('reconnects to a server that accepts connections and never responds', async () => {
  const sockets = new Set<Socket>();
  const server = createTcpServer((socket) => void sockets.add(socket.on('error', () => undefined)));
  try {
    await startAgentAgainst(await listening(server));
    await untilAttempts(1);
    await waitFor('a second attempt', 60_000, forever, async () => (sockets.size > 1 ? true : undefined));
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
});

test('retries when a proxy returns its own page', async () => {
  const server = createServer((_request, response) => response.end('<html>sign in</html>'));
  try {
    await startAgentAgainst(await listening(server));
    const [first] = await untilAttempts(2);
    expect(first?.reason).toContain('refused with 200');
    expect(first?.waitMs).toBeLessThanOrEqual(60_000);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test.for([
  ['a page', '<html>busy</html>'],
  ['bytes', Buffer.from([0, 255, 1, 2])],
  ['a number', '42'],
  ['null', 'null'],
  ['a response to an unknown call', '{"id":99,"result":{"type":"data","data":1}}'],
  ['a frame above the limit', 'x'.repeat(300_000)],
  ['an empty frame', ''],
  ['deep nesting', '['.repeat(50_000)],
] as const)('keeps running when a server sends %s after the upgrade', async ([, frame]) => {
  const server = createServer();
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (socket) => {
    socket.on('error', () => undefined);
    socket.on('message', () => {
      socket.send(frame);
      // Such a server does not respond to the hello. It closes the connection later.
      setTimeout(() => socket.close(), 100);
    });
  });
  try {
    await startAgentAgainst(await listening(server));
    const [first] = await untilAttempts(1);
    expect(first?.waitMs).toBeLessThanOrEqual(60_000);
    process.kill(fleet.agentPid, 0);
  } finally {
    for (const socket of sockets.clients) socket.terminate();
    server.closeAllConnections();
    server.close();
  }
});

test.for([401, 403, 426])('K10: waits at least five minutes before it retries after status %i', async (status) => {
  const server = createServer((_request, response) =>
    response.writeHead(status, { 'x-reason': status === 426 ? 'protocol' : 'unknown' }).end(),
  );
  try {
    await startAgentAgainst(await listening(server));
    const [first] = await untilAttempts(1);
    expect(first?.reason).toContain(`refused with ${status}`);
    expect(first?.waitMs).toBeGreaterThanOrEqual(5 * 60_000);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

/** A newer control plane: accepts every call and sends commands that this version does not know. */
function serveNewerControl(
  server: HttpServer,
  commands: readonly object[],
): { calls: { path: string; input: unknown }[] } {
  const calls: { path: string; input: unknown }[] = [];
  const now = Date.now();
  const hello = {
    sessionId: 's',
    epoch: 1,
    incarnation: 'newer',
    protocol: 1,
    controlClock: now,
    heartbeatMs: 15_000,
  };
  new WebSocketServer({ server }).on('connection', (socket) =>
    socket.on('message', (data) => {
      for (const { id, params } of [JSON.parse(String(data))].flat()) {
        if (params === undefined) continue;
        calls.push({ path: params.path, input: params.input });
        const respond = (result: object): void => socket.send(JSON.stringify({ id, result }));
        if (params.path === 'commands') {
          respond({ type: 'started' });
          for (const command of commands) respond({ type: 'data', data: command });
        } else if (params.path === 'hello')
          respond({
            type: 'data',
            data: { ...hello, leaseMs: 90_000, spreadMs: 0, merged: { baseSeq: 0 }, reset: null },
          });
        else if (params.path === 'report') {
          const acceptedIds = params.input.events.map((event: { id: string }) => event.id);
          respond({ type: 'data', data: { acceptedIds } });
        } else respond({ type: 'data', data: { controlClock: now, cancel: [] } });
      }
    }),
  );
  return { calls };
}

test('K10: acknowledges unknown commands and rejects unknown jobs with COMMAND_UNSUPPORTED', async () => {
  const jobId = '01a20b1a-d025-7344-a564-47d7db15294a';
  const times = { startBy: Date.now() + 3_600_000, deadlineMs: 1_000 };
  const server = createServer();
  const { calls } = serveNewerControl(server, [
    { seq: 1, type: 'sched.set', rev: 12 },
    {
      seq: 2,
      type: 'job.start',
      jobId,
      attempt: 1,
      spec: { command: 'teleport', target: 'shop', destination: 'mars' },
      ...times,
    },
    {
      seq: 3,
      type: 'job.start',
      jobId: jobId.replace('01', '02'),
      attempt: 1,
      spec: { command: 'backup', target: 'shop', kind: 'physical' },
      ...times,
    },
  ]);
  try {
    await startAgentAgainst(await listening(server));
    await waitFor('the acknowledgement', 60_000, forever, async () =>
      calls.some(({ path, input }) => path === 'ack' && (input as { upToSeq: number }).upToSeq === 3)
        ? true
        : undefined,
    );
    const events = await waitFor('both reports', 60_000, forever, async () => {
      const events = calls.flatMap(({ path, input }) =>
        path === 'report' ? (input as { events: { type: string; error: { code: string } }[] }).events : [],
      );
      return events.length >= 2 ? events : undefined;
    });
    expect(events.map(({ type, error }) => [type, error.code])).toEqual([
      ['rejected', 'COMMAND_UNSUPPORTED'],
      ['rejected', 'COMMAND_UNSUPPORTED'],
    ]);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test('an agent that starts before its control plane connects once that is up', async () => {
  await fleet.killControl();
  await startAgentAgainst(Number(new URL(fleet.url).port));
  await untilAttempts(1);
  await fleet.startControl();
  await fleet.untilOnline();
});
