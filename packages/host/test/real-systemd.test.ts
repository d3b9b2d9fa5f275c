/**
 * Service control with a real systemd. Test machines seldom run systemd as process 1, and tests must not change the units of the host.
 * Therefore a separate systemd runs as process 1 of its own namespaces. That needs root; without it only systemd-service.test.ts runs.
 */
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, expect, test, vi } from 'vitest';
import { createServiceControl, type ManagedService, systemWaitingClock, type WaitingClock } from '../src/index.ts';
import { pingProbe } from './ping-probe.ts';
import { SHARED, startPrivateSystemd } from './private-systemd.ts';

const LONG_MS = 60_000;
const SHORT_MS = 1_500;
const never = new AbortController().signal;
const serverFile = new URL('ping-server.ts', import.meta.url).pathname;

const unitOf = (service: string, unit = ''): string =>
  `[Unit]\nDefaultDependencies=no\n${unit}\n[Service]\n${service}\n`;
const SERVER = `ExecStart=${process.execPath} ${serverFile} ${SHARED} ${SHARED}/socket`;
const systemd = await startPrivateSystemd({
  'server.service': unitOf(SERVER),
  'killed.service': unitOf(`${SERVER}\nTimeoutStopSec=1`),
  'deaf.service': unitOf(`${SERVER}\nTimeoutStopSec=3600`),
  'restarts.service': unitOf('ExecStart=/bin/false\nRestart=always\nRestartSec=10s', 'StartLimitIntervalSec=0'),
  'fails.service': unitOf('ExecStart=/bin/sh -c "exit 7"'),
  'limited.service': unitOf(SERVER, 'StartLimitBurst=1\nStartLimitIntervalSec=3600'),
  'unmet.service': unitOf(SERVER, 'ConditionPathExists=/nowhere'),
  'umbrella.service': unitOf('Type=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true'),
  'broken.service': unitOf('Type=simple'),
  'manual.service': unitOf(SERVER, 'RefuseManualStart=yes'),
  'masked.service': null,
  'later-masked.service': unitOf(SERVER),
});
afterAll(() => systemd[Symbol.asyncDispose]());

interface Fixture {
  readonly control: ManagedService;
  readonly limited: (deadlineMs?: number) => Parameters<ManagedService['start']>[0];
  readonly folder: string;
  readonly run: (...command: readonly string[]) => Promise<string>;
}
function testWithUnit(unit: string, title: string, run: (fixture: Fixture) => Promise<void>): void {
  test.skipIf(systemd.reason !== null)(`${title}${systemd.reason === null ? '' : ` (${systemd.reason})`}`, async () => {
    if (systemd.reason !== null) return;
    const { folder, systemctlPath } = systemd;
    const clock: WaitingClock = systemWaitingClock;
    const control = createServiceControl({ kind: 'systemd', unit }, { clock, systemctlPath });
    const isReady = pingProbe(join(folder, 'socket'));
    const limited = (deadlineMs = LONG_MS) => ({ deadlineMs, signal: never, isReady });
    await writeFile(join(folder, 'mode'), 'normal');
    try {
      await run({ control, limited, folder, run: systemd.run });
    } finally {
      await systemd.run('systemctl', 'kill', '--signal=KILL', unit).catch(() => undefined);
      await systemd.run('systemctl', 'stop', unit).catch(() => undefined);
    }
  });
}

testWithUnit(
  'server.service',
  'starts and stops a unit, and does nothing when it is done',
  async ({ control, limited }) => {
    expect(await control.state(never)).toBe('down');
    expect(await control.start(limited())).toEqual({ changed: true });
    expect(await control.start(limited())).toEqual({ changed: false });
    expect(await control.report(never)).toMatchObject({
      state: 'up',
      properties: { MainPID: expect.stringMatching(/^\d+$/) },
    });
    expect(await control.stop(limited())).toEqual({ changed: true, ended: 'clean' });
    expect(await control.stop(limited())).toEqual({ changed: false, ended: 'unreported' });
  },
);

testWithUnit(
  'killed.service',
  'reports an unclean end when systemd kills the server after TimeoutStopSec',
  async (fixture) => {
    const { control, limited, folder } = fixture;
    await writeFile(join(folder, 'mode'), 'deaf');
    await control.start(limited());
    expect(await control.stop(limited())).toEqual({ changed: true, ended: 'unclean' });
    expect(await control.report(never)).toMatchObject({
      state: 'down',
      cause: 'failed',
      properties: { Result: 'timeout' },
    });
  },
);

testWithUnit(
  'deaf.service',
  'times out while the stop job is running, and a start waits for its end',
  async (fixture) => {
    const { control, limited, folder, run } = fixture;
    await writeFile(join(folder, 'mode'), 'deaf');
    await control.start(limited());
    await expect(control.stop(limited(SHORT_MS))).rejects.toMatchObject({
      code: 'SERVICE_TIMEOUT',
      message: expect.stringContaining('unknown, stopping'),
    });
    const job = (): Promise<string> => run('systemctl', 'show', '--property=Job', 'deaf.service');
    const stopJob = await job();
    const starting = control.start(limited());
    await vi.waitFor(async () => expect(await job()).not.toBe(stopJob), LONG_MS);
    await run('systemctl', 'kill', '--signal=KILL', 'deaf.service');
    expect(await starting).toEqual({ changed: true });
  },
);

testWithUnit('fails.service', 'fails a start with the exit status of the server', async ({ control, limited }) => {
  await expect(control.start(limited())).rejects.toMatchObject({
    code: 'SERVICE_FAILED',
    message: expect.stringMatching(/down, failed (?=.*Result=exit-code).*ExecMainStatus=7/),
  });
});

testWithUnit(
  'restarts.service',
  'fails a start of a unit that only restarts, and stops it',
  async ({ control, limited }) => {
    await expect(control.start(limited(SHORT_MS))).rejects.toMatchObject({
      code: 'SERVICE_FAILED',
      message: expect.stringContaining('unknown, restarting'),
    });
    expect(await control.stop(limited())).toMatchObject({ changed: true });
    expect(await control.state(never)).toBe('down');
  },
);

testWithUnit(
  'limited.service',
  'starts a failed unit that reached its limit of starts',
  async ({ control, limited, run }) => {
    await control.start(limited());
    await run('systemctl', 'kill', '--signal=KILL', 'limited.service');
    await control.waitUntilDown(limited());
    expect(await control.start(limited())).toEqual({ changed: true });
  },
);

testWithUnit('unmet.service', 'fails a start when a condition is not met', async ({ control, limited }) => {
  await expect(control.start(limited())).rejects.toMatchObject({
    code: 'SERVICE_FAILED',
    message: expect.stringContaining('ConditionResult=no'),
  });
});

for (const [unit, code] of [
  ['masked.service', 'SERVICE_MASKED'],
  ['missing.service', 'SERVICE_NOT_FOUND'],
  ['broken.service', 'SERVICE_FAILED'],
  ['umbrella.service', 'SERVICE_FAILED'],
  ['manual.service', 'SERVICE_FORBIDDEN'],
] as const)
  testWithUnit(unit, `refuses to start ${unit} with ${code}`, async ({ control, limited }) => {
    await expect(control.start(limited())).rejects.toMatchObject({ code });
  });

testWithUnit(
  'later-masked.service',
  'does not stop a running unit that has been masked',
  async ({ control, limited, run }) => {
    await control.start(limited());
    await run('ln', '-sf', '/dev/null', '/run/units/later-masked.service');
    await run('systemctl', 'daemon-reload');
    await expect(control.stop(limited())).rejects.toMatchObject({ code: 'SERVICE_MASKED' });
    expect(await control.state(never)).toBe('up');
  },
);

// On a host that runs systemd, this test also reads a unit of the host.
if (existsSync('/run/systemd/system'))
  test('reads a unit of the systemd that runs this host', async () => {
    const control = createServiceControl({ kind: 'systemd', unit: 'systemd-journald.service' });
    expect(await control.report(never)).toMatchObject({ state: 'up', startBlock: null, pending: false });
  });
