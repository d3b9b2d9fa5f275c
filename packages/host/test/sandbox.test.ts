import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { DEFAULT_RESTORE_TESTS, Failure } from '@lastgood/core';
import { temporaryFolder, waitFor } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findContainment, findProcesses, runTool, type Sandbox, sweepSandboxes, withSandbox } from '../src/index.ts';
import { leaseUid, processesOf } from '../src/sandbox/uid-lease.ts';

const { signal } = new AbortController();
const isRoot = process.getuid?.() === 0;
const here = await findContainment(signal);
const CHILD = join(import.meta.dirname, 'support', 'sandbox-child.ts');
const limits = { ...DEFAULT_RESTORE_TESTS, allowUncontained: false };
const request = { limits, scratchUser: 'nobody', needsConsent: true, signal };
const WITHIN_MS = 30_000;
const cleanup = new AsyncDisposableStack();
let folder: string;
/** Every user of the host may do anything in it. */
let open: string;

beforeAll(async () => {
  folder = cleanup.use(await temporaryFolder()).path;
  await chmod(folder, 0o711);
  open = await mkdtemp('/var/tmp/lastgood-open-');
  await chmod(open, 0o777);
  cleanup.defer(() => rm(open, { recursive: true, force: true }));
});
afterAll(() => cleanup.disposeAsync());

const skipReason = (): string =>
  here.kind === 'none' ? `restored code cannot be contained here: ${here.missing}` : '';

/** The processes of the host whose arguments hold a text. */
const running = (text: string): Promise<unknown[]> =>
  findProcesses(async (pid) => (await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '')).includes(text));

/** Whether a command succeeds in the sandbox. */
async function succeeds(sandbox: Sandbox, script: string): Promise<boolean> {
  const call = {
    file: 'sh',
    args: ['-c', script],
    signal,
    timeoutMs: WITHIN_MS,
    acceptedExitCodes: Array.from({ length: 255 }, (_, index) => index + 1),
  };
  return (await runTool(sandbox.contain(call, { folders: [], readable: [] }))).exitCode === 0;
}

/** Runs the child as `prefix` says. Returns what it prints. */
async function runChild(prefix: readonly string[], ...args: readonly string[]): Promise<unknown> {
  const [file = process.execPath, ...rest] = [...prefix, process.execPath, CHILD, ...args];
  const child = spawn(file, rest, { stdio: ['ignore', 'pipe', 'inherit'] });
  const [[line]] = await Promise.all([once(createInterface({ input: child.stdout }), 'line'), once(child, 'close')]);
  return JSON.parse(String(line));
}

test('attack-B6: what leaves its session and process group ends with the sandbox', async ({ skip }) => {
  skip(here.kind === 'none', skipReason());
  const mark = `4711${process.pid}`;
  await withSandbox(request, async (sandbox) => {
    // The command ends, and the kernel ends everything that it has started.
    expect(await succeeds(sandbox, `setsid -f sleep ${mark}; setsid -f sh -c 'sleep ${mark} & sleep ${mark}'`)).toBe(
      true,
    );
    expect(await running(mark)).toEqual([]);
  });
});

test('attack-B5, E5: nothing of the host is seen, written, reached or signaled', async ({ skip }) => {
  skip(here.kind === 'none', skipReason());
  await writeFile(join(open, 'secret'), 'secret', { mode: 0o644 });
  const server = createServer().listen(join(open, 'socket'));
  const abstractName = `lastgood-test-${process.pid}`;
  const tcp = createServer().listen(0, '127.0.0.1');
  const abstract = createServer().listen(`\0${abstractName}`);
  cleanup.defer(() => void [server, tcp, abstract].map((each) => each.close()));
  await Promise.all([server, tcp, abstract].map((each) => once(each, 'listening')));
  await chmod(join(open, 'socket'), 0o777);
  const address = tcp.address();
  const port = address !== null && typeof address === 'object' ? address.port : 0;
  const connects = (target: string): string =>
    `python3 -c 'import socket; s = socket.socket(${target.startsWith('(') ? 'socket.AF_INET' : 'socket.AF_UNIX'}); s.settimeout(5); s.connect(${target})'`;
  const escapes: Readonly<Record<string, string>> = {
    'a file of the host': `cat ${open}/secret`,
    'a folder of the host': `echo x > ${open}/written`,
    'the home of the agent': `ls ${homedir()}/.`,
    'a socket of the host': connects(`"${open}/socket"`),
    'an abstract socket of the host': connects(`"\\0${abstractName}"`),
    'a port of the host': connects(`("127.0.0.1", ${port})`),
    'sockets in /run': 'test -n "$(find /run -type s)"',
    'the agent by a signal': `kill -0 ${process.pid}`,
    'the first process by ptrace': `python3 -c 'import ctypes, sys; sys.exit(0 if ctypes.CDLL(None).ptrace(16, 1, None, None) == 0 else 1)'`,
    'a user namespace': 'unshare --user true',
    'a mount': 'mount -t tmpfs tmpfs /tmp',
    'the programs of the host': 'touch /usr/bin/sh',
    'the password file': 'test -e /etc/shadow',
    'kernel settings': 'echo 1 > /proc/sys/kernel/sysrq',
  };
  await withSandbox(request, async (sandbox) => {
    // These show that the list below tests something.
    expect(await succeeds(sandbox, 'echo x > /tmp/mine && echo x > /dev/shm/mine && test -w /tmp/mine')).toBe(true);
    expect(await succeeds(sandbox, 'sleep 60 & kill -0 $!')).toBe(true);
    expect(await succeeds(sandbox, "python3 -c 'import ctypes, socket'")).toBe(true);
    // The end of the first process would end this command.
    for (const signal of ['KILL', 'TERM', 'INT', 'STOP'])
      expect(await succeeds(sandbox, `kill -${signal} 1; sleep 0.2; true`)).toBe(true);
    const escaped: string[] = [];
    for (const [name, script] of Object.entries(escapes)) if (await succeeds(sandbox, script)) escaped.push(name);
    expect(escaped).toEqual([]);
    if (isRoot) expect(await succeeds(sandbox, `test $(id -u) -ge ${limits.uids.first}`)).toBe(true);
  });
  expect((await readdir(open)).toSorted()).toEqual(['secret', 'socket']);
  for (const shared of ['/tmp/mine', '/dev/shm/mine']) await expect(readFile(shared)).rejects.toThrow('ENOENT');
});

test('E6: everything in a sandbox dies with a killed agent', async ({ skip }) => {
  skip(here.kind === 'none', skipReason());
  const mark = `4712${process.pid}`;
  await using own = await temporaryFolder();
  await chmod(own.path, 0o777);
  const script = `setsid -f sleep ${mark}; sleep ${mark}`;
  const child = spawn(process.execPath, [CHILD, '', own.path, script], { stdio: 'ignore' });
  await waitFor('the escape', WITHIN_MS, signal, async () => ((await running(mark)).length > 1 ? true : undefined));
  child.kill('SIGKILL');
  await waitFor('the end of everything', WITHIN_MS, signal, async () =>
    (await running(mark)).length === 0 ? true : undefined,
  );
});

test('E5: an agent without root contains restored code in user namespaces', async ({ skip }) => {
  skip(here.kind === 'none', skipReason());
  const userNamespaces = await runTool({
    file: 'unshare',
    args: ['--user', 'true'],
    signal,
    timeoutMs: WITHIN_MS,
  }).then(
    () => true,
    () => false,
  );
  skip(!userNamespaces, 'this machine allows no user namespaces');
  const unprivileged = isRoot ? ['unshare', '--user', '--map-user=65534', '--map-group=65534', '--'] : [];
  const commands = [
    'exit 7',
    'test $(id -u) -ne 0',
    `cat ${open}/secret`,
    `kill -0 ${process.pid}`,
    'kill -9 1; sleep 0.2; exit 8',
    'unshare --user true',
    'mount -t tmpfs tmpfs /tmp',
    `setsid -f sleep 4713${process.pid}`,
  ];
  const result = await runChild(unprivileged, 'none', folder, ...commands);
  const failed = expect.toSatisfy((status: unknown) => typeof status === 'number' && status !== 0);
  expect(result).toEqual({
    containment: 'user-namespace',
    statuses: [7, 0, failed, failed, 8, failed, failed, 0],
  });
  expect(await running(`4713${process.pid}`)).toEqual([]);
});

test('E5: a host that cannot contain restored code refuses without consent, and says what is missing', async ({
  skip,
}) => {
  skip(!isRoot, 'giving up a right needs root');
  const limited = ['setpriv', '--bounding-set=-sys_admin', '--inh-caps=-sys_admin', '--'];
  expect(await runChild(limited, 'none', folder, 'true')).toMatchObject({
    code: 'RESTORE_TEST_UNCONTAINED',
    message: expect.stringMatching(/^this host cannot contain restored code: namespaces are refused \(unshare: /),
  });
  expect(await runChild(limited, 'consent', folder, 'exit 3')).toEqual({ containment: 'none', statuses: [3] });
});

test('E5: without containment, what a restore test leaves running is ended by its mark', async ({ skip }) => {
  skip(!isRoot, 'giving up a right needs root');
  const mark = `4714${process.pid}`;
  const limited = ['setpriv', '--bounding-set=-sys_admin', '--inh-caps=-sys_admin', '--'];
  const commands = [`setsid -f sleep ${mark} >/dev/null 2>&1`];
  expect(await runChild(limited, 'consent', folder, ...commands)).toMatchObject({ containment: 'none' });
  expect(await running(mark)).toEqual([]);
});

test('a restore test fails loudly while one of its processes cannot be ended, whatever it has found', async ({
  skip,
}) => {
  skip(!isRoot, 'a process of another user needs root');
  const survivor = async (uid: number): Promise<void> => {
    const drop = ['--reuid', String(uid), '--clear-groups', '--', 'sleep', '600'];
    const child = spawn('setpriv', drop, { stdio: 'ignore' });
    cleanup.defer(() => void child.kill('SIGKILL'));
    await waitFor('the process', WITHIN_MS, signal, async () =>
      (await processesOf(uid)).length > 0 ? true : undefined,
    );
  };
  const cannotKill = { kill: () => undefined, withinMs: 500 };
  const found = withSandbox(
    request,
    async ({ user }) => {
      await survivor(user?.uid ?? 0);
      throw new Failure('BACKUP_CORRUPT', 'the backup is bad');
    },
    cannotKill,
  );
  await expect(found).rejects.toMatchObject({ code: 'RESTORE_TEST_STILL_RUNNING' });
  await expect(sweepSandboxes(limits, cannotKill)).rejects.toMatchObject({ code: 'RESTORE_TEST_STILL_RUNNING' });
  expect(await sweepSandboxes(limits)).toEqual([expect.stringMatching(/^1 processes of an interrupted restore test/)]);
  expect(await sweepSandboxes(limits)).toEqual([]);
});

test('each restore test has a user id of its own, and a sweep leaves those alone that run', async ({ skip }) => {
  skip(!isRoot, 'user ids of restore tests need root');
  const uids = { first: 1_899_990_000, count: 2 };
  await using first = await leaseUid(uids);
  {
    await using second = await leaseUid(uids);
    expect([first.uid, second.uid].toSorted()).toEqual([uids.first, uids.first + 1]);
    await expect(leaseUid(uids)).rejects.toMatchObject({ code: 'CONFLICT' });
  }
  const child = spawn('setpriv', ['--reuid', String(first.uid), '--clear-groups', '--', 'sleep', '600']);
  cleanup.defer(() => void child.kill('SIGKILL'));
  await waitFor('the process', WITHIN_MS, signal, async () =>
    (await processesOf(first.uid)).length > 0 ? true : undefined,
  );
  expect(await sweepSandboxes({ ...limits, uids })).toEqual([]);
  expect(await processesOf(first.uid)).toHaveLength(1);
});
