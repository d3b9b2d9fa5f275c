import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { waitFor } from '@lastgood/testkit';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type FreezeState, freezeStateSchema, freezeWhile, thawServer } from '../src/neo4j/index.ts';
import {
  identifyProcess,
  isSameProcess,
  type ProcessIdentity,
  readExecutionState,
} from '../src/neo4j/process-identity.ts';
import { codeOf, never } from './support/neo4j-lab.ts';

const WAIT_MS = 30_000;
const CHILD = join(import.meta.dirname, 'support', 'neo4j-freeze-child.ts');
const root = process.getuid?.() === 0;

let process_: ChildProcess;
let server: ProcessIdentity;
const started: ChildProcess[] = [];

/** A process with several threads that is never idle for long. */
beforeEach(async () => {
  process_ = start(['-e', 'setInterval(() => undefined, 5)']);
  server = await identify(process_);
});
afterEach(() => {
  for (const child of started.splice(0)) child.kill('SIGKILL');
});

function start(args: string[], program: string[] = [process.execPath]): ChildProcess {
  const [file = '', ...before] = program;
  const child = spawn(file, [...before, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  started.push(child);
  return child;
}
async function identify(child: ChildProcess): Promise<ProcessIdentity> {
  const found = await identifyProcess(child.pid ?? 0);
  if (found === null) throw new TypeError('the process ended');
  return found;
}
const isStopped = async (): Promise<boolean | undefined> => (await readExecutionState(server))?.isStopped;
const untilStopped = (stopped: boolean): Promise<true> =>
  waitFor(stopped ? 'a stopped process' : 'a running process', WAIT_MS, never, async () =>
    (await isStopped()) === stopped ? true : undefined,
  );
const untilGone = (identity: ProcessIdentity): Promise<true> =>
  waitFor('the end of a process', WAIT_MS, never, async () => ((await isSameProcess(identity)) ? undefined : true));

interface Agent {
  readonly child: ChildProcess;
  readonly state: FreezeState;
}
/** A process of its own that has frozen the server. */
async function startAgent(maxPauseMs: number, program?: string[]): Promise<Agent> {
  const child = start([CHILD, String(server.pid), String(maxPauseMs)], program);
  let output = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  await waitFor('the frozen server', WAIT_MS, never, async () => (output.includes('\nfrozen\n') ? true : undefined));
  return { child, state: freezeStateSchema.parse(JSON.parse(output.split('\n')[0] ?? '')) };
}
const freeze = <T>(work: (signal: AbortSignal) => Promise<T>, maxPauseMs = 60_000, signal = never) => {
  let state: FreezeState | undefined;
  const onArmed = async (armed: FreezeState): Promise<void> => {
    state = armed;
  };
  return { frozen: freezeWhile(server, { maxPauseMs, signal, onArmed }, work), state: () => state };
};

test('the server stands still during the work and runs again afterwards, without a watchdog left', async () => {
  const { frozen, state } = freeze(async () => {
    const before = await readExecutionState(server);
    await delay(200);
    expect(await readExecutionState(server)).toEqual(before);
    return before?.isStopped;
  });
  const { result, pauseMs } = await frozen;
  expect(result).toBe(true);
  expect(pauseMs).toBeGreaterThan(200);
  expect(await isStopped()).toBe(false);
  await untilGone(state()?.watchdog ?? server);
});

test('a killed agent leaves a running server', async () => {
  const { child, state } = await startAgent(600_000);
  expect(await isStopped()).toBe(true);
  child.kill('SIGKILL');
  await untilStopped(false);
  await untilGone(state.watchdog);
});

test('an agent that hangs leaves a running server when the pause is over', async () => {
  const began = performance.now();
  const { child, state } = await startAgent(1_500);
  child.kill('SIGSTOP');
  await untilStopped(false);
  expect(performance.now() - began).toBeGreaterThan(1_500);
  await untilGone(state.watchdog);
});

test('when agent and watchdog are killed, the recorded state continues the server, as often as it is used', async () => {
  const { child, state } = await startAgent(600_000);
  process.kill(state.watchdog.pid, 'SIGKILL');
  await untilGone(state.watchdog);
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(await isStopped()).toBe(true);
  await thawServer(state);
  await untilStopped(false);
  await thawServer(state);
  expect(await isStopped()).toBe(false);
});

test('a watchdog that is asked to end continues the server first', async () => {
  const { state } = await startAgent(600_000);
  process.kill(state.watchdog.pid, 'SIGTERM');
  await untilStopped(false);
  await untilGone(state.watchdog);
});

test('work that takes longer than the pause fails, and the server runs', async () => {
  const { frozen } = freeze((signal) => once(signal, 'abort').then(() => signal.throwIfAborted()), 300);
  expect(await codeOf(frozen)).toBe('TOOL_FAILED');
  await untilStopped(false);
});

test('work is not believed when the server ran meanwhile', async () => {
  const { frozen } = freeze(async () => {
    process.kill(server.pid, 'SIGCONT');
    await untilStopped(false);
    process.kill(server.pid, 'SIGSTOP');
    await untilStopped(true);
  });
  expect(await codeOf(frozen)).toBe('TOOL_FAILED');
  await untilStopped(false);
});

test('a failure of the work, a canceled job and a journal that cannot be written leave a running server', async () => {
  const reason = new Error('the copy failed');
  await expect(freeze(() => Promise.reject(reason)).frozen).rejects.toBe(reason);
  await untilStopped(false);

  const abort = new AbortController();
  const canceled = freeze(
    async (signal) => {
      abort.abort(reason);
      signal.throwIfAborted();
    },
    60_000,
    abort.signal,
  );
  await expect(canceled.frozen).rejects.toBe(reason);
  await untilStopped(false);

  const unwritten = freezeWhile(
    server,
    { maxPauseMs: 60_000, signal: never, onArmed: () => Promise.reject(reason) },
    async () => expect.fail('the server was frozen without a record'),
  );
  await expect(unwritten).rejects.toBe(reason);
  expect(await isStopped()).toBe(false);
});

test('a server that has ended, or whose process id belongs to another process now, is not signaled', async () => {
  const other = { pid: server.pid, startTime: '1' };
  const options = { maxPauseMs: 60_000, signal: never, onArmed: async () => undefined };
  expect(await codeOf(freezeWhile(other, options, async () => undefined))).toBe('DATABASE_UNREACHABLE');
  expect(await isStopped()).toBe(false);
  process.kill(server.pid, 'SIGSTOP');
  await untilStopped(true);
  await thawServer({ server: other, watchdog: other });
  expect(await isStopped()).toBe(true);
  process_.kill('SIGKILL');
  await untilGone(server);
  expect(await codeOf(freezeWhile(server, options, async () => undefined))).toBe('DATABASE_UNREACHABLE');
});

test('a server that somebody else has stopped is refused and stays stopped', async () => {
  process.kill(server.pid, 'SIGSTOP');
  await untilStopped(true);
  expect(await codeOf(freeze(async () => undefined).frozen)).toBe('DATABASE_UNREACHABLE');
  expect(await isStopped()).toBe(true);
});

test.skipIf(!root)(
  `an agent without the right to signal the server is refused${root ? '' : ' (needs root)'}`,
  async () => {
    const unprivileged = ['/usr/bin/setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', process.execPath];
    const child = start([CHILD, String(server.pid), '60000'], unprivileged);
    const [output] = await once(child.stdout?.setEncoding('utf8') ?? child, 'data');
    expect(String(output)).toContain('"watchdog"');
    const [code] = await once(child, 'exit');
    expect(code).toBe(3);
    expect(await isStopped()).toBe(false);
  },
);
