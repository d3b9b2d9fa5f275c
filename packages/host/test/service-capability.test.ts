import { existsSync } from 'node:fs';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { temporaryFolder } from '@lastgood/testkit';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type CapabilitySettings, type CommandService, serviceControlCapability } from '../src/index.ts';
import { FakeSystemctl, MASKED, NOT_FOUND, RUNNING, STOPPED, type UnitState } from './fake-systemctl.ts';

const unit = 'db.service';
const service = { kind: 'systemd', unit } as const;
const VERSION_2 = '0::/system.slice/db.service\n';
const VERSION_1 = '9:name=systemd:/system.slice/db.service\n8:pids:/system.slice/other.service\n0::/\n';

let cleanup: AsyncDisposableStack;
let folder: string;
let settings: Partial<CapabilitySettings>;

/** Prepares a host that runs systemd with one unit, and an agent that runs as root in a control group. */
async function given(state: UnitState, cgroup = '0::/\n'): Promise<void> {
  const { path: systemctlPath } = await FakeSystemctl.create(join(folder, 'fake'), state);
  await mkdir(join(folder, 'systemd'));
  await writeFile(join(folder, 'cgroup'), cgroup);
  settings = { systemctlPath, systemdFolder: join(folder, 'systemd'), cgroupFile: join(folder, 'cgroup'), uid: 0 };
}
async function commands(mode = 0o755): Promise<CommandService> {
  for (const name of ['start', 'stop', 'status']) {
    await writeFile(join(folder, name), '#!/bin/sh\n');
    await chmod(join(folder, name), name === 'stop' ? mode : 0o755);
  }
  return {
    kind: 'command',
    start: [join(folder, 'start')],
    stop: [join(folder, 'stop')],
    status: [join(folder, 'status')],
  };
}

beforeEach(async () => {
  cleanup = new AsyncDisposableStack();
  folder = cleanup.use(await temporaryFolder()).path;
});
afterEach(() => cleanup.disposeAsync());

for (const state of [RUNNING, STOPPED])
  test(`finds no limitation for root and a unit that is ${state['ActiveState']}`, async () => {
    await given(state);
    expect(await serviceControlCapability(service, settings)).toEqual({ possible: true, limitations: [] });
  });

for (const [code, state] of [
  ['unit-not-found', NOT_FOUND],
  ['unit-masked', MASKED],
  ['unit-masked', { ...RUNNING, LoadState: 'masked' }],
  ['unit-invalid', { ...STOPPED, LoadState: 'bad-setting' }],
  ['unit-invalid', { ...STOPPED, LoadState: 'error' }],
  ['unit-without-process', { ...RUNNING, SubState: 'exited', MainPID: '0' }],
  ['no-report', {}],
] as const)
  test(`reports ${code} for a unit that is ${JSON.stringify(state)}`, async () => {
    await given(state);
    expect(await serviceControlCapability(service, settings)).toEqual({
      possible: false,
      limitations: [{ code, severity: 'blocking', params: { unit } }],
    });
  });

test('reports that the agent is not root, along with what else is wrong', async () => {
  await given(MASKED);
  const { possible, limitations } = await serviceControlCapability(service, { ...settings, uid: 1000 });
  expect(possible).toBe(false);
  expect(limitations.map(({ code }) => code)).toEqual(['not-root', 'unit-masked']);
});

test('reports a missing systemctl', async () => {
  await given(RUNNING);
  const systemctlPath = join(folder, 'none');
  expect((await serviceControlCapability(service, { ...settings, systemctlPath })).limitations).toEqual([
    { code: 'no-systemctl', severity: 'blocking', params: { path: systemctlPath } },
  ]);
});

for (const [version, cgroup] of [
  ['2', VERSION_2],
  ['1', VERSION_1],
])
  test(`reports that the unit is the agent's own, with control groups of version ${version}`, async () => {
    await given(RUNNING, cgroup);
    expect((await serviceControlCapability(service, settings)).limitations).toEqual([
      { code: 'unit-of-agent', severity: 'blocking', params: { unit } },
    ]);
  });

test('reports that systemd does not run the host, without running systemctl', async () => {
  await given(RUNNING);
  const systemdFolder = join(folder, 'none');
  const systemctlPath = join(folder, 'none');
  expect(await serviceControlCapability(service, { ...settings, systemdFolder, systemctlPath })).toEqual({
    possible: false,
    limitations: [{ code: 'no-systemd', severity: 'blocking', params: { unit } }],
  });
});

test('checks the real folder of systemd by default', async () => {
  const { limitations } = await serviceControlCapability({ kind: 'systemd', unit: 'lastgood-none.service' });
  const codes = limitations.map(({ code }) => code);
  expect(codes.includes('no-systemd')).toBe(!existsSync('/run/systemd/system'));
  expect(codes.includes('not-root')).toBe(process.getuid?.() !== 0);
});

test('finds no limitation for commands that only root and the user of the agent can write', async () => {
  await given(RUNNING);
  expect(await serviceControlCapability(await commands(), { ...settings, uid: 1000 })).toEqual({
    possible: true,
    limitations: [],
  });
});

test('reports every command that must not or cannot be run', async () => {
  await given(RUNNING);
  const definition = { ...(await commands(0o777)), status: [join(folder, 'none')] };
  expect(await serviceControlCapability(definition, settings)).toEqual({
    possible: false,
    limitations: [
      {
        code: 'command-writable-by-others',
        severity: 'blocking',
        params: { action: 'stop', path: join(folder, 'stop') },
      },
      { code: 'command-missing', severity: 'blocking', params: { action: 'status', path: join(folder, 'none') } },
    ],
  });
});

test('warns that a server started by a command belongs to the unit of the agent', async () => {
  await given(RUNNING, '0::/system.slice/lastgood-agent.service\n');
  expect(await serviceControlCapability(await commands(), settings)).toEqual({
    possible: true,
    limitations: [{ code: 'starts-in-unit-of-agent', severity: 'warning', params: { unit: 'lastgood-agent.service' } }],
  });
});

test('ends when the signal aborts', async () => {
  await given(RUNNING);
  const signal = AbortSignal.abort();
  await expect(serviceControlCapability(service, { ...settings, signal })).rejects.toMatchObject({
    code: 'JOB_CANCELED',
  });
});
