import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { Failure } from '@lastgood/core';
import { temporaryFolder } from '@lastgood/testkit';
import { captureTool } from '../src/index.ts';

const SYSTEMD = '/lib/systemd/systemd';
const CGROUPS = '/sys/fs/cgroup';
const BOOT_MS = 20_000;
/** The path of `folder` in the namespace. Only this, /run and the control groups are writable there. */
export const SHARED = '/run/shared';

/** A systemd that runs as process 1 in its own namespaces, isolated from the processes, mounts, sockets and network of the host. */
export interface PrivateSystemd extends AsyncDisposable {
  readonly reason: null;
  /** A systemctl that talks to it. */
  readonly systemctlPath: string;
  /** A folder that is mounted at SHARED in the namespace. */
  readonly folder: string;
  /** Runs a program in the namespaces and returns its output. */
  run(...command: readonly string[]): Promise<string>;
}
/** Why it cannot run on this machine. Tests that need it are skipped with this reason. */
export interface NoPrivateSystemd extends AsyncDisposable {
  readonly reason: string;
}
const unavailable = (reason: string): NoPrivateSystemd => ({ reason, [Symbol.asyncDispose]: () => Promise.resolve() });

/** Runs in the new namespaces and then executes systemd. */
const bootScript = (folder: string, version2: boolean): string => `set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/units /run/lock ${SHARED}
mount --bind '${folder}' ${SHARED}
mount -o bind,ro /proc/sys /proc/sys
umount -R -l ${CGROUPS}
${
  version2
    ? `mount -t cgroup2 cgroup2 ${CGROUPS}`
    : `mount -t tmpfs tmpfs ${CGROUPS}; mkdir ${CGROUPS}/systemd; mount -t cgroup -o none,name=systemd cgroup ${CGROUPS}/systemd`
}
cp -P ${SHARED}/units/* /run/units/
mount -o bind,remount,ro /
export container=lastgood-test SYSTEMD_UNIT_PATH=/run/units
exec ${SYSTEMD} --system --unit=test.target --log-target=console --show-status=no </dev/null >${SHARED}/log 2>&1
`;

async function isGone(pid: number): Promise<boolean> {
  const text = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => undefined);
  return text === undefined || /^State:\s+Z/m.test(text);
}
/** Removes a control group and the groups that systemd created in it. */
async function removeGroups(path: string): Promise<void> {
  for (const entry of await readdir(path, { withFileTypes: true }))
    if (entry.isDirectory()) await removeGroups(join(path, entry.name));
  await rmdir(path);
}
async function until(check: () => Promise<boolean>): Promise<boolean> {
  const end = performance.now() + BOOT_MS;
  while (performance.now() < end) {
    if (await check()) return true;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return false;
}

/** Boots a systemd with only these units (name to content; null for a masked one), if this machine supports it. */
export async function startPrivateSystemd(
  units: Readonly<Record<string, string | null>>,
): Promise<PrivateSystemd | NoPrivateSystemd> {
  if (process.getuid?.() !== 0) return unavailable('namespaces for systemd need root');
  if (!existsSync(SYSTEMD) || !existsSync('/usr/bin/nsenter'))
    return unavailable('systemd or util-linux is not installed');
  await using starting = new AsyncDisposableStack();
  const { path: folder } = starting.use(await temporaryFolder());
  const version2 = existsSync(join(CGROUPS, 'cgroup.controllers'));
  const group = join(CGROUPS, version2 ? '' : 'systemd', `lastgood-test-${basename(folder)}`);
  const created = await mkdir(group).then(
    () => true,
    () => false,
  );
  if (!created) return unavailable('cannot create control groups');
  starting.defer(() => removeGroups(group));
  await mkdir(join(folder, 'units'));
  const all = { 'test.target': '[Unit]\nDefaultDependencies=no\n', ...units };
  for (const [name, content] of Object.entries(all))
    if (content !== null) await writeFile(join(folder, 'units', name), content);
  await writeFile(join(folder, 'boot'), bootScript(folder, version2));
  const unshare = [
    '--pid',
    '--mount',
    '--uts',
    '--ipc',
    '--cgroup',
    '--net',
    '--fork',
    '--kill-child=KILL',
    '--mount-proc',
  ];
  const boot = `echo $$ >'${group}/cgroup.procs' && exec unshare ${unshare.join(' ')} /bin/sh '${folder}/boot'`;
  const outer = spawn('/bin/sh', ['-c', boot], { stdio: 'ignore' });
  let init = 0;
  starting.defer(async () => {
    outer.kill('SIGKILL');
    await until(async () => (await isGone(init)) && (await isGone(outer.pid ?? 0)));
  });
  const nsenter = (): string[] => ['-t', String(init), '--mount', '--pid', '--uts', '--ipc', '--net'];
  const run = async (...command: readonly string[]): Promise<string> => {
    const signal = new AbortController().signal;
    const args = [...nsenter(), ...command];
    return (await captureTool({ file: 'nsenter', args, signal, timeoutMs: BOOT_MS })).stdout;
  };
  const booted = await until(async () => {
    const children = await readFile(`/proc/${outer.pid}/task/${outer.pid}/children`, 'utf8').catch(() => '');
    init = Number(children.trim().split(' ')[0]);
    if (init === 0 || outer.exitCode !== null) return false;
    return await run('systemctl', 'show', '--property=Version').then(
      () => true,
      (error: unknown) => {
        if (error instanceof Failure) return false;
        throw error;
      },
    );
  });
  if (!booted)
    return unavailable(
      `systemd does not run in namespaces here: ${await readFile(join(folder, 'log'), 'utf8').catch(() => 'no log')}`,
    );
  for (const [name, content] of Object.entries(units))
    if (content === null) await run('ln', '-s', '/dev/null', `/run/units/${name}`);
  await run('systemctl', 'daemon-reload');
  const systemctlPath = join(folder, 'systemctl');
  await writeFile(systemctlPath, `#!/bin/sh\nexec nsenter ${nsenter().join(' ')} systemctl "$@"\n`);
  await chmod(systemctlPath, 0o755);
  const cleanup = starting.move();
  return { reason: null, systemctlPath, folder, run, [Symbol.asyncDispose]: () => cleanup.disposeAsync() };
}
