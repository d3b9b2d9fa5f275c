import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { acceptCommand } from '@lastgood/protocol';
import { aStartCommand, ScriptedControl, temporaryFolder } from '@lastgood/testkit';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Journal } from '../src/journal/journal.ts';
import { backoffMs } from '../src/link/backoff.ts';
import { ControlClock } from '../src/link/control-clock.ts';
import { Link, type LinkParts } from '../src/link/link.ts';

const JOB = '01a20b1a-d025-7344-a564-47d7db15294a';
const DAY = 86_400_000;
let cleanup: AsyncDisposableStack;
let control: ScriptedControl;
let journal: Journal;
let link: Link;
let running: Promise<void>;
let controlClock: ControlClock;
/** What the link logged. */
let waits: { reason: string; waitMs: number }[];
let wall: number;
let minted = 0;

beforeEach(async () => {
  cleanup = new AsyncDisposableStack();
  control = cleanup.use(await ScriptedControl.open());
  const { path } = cleanup.use(await temporaryFolder());
  journal = cleanup.use(await Journal.open(join(path, 'journal.sqlite'), 0));
  [waits, wall] = [[], Date.now()];
});
afterEach(async () => {
  link.stop();
  await running;
  await cleanup.disposeAsync();
});

const eventFactory = () => ({
  now: wall,
  eventId: () => {
    minted += 1;
    return `event-${minted}`;
  },
});
function start(more: Partial<LinkParts> = {}): void {
  const clock = { now: () => wall, monotonic: () => performance.now() };
  controlClock = new ControlClock(clock);
  link = new Link({
    url: () => control.url,
    identity: () => ({ headers: () => ({}), signer: { keyId: 'ed25519:test' } }) as never,
    journal,
    refuse: () => null,
    progress: () => [],
    inventory: async () => ({
      ...{ targets: [], backups: [], removed: [], scanned: [], checks: [], hooks: [] },
      overtaken: () => new Set(),
    }),
    streams: () => [],
    clock,
    controlClock,
    random: () => 0,
    log: { info: () => undefined, error: () => undefined, warn: (fields: never) => void waits.push(fields) } as never,
    ...more,
    limits: { watchedMs: 10, ...more.limits },
  });
  running = link.run();
}
/** Puts a job into the journal whose events are to be reported. */
function acceptJob(): void {
  journal.update((ledger) => acceptCommand(ledger, aStartCommand(JOB), eventFactory(), () => null).ledger);
}

test('R14: nothing begins and no command is taken before the hello is answered', async () => {
  const answer = Promise.withResolvers<void>();
  const { hello } = control.answers;
  expect(hello).toBeUndefined();
  control.answers['hello'] = async () => {
    await answer.promise;
    delete control.answers['hello'];
    return {
      ...{ sessionId: 's', epoch: 1, incarnation: 'inc-1', protocol: 1, controlClock: wall, heartbeatMs: 15_000 },
      ...{ leaseMs: 90_000, spreadMs: 0, merged: null, reset: null },
    };
  };
  start();
  await expect.poll(() => control.count('hello')).toBe(1);
  expect([journal.ledger.reconciled, control.count('commands')]).toEqual([false, 0]);
  answer.resolve();
  await expect.poll(() => [journal.ledger.reconciled, control.count('commands')]).toEqual([true, 1]);
});

test('K5: a report that is never answered ends the session, and the next one brings the events', async () => {
  acceptJob();
  control.answers['report'] = () => undefined;
  start({ limits: { callMs: 200 } });
  await expect.poll(() => control.count('report')).toBe(1);
  delete control.answers['report'];
  await expect.poll(() => journal.ledger.outbox.length).toBe(0);
  expect(control.count('hello')).toBe(2);
});

test('K1: two heartbeats in a row without an answer end the session', async () => {
  control.heartbeatMs = 60;
  control.answers['heartbeat'] = () => undefined;
  start();
  await expect.poll(() => control.count('hello')).toBeGreaterThanOrEqual(2);
  const first = control.calls.findLastIndex(({ path }) => path === 'hello');
  expect(control.calls.slice(0, first).filter(({ path }) => path === 'heartbeat')).toHaveLength(2);
});

test('K1: one heartbeat without an answer, now and then, ends nothing', async () => {
  control.heartbeatMs = 60;
  control.answers['heartbeat'] = () =>
    control.count('heartbeat') % 2 === 1 ? undefined : { controlClock: wall, cancel: [] };
  start();
  await expect.poll(() => control.count('heartbeat')).toBeGreaterThanOrEqual(6);
  expect(control.count('hello')).toBe(1);
});

test('K6: agents that lose their control plane together come back at different times', async () => {
  for (const [tries, most] of [
    [1, 2_000],
    [4, 16_000],
    [30, 60_000],
  ] as const) {
    const random = [0, 0.25, 0.999];
    expect(random.map((chance) => backoffMs(tries, 0, false, () => chance))).toEqual(
      random.map((chance) => chance * most),
    );
  }
  expect([0, 0.5].map((chance) => backoffMs(0, 8_000, false, () => chance))).toEqual([0, 4_000]);
  const chances = [0, 0.37];
  control.answers['hello'] = () => undefined;
  start({ url: () => 'http://127.0.0.1:1', random: () => chances.shift() ?? 0.5 });
  await expect.poll(() => waits[0]?.waitMs).toBe(0.37 * 2_000);
});

test('J1: a stop while the hello is not answered yet ends the link at once', async () => {
  control.answers['hello'] = () => undefined;
  start();
  await expect.poll(() => control.count('hello')).toBe(1);
  link.stop();
  await running;
});

test('J1: a stop while nobody answers the dial ends the link at once', async () => {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => void sockets.add(socket.on('error', () => undefined)));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  start({ url: () => `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}` });
  await expect.poll(() => sockets.size).toBe(1);
  link.stop();
  await running;
  for (const socket of sockets) socket.destroy();
  server.close();
});

test('a dial that is refused is made again at once when what may mend it changed meanwhile', async () => {
  const sockets: Socket[] = [];
  const server = createServer((socket) => void sockets.push(socket.on('error', () => undefined)));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  start({ url: () => `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}` });
  await expect.poll(() => sockets.length).toBe(1);
  link.redial();
  sockets[0]?.end('HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n');
  await expect.poll(() => sockets.length).toBe(2);
  link.stop();
  await running;
  for (const socket of sockets) socket.destroy();
  server.close();
});

test('K6: a change while a session lives takes nothing from the jitter of the dial after it', async () => {
  control.heartbeatMs = 60;
  control.answers['heartbeat'] = () => undefined;
  start({ random: () => 0.9 });
  await expect.poll(() => journal.ledger.reconciled).toBe(true);
  link.redial();
  await expect.poll(() => waits[0]?.waitMs).toBe(0.9 * 2_000);
  await delay(300);
  expect(control.count('hello')).toBe(1);
});

test('D1: a jump of the clock of this host does not move what is known of the clock of the control plane', async () => {
  control.heartbeatMs = 60;
  start();
  await expect.poll(() => control.count('heartbeat')).toBeGreaterThanOrEqual(1);
  control.answers['heartbeat'] = () => undefined;
  wall += 40 * DAY;
  expect(Math.abs((controlClock.now ?? 0) - control.clock)).toBeLessThan(DAY);
});

test('D1: each heartbeat and each begin tells the clock of this host as it is now', async () => {
  control.heartbeatMs = 60;
  start();
  await expect.poll(() => control.last('heartbeat')?.['clock']).toBe(wall);
  wall += DAY;
  await expect.poll(() => control.last('heartbeat')?.['clock']).toBe(wall);
  expect(await link.requestGrant(JOB, 1, 'nonce')).toMatchObject({ granted: true });
  expect(control.last('requestGrant')?.['clock']).toBe(wall);
});
