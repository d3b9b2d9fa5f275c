/**
 * Control of a real server that shell scripts start in the background with a pid file. Tests that can force a condition use a manual
 * clock. Tests that wait for a real process have a short deadline only when they expect it to pass.
 */
import { existsSync } from 'node:fs';
import { chmod, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure, type ReadinessProbe } from '@lastgood/core';
import { freePort, temporaryFolder } from '@lastgood/testkit';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import {
  type CommandService,
  createServiceControl,
  DEFAULT_SERVICE_SETTINGS,
  type ManagedService,
} from '../src/index.ts';
import { ManualClock } from './manual-clock.ts';
import { pingProbe } from './ping-probe.ts';
import type { ServerMode } from './ping-server.ts';

const LONG_MS = 60_000;
const SHORT_MS = 1_500;
const never = new AbortController().signal;
const serverFile = new URL('ping-server.ts', import.meta.url).pathname;
const scripts = {
  // As with a careless script, the server stays in the process group of the script and inherits its output.
  start: (address: string) => `echo start >>calls
    '${process.execPath}' '${serverFile}' "$PWD" ${address} &
    echo $! >server.pid`,
  status: () => `pid=$(cat server.pid 2>/dev/null) || exit 3
    grep -q '^State:[[:space:]][^Z]' "/proc/$pid/status" 2>/dev/null || exit 3`,
  stop: () => `echo stop >>calls
    kill -TERM "$(cat server.pid)"
    while ./status; do sleep 0.02; done`,
};

let cleanup: AsyncDisposableStack;
let folder: string;
let address: string;
let isReady: ReadinessProbe;
let service: CommandService;
let control: ManagedService;

const file = (name: string): string => join(folder, name);
async function writeScript(name: string, body: string): Promise<void> {
  await writeFile(file(name), `#!/bin/sh\ncd "$(dirname "$0")" || exit 99\n${body}\n`);
  await chmod(file(name), 0o755);
}
const setMode = (mode: ServerMode): Promise<void> => writeFile(file('mode'), mode);
const calls = async (): Promise<string[]> =>
  (await readFile(file('calls'), 'utf8').catch(() => '')).split('\n').filter((line) => line !== '');
const limited = (deadlineMs = LONG_MS, signal = never) => ({ deadlineMs, signal, isReady });
const readPid = async (name: string): Promise<number> => Number(await readFile(file(name), 'utf8').catch(() => '0'));
async function isAlive(pid: number): Promise<boolean> {
  const text = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => undefined);
  return pid > 0 && text !== undefined && !/^State:\s+Z/m.test(text);
}
const untilExists = (name: string): Promise<void> =>
  vi.waitFor(() => expect(existsSync(file(name))).toBe(true), LONG_MS);

beforeEach(async () => {
  cleanup = new AsyncDisposableStack();
  folder = cleanup.use(await temporaryFolder()).path;
  cleanup.defer(async () => {
    const pid = await readPid('server.pid');
    if (await isAlive(pid)) process.kill(pid, 'SIGKILL');
  });
  address = String(await freePort());
  isReady = pingProbe(address);
  for (const [name, script] of Object.entries(scripts)) await writeScript(name, script(address));
  service = { kind: 'command', start: [file('start')], stop: [file('stop')], status: [file('status')] };
  control = createServiceControl(service);
});
afterEach(() => cleanup.disposeAsync());

test('starts a server that outlives the call, and reports it as up', async () => {
  expect(await control.state(never)).toBe('down');
  expect(await control.start(limited())).toEqual({ changed: true });
  expect(await control.state(never)).toBe('up');
  expect(await isReady(never)).toBe(true);
  expect(await isAlive(await readPid('server.pid'))).toBe(true);
});

test('I8: gives a server nothing of the environment of the agent', async () => {
  vi.stubEnv('LASTGOOD_TEST_SECRET', 'hunter2');
  cleanup.defer(() => void vi.unstubAllEnvs());
  await control.start(limited());
  const environment = JSON.parse(await readFile(file('environment.json'), 'utf8')) as Record<string, string>;
  expect(environment).toMatchObject({ LANG: 'C.UTF-8', PATH: expect.stringContaining('/usr/bin') });
  for (const name of ['LASTGOOD_TEST_SECRET', 'LC_ALL', 'VITEST']) expect(environment).not.toHaveProperty(name);
});

test('does not start a server that is up', async () => {
  await control.start(limited());
  expect(await control.start(limited())).toEqual({ changed: false });
  expect(await calls()).toEqual(['start']);
});

test('stops a server and waits until it is gone', async () => {
  await control.start(limited());
  const pid = await readPid('server.pid');
  expect(await control.stop(limited())).toEqual({ changed: true, ended: 'unreported' });
  expect(await isAlive(pid)).toBe(false);
  expect(await control.state(never)).toBe('down');
});

test('does not stop a server that is down', async () => {
  expect(await control.stop(limited())).toEqual({ changed: false, ended: 'unreported' });
  expect(await calls()).toEqual([]);
});

test('waits for a server that ends long after the stop command has returned', async () => {
  await writeScript('stop', 'kill -TERM "$(cat server.pid)"; echo x >returned');
  await setMode('lingers');
  await control.start(limited());
  let stopped = false;
  const stopping = control.stop(limited()).finally(() => {
    stopped = true;
  });
  await Promise.all([untilExists('returned'), untilExists('stopping')]);
  await control.waitUntilUp(limited());
  expect(stopped).toBe(false);
  await writeFile(file('release'), '');
  expect(await stopping).toEqual({ changed: true, ended: 'unreported' });
  expect(await isAlive(await readPid('server.pid'))).toBe(false);
});

test('kills a stop command that hangs at the deadline, and leaves the server running', async () => {
  await writeScript('stop', `echo $$ >stop.pid; exec sleep infinity`);
  await control.start(limited());
  await expect(control.stop(limited(SHORT_MS))).rejects.toMatchObject({
    code: 'SERVICE_TIMEOUT',
    message: expect.stringContaining('stop command'),
  });
  expect(await isAlive(await readPid('stop.pid'))).toBe(false);
  expect(await control.state(never)).toBe('up');
});

test('fails at the deadline when a server ignores its stop command', async () => {
  await writeScript('stop', 'kill -TERM "$(cat server.pid)"');
  await setMode('deaf');
  await control.start(limited());
  const clock = new ManualClock();
  const manual = createServiceControl(service, { ...DEFAULT_SERVICE_SETTINGS, clock });
  await expect(manual.stop(limited(3_000))).rejects.toMatchObject({
    code: 'SERVICE_TIMEOUT',
    message: expect.stringMatching(/was not down within the deadline: up, running .*accepts requests/),
  });
  expect(clock.monotonic()).toBe(3_000);
});

test('fails at the deadline when a server starts and never becomes ready', async () => {
  await setMode('mute');
  await expect(control.start(limited(SHORT_MS))).rejects.toMatchObject({
    code: 'SERVICE_TIMEOUT',
    message: expect.stringContaining('it is not known whether the server accepts requests'),
  });
  expect(await isAlive(await readPid('server.pid'))).toBe(true);
});

test('bounds a probe that ignores its signal', async () => {
  isReady = () => new Promise(() => undefined);
  await expect(control.start(limited(SHORT_MS))).rejects.toMatchObject({
    code: 'SERVICE_TIMEOUT',
    message: expect.stringContaining('the readiness probe did not return'),
  });
});

test('I8: reports the exit status of a failed start, not its output', async () => {
  await writeScript('start', `echo 'password=hunter2' >&2; exit 7`);
  const failure = await control.start(limited()).catch((error: unknown) => error);
  expect(failure).toMatchObject({ code: 'SERVICE_FAILED', message: expect.stringContaining('exit status 7') });
  expect(failure).toBeInstanceOf(Failure);
  expect(JSON.stringify(failure instanceof Failure ? failure.wireError : '')).not.toContain('hunter2');
});

test('kills a start command that hangs at the deadline', async () => {
  await writeScript('start', `echo $$ >start.pid; exec sleep infinity`);
  await expect(control.start(limited(SHORT_MS))).rejects.toMatchObject({
    code: 'SERVICE_TIMEOUT',
    message: expect.stringContaining('start command'),
  });
  expect(await isAlive(await readPid('start.pid'))).toBe(false);
});

test('reports a start command that a signal ends', async () => {
  await writeScript('start', 'kill -KILL $$');
  await expect(control.start(limited())).rejects.toMatchObject({
    code: 'SERVICE_FAILED',
    message: expect.stringContaining('did not end normally'),
  });
});

test('trusts the state more than the exit status of a start or stop command', async () => {
  await writeScript('start', `${scripts.start(address)}; until [ -f serving ]; do sleep 0.02; done; exit 1`);
  const starting = control.start(limited());
  await vi.waitFor(async () => expect(await isReady(never)).toBe(true), LONG_MS);
  await writeFile(file('serving'), '');
  expect(await starting).toEqual({ changed: true });
  await writeScript('stop', `${scripts.stop()}; exit 1`);
  expect(await control.stop(limited())).toMatchObject({ changed: true });
});

test('reports a stop command that fails and stops nothing', async () => {
  await writeScript('stop', 'exit 5');
  await control.start(limited());
  await expect(control.stop(limited())).rejects.toMatchObject({
    code: 'SERVICE_FAILED',
    message: expect.stringContaining('exit status 5'),
  });
});

test('fails when the server has ended before the start command returns', async () => {
  await setMode('crashes');
  await writeScript('start', `${scripts.start(address)}; wait`);
  const clock = new ManualClock();
  const manual = createServiceControl(service, { ...DEFAULT_SERVICE_SETTINGS, clock });
  await expect(manual.start(limited(600_000))).rejects.toMatchObject({
    code: 'SERVICE_FAILED',
    message: expect.stringContaining('ended after its start: down, stopped'),
  });
  expect(clock.monotonic()).toBeGreaterThanOrEqual(10_000);
  expect(clock.monotonic()).toBeLessThan(12_000);
});

test('fails at once when a server that was up ends before it becomes ready', async () => {
  await setMode('mute');
  let probes = 0;
  isReady = async () => {
    probes += 1;
    // The third probe follows a report that the server is up: only its end can come next.
    if (probes === 3) process.kill(await readPid('server.pid'), 'SIGKILL');
    return false;
  };
  await expect(control.start(limited())).rejects.toMatchObject({ code: 'SERVICE_FAILED' });
  expect(probes).toBeLessThan(10);
});

test('waits no longer when the signal aborts, and leaves the server as it is', async () => {
  await setMode('mute');
  const stop = new AbortController();
  const starting = control.start(limited(LONG_MS, stop.signal));
  await untilExists('environment.json');
  stop.abort();
  await expect(starting).rejects.toMatchObject({ code: 'JOB_CANCELED' });
  expect(await isAlive(await readPid('server.pid'))).toBe(true);
});

test('kills a stop command when the signal aborts, and fails with the reason', async () => {
  await writeScript('stop', `echo $$ >stop.pid; exec sleep infinity`);
  await control.start(limited());
  const stop = new AbortController();
  const stopping = control.stop(limited(LONG_MS, stop.signal));
  await untilExists('stop.pid');
  const reason = new Failure('JOB_DEADLINE', 'the job took too long');
  stop.abort(reason);
  await expect(stopping).rejects.toBe(reason);
  expect(await isAlive(await readPid('stop.pid'))).toBe(false);
});

test('does nothing when the signal has aborted already', async () => {
  await expect(control.start(limited(LONG_MS, AbortSignal.abort()))).rejects.toMatchObject({ code: 'JOB_CANCELED' });
  expect(await calls()).toEqual([]);
});

test('B16: refuses a command that others can write, and runs nothing', async () => {
  await control.start(limited());
  await chmod(file('stop'), 0o777);
  await expect(control.stop(limited())).rejects.toMatchObject({
    code: 'DATA_FOLDER_UNSAFE',
    message: `cannot run the stop command ${file('stop')}: ${file('stop')} is writable by other users`,
    remedy: expect.stringContaining(`Give ${file('stop')} to root`),
  });
  expect(await calls()).toEqual(['start']);
  await chmod(file('status'), 0o757);
  await expect(control.state(never)).rejects.toMatchObject({ code: 'DATA_FOLDER_UNSAFE' });
});

test('does not stop a server whose start command cannot be run', async () => {
  await control.start(limited());
  await chmod(file('start'), 0o777);
  await expect(control.stop(limited())).rejects.toMatchObject({ code: 'DATA_FOLDER_UNSAFE' });
  await rm(file('start'));
  await expect(control.stop(limited())).rejects.toMatchObject({ code: 'SERVICE_NOT_FOUND' });
  expect(await control.state(never)).toBe('up');
});

test('names a command that does not exist', async () => {
  await rm(file('start'));
  await expect(control.start(limited())).rejects.toMatchObject({
    code: 'SERVICE_NOT_FOUND',
    message: expect.stringContaining(`${file('start')} does not exist`),
  });
});

for (const [what, status] of [
  ['that breaks', 'exit 1'],
  ['that a signal ends', 'kill -KILL $$'],
] as const)
  test(`does not stop a server whose state is unknown, after a status command ${what}`, async () => {
    await writeScript('status', status);
    expect(await control.state(never)).toBe('unknown');
    await expect(control.stop(limited())).rejects.toMatchObject({
      code: 'SERVICE_FAILED',
      message: expect.stringMatching(/it was not stopped: unknown, no-report/),
    });
    expect(await calls()).toEqual([]);
  });

test('starts a server whose state is unknown, and does not report it as up', async () => {
  await writeScript('status', 'exit 1');
  await expect(control.start(limited(SHORT_MS))).rejects.toMatchObject({
    code: 'SERVICE_TIMEOUT',
    message: expect.stringContaining('unknown, no-report (exitStatus=1)'),
  });
  expect(await calls()).toEqual(['start']);
});

test('does not report a server as down while another one serves in its place', async () => {
  await control.start(limited());
  await writeScript('status', 'exit 3');
  const manual = createServiceControl(service, { ...DEFAULT_SERVICE_SETTINGS, clock: new ManualClock() });
  await expect(manual.stop(limited(2_000))).rejects.toMatchObject({
    code: 'SERVICE_TIMEOUT',
    message: expect.stringContaining('down, stopped (exitStatus=3); the server accepts requests'),
    remedy: expect.stringContaining('Find the process that serves'),
  });
});

test('does not report a server as down while the probe fails', async () => {
  isReady = () => Promise.reject(new Failure('DATABASE_REFUSED', 'wrong password'));
  const manual = createServiceControl(service, { ...DEFAULT_SERVICE_SETTINGS, clock: new ManualClock() });
  await expect(manual.stop(limited(2_000))).rejects.toMatchObject({
    code: 'SERVICE_TIMEOUT',
    message: expect.stringContaining('wrong password'),
    cause: expect.objectContaining({ code: 'DATABASE_REFUSED' }),
  });
});

test('passes on a defect of the probe', async () => {
  isReady = () => Promise.reject(new TypeError('not a function'));
  await expect(control.stop(limited())).rejects.toThrow(TypeError);
});

test('waits for a start and a stop by another process', async () => {
  const up = control.waitUntilUp(limited());
  await createServiceControl(service).start(limited());
  await up;
  const down = control.waitUntilDown(limited());
  await createServiceControl(service).stop(limited());
  await down;
  const manual = createServiceControl(service, { ...DEFAULT_SERVICE_SETTINGS, clock: new ManualClock() });
  await expect(manual.waitUntilUp(limited(1_000))).rejects.toMatchObject({ code: 'SERVICE_TIMEOUT' });
});
