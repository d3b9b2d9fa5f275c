/**
 * Decisions about systemd units, tested with a fake executable `systemctl`: most test machines do not run systemd as process 1, and some
 * states last only milliseconds. The reports of the fake were recorded from systemd 252. real-systemd.test.ts runs the same operations
 * with a real systemd where possible.
 */
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import { temporaryFolder } from '@lastgood/testkit';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createServiceControl, type ManagedService } from '../src/index.ts';
import {
  FAILED,
  FakeSystemctl,
  MASKED,
  NOT_FOUND,
  RESTARTING,
  RUNNING,
  STARTING,
  STOPPED,
  STOPPING,
  type UnitState,
} from './fake-systemctl.ts';
import { ManualClock } from './manual-clock.ts';

const HOUR_MS = 3_600_000;
const never = new AbortController().signal;
const root = process.getuid?.() === 0;
const START = '--no-pager --no-ask-password --no-block start -- db.service';
const STOP = '--no-pager --no-ask-password --no-block stop -- db.service';
const RESET = '--no-pager --no-ask-password --no-block reset-failed -- db.service';

let cleanup: AsyncDisposableStack;
let clock: ManualClock;
let systemctl: FakeSystemctl;
let control: ManagedService;

async function given(...states: readonly UnitState[]): Promise<void> {
  const { path } = cleanup.use(await temporaryFolder());
  systemctl = await FakeSystemctl.create(join(path, 'fake'), ...states);
  control = createServiceControl({ kind: 'systemd', unit: 'db.service' }, { clock, systemctlPath: systemctl.path });
}
/** A server that serves while its unit is active. */
const isReady = (): Promise<boolean> => systemctl.serves();
const limited = (deadlineMs = HOUR_MS) => ({ deadlineMs, signal: never, isReady });

beforeEach(() => {
  cleanup = new AsyncDisposableStack();
  clock = new ManualClock();
});
afterEach(() => cleanup.disposeAsync());

for (const [what, unit, state, cause] of [
  ['running', RUNNING, 'up', 'running'],
  ['reloading', { ...RUNNING, ActiveState: 'reloading', SubState: 'reload' }, 'up', 'running'],
  ['stopped', STOPPED, 'down', 'stopped'],
  ['failed', FAILED, 'down', 'failed'],
  ['masked', MASKED, 'down', 'stopped'],
  ['starting', STARTING, 'unknown', 'starting'],
  ['stopping', STOPPING, 'unknown', 'stopping'],
  ['waiting for its automatic restart', RESTARTING, 'unknown', 'restarting'],
  ['failed with a process left', { ...FAILED, MainPID: '4711' }, 'unknown', 'stopping'],
  ['inactive because it does not exist', NOT_FOUND, 'unknown', 'not-found'],
  ['running without a unit file', { ...RUNNING, LoadState: 'not-found' }, 'up', 'running'],
  ['active without a process', { ...RUNNING, SubState: 'exited', MainPID: '0' }, 'unknown', 'no-process'],
  ['of a state of a newer systemd', { ActiveState: 'hibernating', SubState: 'deep' }, 'unknown', 'no-report'],
] as const)
  test(`reports a unit that is ${what} as ${state}, ${cause}`, async () => {
    await given(unit);
    expect(await control.report(never)).toMatchObject({ state, cause });
    expect(await control.state(never)).toBe(state);
  });

test('requests a start and waits until the unit is active and the server ready', async () => {
  await given(STOPPED);
  await systemctl.after('start', STARTING, STARTING, STARTING, RUNNING);
  expect(await control.start(limited())).toEqual({ changed: true });
  expect(await systemctl.calls()).toEqual([START]);
  expect(clock.monotonic()).toBeGreaterThan(0);
});

test('requests a stop and waits until the unit is inactive and the server gone', async () => {
  await given(RUNNING);
  await systemctl.after('stop', STOPPING, STOPPING, STOPPED);
  expect(await control.stop(limited())).toEqual({ changed: true, ended: 'clean' });
  expect(await systemctl.calls()).toEqual([STOP]);
});

test('requests nothing when the unit is in the wanted state', async () => {
  await given(RUNNING);
  expect(await control.start(limited())).toEqual({ changed: false });
  expect(await systemctl.calls()).toEqual([]);
  await given(STOPPED);
  expect(await control.stop(limited())).toEqual({ changed: false, ended: 'unreported' });
  expect(await systemctl.calls()).toEqual([]);
});

test('reports an unclean end when systemd kills the server after TimeoutStopSec', async () => {
  await given(RUNNING);
  const killed = { ...FAILED, Result: 'timeout', ExecMainStatus: '9' };
  await systemctl.after('stop', STOPPING, killed);
  expect(await control.stop(limited())).toEqual({ changed: true, ended: 'unclean' });
  await given(killed);
  expect(await control.stop(limited())).toEqual({ changed: false, ended: 'unclean' });
});

test('fails a stop at the deadline while the stop job is still running', async () => {
  await given(RUNNING);
  await systemctl.after('stop', STOPPING);
  await expect(control.stop(limited(9_000))).rejects.toMatchObject({
    code: 'SERVICE_TIMEOUT',
    message: expect.stringMatching(/^db\.service was not down within the deadline: unknown, stopping \(.*stop-sigterm/),
  });
  expect(clock.monotonic()).toBe(9_000);
});

test('does not trust the exit status of systemctl stop while the unit stays active', async () => {
  await given(RUNNING);
  await expect(control.stop(limited(5_000))).rejects.toMatchObject({ code: 'SERVICE_TIMEOUT' });
  expect(await systemctl.calls()).toEqual([STOP]);
});

test('does not report a unit as down while a server still responds', async () => {
  await given(RUNNING);
  await systemctl.after('stop', STOPPED);
  const serves = { ...limited(5_000), isReady: async () => true };
  await expect(control.stop(serves)).rejects.toMatchObject({
    code: 'SERVICE_TIMEOUT',
    message: expect.stringContaining('the server accepts requests'),
    remedy: expect.stringContaining('serves in place of db.service'),
  });
});

test('stops a unit that waits for its automatic restart, which is not down', async () => {
  await given(RESTARTING);
  await systemctl.after('stop', STOPPED);
  expect(await control.stop(limited())).toEqual({ changed: true, ended: 'unreported' });
  expect(await systemctl.calls()).toEqual([STOP]);
});

test('fails a start at once when the unit has failed, with the properties that say how', async () => {
  await given(STOPPED);
  await systemctl.after('start', STARTING, FAILED);
  await expect(control.start(limited())).rejects.toMatchObject({
    code: 'SERVICE_FAILED',
    message: expect.stringMatching(/^db\.service ended after its start: .*Result=exit-code.*ExecMainStatus=1/),
    remedy: expect.stringContaining('journalctl --unit=db.service'),
  });
  expect(clock.monotonic()).toBeLessThan(1_000);
});

test('fails a start at once when a condition of the unit is not met', async () => {
  await given(STOPPED);
  await systemctl.after('start', { ...STOPPED, ConditionResult: 'no' });
  await expect(control.start(limited())).rejects.toMatchObject({
    code: 'SERVICE_FAILED',
    message: expect.stringContaining('ConditionResult=no'),
  });
});

test('waits while a start job is queued, though the unit is still inactive', async () => {
  await given(STOPPED);
  await systemctl.after('start', { ...STOPPED, Job: '20' }, { ...STOPPED, Job: '20' }, RUNNING);
  expect(await control.start(limited())).toEqual({ changed: true });
});

test('starts a unit that is stopping: systemd queues the start behind the stop', async () => {
  await given(STOPPING);
  await systemctl.after('start', STOPPING, STOPPING, STARTING, RUNNING);
  expect(await control.start(limited())).toEqual({ changed: true });
  expect(await systemctl.calls()).toEqual([START]);
});

test('clears the count of failed starts before it starts a failed unit', async () => {
  await given({ ...FAILED, Result: 'start-limit-hit' });
  await systemctl.after('start', RUNNING);
  expect(await control.start(limited())).toEqual({ changed: true });
  expect(await systemctl.calls()).toEqual([RESET, START]);
});

test('fails a start at the deadline when the unit only restarts again and again', async () => {
  await given(STOPPED);
  await systemctl.after('start', RUNNING, RESTARTING);
  const loading = { ...limited(9_000), isReady: async () => false };
  await expect(control.start(loading)).rejects.toMatchObject({
    code: 'SERVICE_FAILED',
    message: expect.stringMatching(/^db\.service ends after each start and is restarted: .*NRestarts=4/),
  });
  expect(clock.monotonic()).toBe(9_000);
});

test('succeeds when an automatic restart brings the server up in time', async () => {
  await given(STOPPED);
  await systemctl.after('start', RESTARTING, RESTARTING, STARTING, RUNNING);
  expect(await control.start(limited())).toEqual({ changed: true });
});

test('fails a start at the deadline when the unit is active and the server not ready', async () => {
  await given(RUNNING);
  const loading = { ...limited(9_000), isReady: async () => false };
  await expect(control.start(loading)).rejects.toMatchObject({
    code: 'SERVICE_TIMEOUT',
    message: expect.stringContaining('up, running'),
  });
  expect(await systemctl.calls()).toEqual([]);
});

for (const [what, block, code] of [
  ['masked', { LoadState: 'masked' }, 'SERVICE_MASKED'],
  ['not found', { LoadState: 'not-found' }, 'SERVICE_NOT_FOUND'],
  ['not loadable', { LoadState: 'bad-setting' }, 'SERVICE_FAILED'],
] as const) {
  test(`refuses to start a unit that is ${what}`, async () => {
    await given({ ...STOPPED, ...block });
    await expect(control.start(limited())).rejects.toMatchObject({
      code,
      message: expect.stringContaining('it was not started'),
    });
    expect(await systemctl.calls()).toEqual([]);
  });

  test(`refuses to stop a running unit that is ${what}: it could not be started again`, async () => {
    await given({ ...RUNNING, ...block });
    await expect(control.stop(limited())).rejects.toMatchObject({
      code,
      message: expect.stringContaining('could not be started again'),
    });
    expect(await systemctl.calls()).toEqual([]);
  });
}

test('does not report a unit that does not exist as down', async () => {
  await given(NOT_FOUND);
  const gone = { ...limited(), isReady: async () => false };
  await expect(control.stop(gone)).rejects.toMatchObject({ code: 'SERVICE_NOT_FOUND' });
});

test('reports a masked unit that is down as stopped', async () => {
  await given(MASKED);
  expect(await control.stop(limited())).toEqual({ changed: false, ended: 'unreported' });
});

for (const operation of ['start', 'stop'] as const)
  test(`refuses to ${operation} a unit that is active without a process`, async () => {
    await given({ ...RUNNING, SubState: 'exited', MainPID: '0' });
    await expect(control[operation](limited())).rejects.toMatchObject({
      code: 'SERVICE_FAILED',
      message: 'db.service is active, but it runs no process of its own',
      remedy: expect.stringContaining('cluster@main.service'),
    });
    expect(await systemctl.calls()).toEqual([]);
  });

test('finds out after a start that the unit runs no process', async () => {
  await given(STOPPED);
  await systemctl.after('start', { ...RUNNING, SubState: 'exited', MainPID: '0' });
  await expect(control.start(limited())).rejects.toMatchObject({
    code: 'SERVICE_FAILED',
    message: expect.stringContaining('runs no process of its own'),
  });
});

for (const [exitCode, code] of [
  [1, root ? 'SERVICE_FAILED' : 'SERVICE_FORBIDDEN'],
  [4, 'SERVICE_FORBIDDEN'],
  [5, 'SERVICE_NOT_FOUND'],
  [6, 'SERVICE_FAILED'],
] as const) {
  test(`fails with ${code} when systemctl refuses with exit status ${exitCode}`, async () => {
    await given(RUNNING);
    await systemctl.exitWith('stop', exitCode);
    await expect(control.stop(limited())).rejects.toMatchObject({
      code,
      message: expect.stringContaining(`systemctl stop db.service ended with exit status ${exitCode}`),
    });
    await given(STOPPED);
    await systemctl.exitWith('start', exitCode);
    await expect(control.start(limited())).rejects.toMatchObject({ code });
    expect(clock.monotonic()).toBe(0);
  });
}

test('succeeds when systemctl fails but the unit is in the wanted state', async () => {
  await given(RUNNING, STOPPED);
  await systemctl.exitWith('stop', 5);
  expect(await control.stop(limited())).toMatchObject({ changed: true });
});

test('names systemctl when it is not installed', async () => {
  await given(RUNNING);
  const missing = createServiceControl(
    { kind: 'systemd', unit: 'db.service' },
    { clock, systemctlPath: `${systemctl.path}-missing` },
  );
  await expect(missing.stop(limited())).rejects.toMatchObject({ code: 'TOOL_NOT_FOUND' });
});

test('does not stop a unit that systemd does not report on', async () => {
  await given({});
  const gone = { ...limited(), isReady: async () => false };
  await expect(control.stop(gone)).rejects.toMatchObject({
    code: 'SERVICE_FAILED',
    message: expect.stringContaining('the state of db.service is not known'),
  });
  expect(await systemctl.calls()).toEqual([]);
});

test('polls on while systemd does not report, as during its own restart', async () => {
  await given(STOPPED);
  await systemctl.after('start', {}, {}, RUNNING);
  expect(await control.start(limited())).toEqual({ changed: true });
});

test('stops waiting when the signal aborts', async () => {
  await given(RUNNING);
  await systemctl.after('stop', STOPPING);
  const stop = new AbortController();
  const reason = new Failure('JOB_CANCELED', 'canceled by a person');
  const aborting = {
    deadlineMs: HOUR_MS,
    signal: stop.signal,
    isReady: async () => {
      if (clock.monotonic() > 1_000) stop.abort(reason);
      return isReady();
    },
  };
  await expect(control.stop(aborting)).rejects.toBe(reason);
  expect(clock.monotonic()).toBeLessThan(HOUR_MS);
});
