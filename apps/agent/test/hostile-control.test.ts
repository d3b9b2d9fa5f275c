import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { sizeOf } from '@lastgood/protocol';
import {
  aStartCommand,
  type Mutation,
  mutationsOf,
  root,
  ScriptedControl,
  temporaryFolder,
  waitFor,
} from '@lastgood/testkit';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Journal } from '../src/journal/journal.ts';
import { backoffMs } from '../src/link/backoff.ts';
import { ControlClock } from '../src/link/control-clock.ts';
import { Link } from '../src/link/link.ts';

type Messages = Record<string, unknown> & { commands: Record<string, unknown>[] };
const goldenFile = join(root, 'packages/protocol/test/golden/version-1.json');
const golden: Messages = JSON.parse(readFileSync(goldenFile, 'utf8'));
const forever = new AbortController().signal;
const JOB = '01a20b1a-d025-7344-a564-47d7db15294a';

let cleanup: AsyncDisposableStack;
let control: ScriptedControl;
let journal: Journal;
let file: string;
let link: Link;
let running: Promise<void>;
/** The times with which the agent signed its dials. */
let signed: number[];

beforeEach(async () => {
  cleanup = new AsyncDisposableStack();
  control = cleanup.use(await ScriptedControl.open());
  file = join(cleanup.use(await temporaryFolder()).path, 'journal.sqlite');
  journal = cleanup.use(await Journal.open(file, 0));
  signed = [];
});
afterEach(async () => {
  link.stop();
  await running;
  await cleanup.disposeAsync();
});

/** An agent that dials again at once after each session. */
function startLink(): void {
  const clock = { now: () => Date.now(), monotonic: () => performance.now() };
  link = new Link({
    url: () => control.url,
    identity: () =>
      ({
        headers: (now: number) => {
          signed.push(now);
          return {};
        },
        signer: { keyId: 'ed25519:test' },
      }) as never,
    journal,
    refuse: () => null,
    progress: () => [],
    inventory: async () => ({
      ...{ targets: [], backups: [], removed: [], scanned: [], checks: [], hooks: [] },
      overtaken: () => new Set(),
    }),
    streams: () => [],
    clock,
    controlClock: new ControlClock(clock),
    // Of every wait that an agent should accept, this is nothing.
    random: () => 1e-9,
    log: { info: () => undefined, error: () => undefined, warn: () => undefined } as never,
    limits: { watchedMs: 5 },
  });
  running = link.run();
}
async function until(what: string, holds: () => boolean): Promise<void> {
  await waitFor(what, 60_000, forever, async () => (holds() ? true : undefined));
}

/** The right control plane is back: its job is journaled and reported, and the journal can be read again. */
async function expectRecovery(): Promise<void> {
  control.answers = {};
  control.frames = (frame) => [JSON.stringify(frame)];
  const lastSeq = Math.min(journal.ledger.lastSeq, 1_000_000);
  control.answers['hello'] = () => ({
    ...(golden['helloAnswer'] as object),
    incarnation: 'right',
    controlClock: Date.now(),
    spreadMs: 0,
    merged: { baseSeq: lastSeq },
    reset: null,
  });
  control.subscribed = (channel) => channel.send(aStartCommand(JOB, { seq: lastSeq + 1 }));
  link.redial();
  control.cutAll();
  await until('the job', () => journal.ledger.jobs.has(`${JOB}#1`));
  await until('the report', () => journal.ledger.outbox.length === 0);
  expect(journal.ledger.incarnation).toBe('right');
  expect(signed.filter((time) => !(time >= 0 && time < Date.UTC(2100)))).toEqual([]);
  using again = await Journal.open(join(file, '..', 'copy.sqlite'), 0);
  again.update(() => journal.ledger);
  expect(again.damaged).toBeUndefined();
}

/** Sends each mutation as the answer to one call. */
function answerWith(path: string, mutations: readonly Mutation[]): { left: () => number } {
  const queue = [...mutations];
  control.answers[path] = () => queue.shift()?.value ?? null;
  return { left: () => queue.length };
}

test('attack-B1, attack-B2: whatever a hello answer holds, the right control plane can give jobs afterwards', async () => {
  const { left } = answerWith('hello', mutationsOf(golden['helloAnswer']));
  control.subscribed = (channel) => channel.cut();
  startLink();
  await until('all answers', () => left() === 0);
  await expectRecovery();
});

test.for([
  ['requestGrant', 'requestGrantAnswer'],
  ['report', 'reportAnswer'],
  ['heartbeat', 'heartbeatAnswer'],
] as const)(
  'attack-B1: whatever the answer to %s holds, the right control plane can give jobs afterwards',
  async ([path, message]) => {
    control.heartbeatMs = 10;
    const { left } = answerWith(path, mutationsOf(golden[message]));
    startLink();
    let asked = 0;
    await until('all answers', () => {
      asked += 1;
      if (path === 'requestGrant') link.requestGrant(JOB, asked, 'nonce').catch(() => undefined);
      if (path === 'report' && journal.ledger.outbox.length === 0)
        journal.update((ledger) => ({ ...ledger, outbox: [anEvent(asked)] }));
      return left() === 0;
    });
    await expectRecovery();
  },
);

const anEvent = (number: number) =>
  ({ ...(golden['reportInput'] as { events: object[] }).events[0], id: `event-${number}` }) as never;

test.for(golden.commands.map((command, index) => [String(command['type']), index] as const))(
  'attack-B1, attack-B7: whatever command %s (%i) holds, the right control plane can give jobs afterwards',
  async ([, index]) => {
    const command = golden.commands[index] ?? {};
    const queue = mutationsOf(command);
    control.subscribed = (channel) => {
      const next = queue.shift()?.value;
      if (next === undefined) return;
      const seq = journal.ledger.lastSeq + 1;
      const isObject = typeof next === 'object' && next !== null && !Array.isArray(next);
      channel.send(isObject && 'seq' in next && next['seq'] === command['seq'] ? { ...next, seq } : next);
    };
    control.answers['ack'] = () => {
      control.cutAll();
      return undefined;
    };
    startLink();
    await until('all commands', () => queue.length === 0);
    await expectRecovery();
    for (const job of journal.ledger.jobs.values()) expect(sizeOf(job)).toBeLessThan(40_000);
  },
);

test('attack-B1: whatever frame a server sends, the right control plane can give jobs afterwards', async () => {
  const shapes = [
    { id: 0, result: { type: 'data', data: {} } },
    { id: 0, error: { code: -32600, message: 'BAD_REQUEST', data: { code: 'BAD_REQUEST', httpStatus: 400 } } },
    { id: 0, method: 'reconnect' },
    { method: 'reconnect' },
    { id: 0 },
    { id: 7, result: { type: 'data', data: {} } },
    { id: 0, result: { type: 'started' } },
  ];
  const queue = shapes.flatMap((shape) => mutationsOf(shape));
  control.frames = ({ id }) => {
    const next = queue.shift()?.value;
    const isCall = typeof next === 'object' && next !== null && 'id' in next && next['id'] === 0;
    const text = JSON.stringify(isCall ? { ...next, id } : (next ?? null));
    // Twice: the second is an answer to a call that was answered.
    return [text, text];
  };
  startLink();
  await until('all frames', () => queue.length === 0);
  await expectRecovery();
});

test('attack-B8: no server keeps an agent waiting for more than 15 minutes', () => {
  for (const refused of [true, false])
    for (const tries of [0, 1, 100])
      expect(backoffMs(tries, 2 ** 31 - 1, refused, () => 1)).toBeLessThanOrEqual(15 * 60_000);
});

test('attack-B2: a journal of values that no reducer expects is put aside, and the next one works', async () => {
  startLink();
  await until('the session', () => journal.ledger.reconciled);
  const poisoned = join(file, '..', 'poisoned.sqlite');
  {
    using other = await Journal.open(poisoned, 0);
    expect(() => other.update((ledger) => ({ ...ledger, lastSeq: 1.5 }))).toThrow('the journal does not store lastSeq');
    other.remember('lastSeq', '1e300');
  }
  using again = await Journal.open(poisoned, 7);
  expect(again.damaged).toBe(`${poisoned}.damaged-7`);
  expect(again.ledger.lastSeq).toBe(0);
});
