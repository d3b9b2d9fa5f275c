import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { Failure } from '@lastgood/core';
import { temporaryFolder } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { captureTool, publishFile, runTool, type ToolCall } from '../src/index.ts';

const never = new AbortController().signal;
const MIB = 1024 * 1024;
const cleanup = new AsyncDisposableStack();
let folder: string;

beforeAll(async () => {
  folder = cleanup.use(await temporaryFolder()).path;
});
afterAll(() => cleanup.disposeAsync());

const sh = (script: string, more: Partial<ToolCall> = {}): ToolCall => ({
  file: '/bin/sh',
  args: ['-c', script],
  signal: never,
  timeoutMs: 60_000,
  ...more,
});
const failureOf = async (work: Promise<unknown>): Promise<Failure> =>
  await work.then(
    () => {
      throw new Error('expected a failure');
    },
    (error: unknown) => {
      if (error instanceof Failure) return error;
      throw error;
    },
  );
/** Counts bytes and remembers whether its end was reported. */
class Counter extends Writable {
  bytes = 0;
  ended = false;
  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.bytes += chunk.length;
    done();
  }
  override _final(done: () => void): void {
    this.ended = true;
    done();
  }
}
/** False also for a zombie: a process that has ended and that its parent has not yet reaped. */
async function isAlive(pid: number): Promise<boolean> {
  const found = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  return found !== undefined && found.slice(found.lastIndexOf(')') + 2).split(' ')[0] !== 'Z';
}
const untilGone = (pid: number): Promise<void> =>
  vi.waitFor(async () => expect(await isAlive(pid)).toBe(false), 10_000);
const readPid = (path: string): Promise<number> =>
  vi.waitFor(async () => {
    const pid = Number((await readFile(path, 'utf8')).trim());
    expect(pid).toBeGreaterThan(0);
    return pid;
  }, 10_000);

for (const signal of ['KILL', 'TERM', 'SEGV', 'INT', 'PIPE'])
  test(`A1, A17: fails and names SIG${signal} when it ends a tool in the middle of its output`, async () => {
    const sink = new Counter();
    const failure = await failureOf(runTool(sh(`head -c ${3 * MIB} /dev/zero; kill -${signal} $$`), sink));
    expect(failure.code).toBe('TOOL_FAILED');
    expect(failure.message).toContain(`SIG${signal}`);
  });

test('A1: never publishes the file of a killed tool', async () => {
  const path = join(folder, 'a1');
  const publishing = publishFile(path, async (sink) => {
    await runTool(sh(`head -c ${MIB} /dev/zero; kill -KILL $$`), sink);
  });
  expect((await failureOf(publishing)).code).toBe('TOOL_FAILED');
  expect((await readdir(folder)).filter((name) => name.startsWith('a1'))).toEqual([]);
});

test('A2: fails with the last messages of a tool that exits with 1 after a complete stream', async () => {
  const path = join(folder, 'a2');
  const publishing = publishFile(path, async (sink) => {
    await runTool(sh(`head -c ${2 * MIB} /dev/zero; exec >&-; echo 'error: lost the server' >&2; exit 1`), sink);
  });
  const failure = await failureOf(publishing);
  expect(failure).toMatchObject({ code: 'TOOL_FAILED', message: expect.stringContaining('ended with exit status 1') });
  expect(failure.message).toContain('lost the server');
  expect((await readdir(folder)).filter((name) => name.startsWith('a2'))).toEqual([]);
});

test('A5: kills a stalled tool and its children, even those that ignore SIGTERM', async () => {
  const [child, stubborn] = [join(folder, 'stalled-child'), join(folder, 'stalled-stubborn')];
  const script = `sleep infinity & echo $! > ${child}
    (trap '' TERM; exec >&- 2>&-; echo "$(exec sh -c 'echo $PPID')" > ${stubborn}; while :; do sleep 1; done) &
    head -c 10 /dev/zero; wait`;
  const sink = new Counter();
  const failing = failureOf(runTool(sh(script, { stallMs: 1_500 }), sink));
  const pids = [await readPid(child), await readPid(stubborn)];
  expect(await failing).toMatchObject({ code: 'TOOL_STALLED' });
  for (const pid of pids) await untilGone(pid);
});

test('A5: kills a tool and its children at the deadline, even while it writes', async () => {
  const child = join(folder, 'late-child');
  const failing = failureOf(
    runTool(sh(`sleep infinity & echo $! > ${child}; exec yes`, { timeoutMs: 1_500, stallMs: 60_000 }), new Counter()),
  );
  const pid = await readPid(child);
  expect(await failing).toMatchObject({ code: 'JOB_DEADLINE' });
  await untilGone(pid);
});

test('A5: kills a tool that is stopped by SIGSTOP', async () => {
  const path = join(folder, 'stopped');
  const failing = failureOf(runTool(sh(`echo $$ > ${path}; kill -STOP $$; sleep 60`, { stallMs: 1_000 })));
  const pid = await readPid(path);
  expect(await failing).toMatchObject({ code: 'TOOL_STALLED' });
  await untilGone(pid);
});

test('A5: standard error alone counts as progress', async () => {
  const script = 'for i in 1 2 3 4 5 6; do sleep 0.5; echo working >&2; done; echo done';
  const { stdout } = await captureTool(sh(script, { stallMs: 1_500 }));
  expect(stdout).toBe('done\n');
});

test('ends the tool of a canceled job with JOB_CANCELED', async () => {
  const path = join(folder, 'canceled');
  const stop = new AbortController();
  const failing = failureOf(runTool(sh(`echo $$ > ${path}; exec sleep infinity`, { signal: stop.signal })));
  const pid = await readPid(path);
  stop.abort();
  expect((await failing).code).toBe('JOB_CANCELED');
  await untilGone(pid);
});

test('A18: streams 400 MB of output to a slow sink in bounded memory', async () => {
  const before = process.memoryUsage().rss;
  let most = 0;
  class Sampler extends Counter {
    override _write(chunk: Buffer, encoding: BufferEncoding, done: () => void): void {
      if (this.bytes % (16 * MIB) < chunk.length) most = Math.max(most, process.memoryUsage().rss - before);
      super._write(chunk, encoding, () => setImmediate(done));
    }
  }
  const sink = new Sampler();
  await runTool(sh('head -c 400000000 /dev/zero'), sink);
  expect(sink).toMatchObject({ bytes: 400_000_000, ended: true });
  expect(most).toBeLessThan(150 * MIB);
});

test('A18: keeps only the last lines of 50 MB of standard error', async () => {
  const before = process.memoryUsage().rss;
  const { stderrTail } = await runTool(sh("yes 'a warning that repeats itself' | head -c 50000000 >&2; echo last >&2"));
  expect(stderrTail.length).toBeLessThanOrEqual(40);
  expect(stderrTail.at(-1)).toContain('last');
  expect(process.memoryUsage().rss - before).toBeLessThan(150 * MIB);
  const { stderrTail: oneLine } = await runTool(sh('head -c 50000000 /dev/zero | tr "\\0" x >&2'));
  expect(oneLine.join('').length).toBeLessThanOrEqual(64 * 1024);
});

test('captureTool fails when the output exceeds its limit', async () => {
  expect(await failureOf(captureTool(sh('head -c 100000 /dev/zero'), 99_999))).toMatchObject({
    code: 'TOOL_FAILED',
    message: expect.stringContaining('more than 99999'),
  });
});

test('A6: a full sink ends the tool and is reported as the cause', async () => {
  const path = join(folder, 'full-child');
  const full = new Writable({
    write: (_chunk, _encoding, done) => done(Object.assign(new Error('full'), { code: 'ENOSPC' })),
  });
  const failing = failureOf(runTool(sh(`echo $$ > ${path}; exec yes`), full));
  const pid = await readPid(path);
  expect(await failing).toMatchObject({ code: 'NO_SPACE' });
  await untilGone(pid);
});

test('reports a damaged input as the cause, not the tool that fails because of it', async () => {
  const damaged = Readable.from(
    (async function* () {
      yield Buffer.alloc(1000);
      throw new Failure('BACKUP_CORRUPT', 'bytes differ');
    })(),
  );
  expect(await failureOf(runTool(sh('cat >/dev/null; exit 3', { stdin: damaged })))).toMatchObject({
    code: 'BACKUP_CORRUPT',
  });
});

test('a tool may succeed without reading all of its input, which is read to the end unless mayStopReading is set', async () => {
  for (let round = 0; round < 20; round += 1) {
    let read = 0;
    const source = Readable.from(
      (async function* () {
        for (; read < 40; read += 1) yield Buffer.alloc(64 * 1024);
      })(),
    );
    await runTool(sh('head -c 70000 > /dev/null', { stdin: source }));
    expect(read).toBe(40);
    await runTool(sh('true', { stdin: Readable.from([Buffer.alloc(10)]) }));
  }
  const endless = Readable.from(
    (async function* () {
      for (;;) yield Buffer.alloc(64 * 1024);
    })(),
  );
  await runTool(sh('head -c 70000 > /dev/null', { stdin: endless, mayStopReading: true }));
  expect(endless.destroyed).toBe(true);
});

test('fails when the input is damaged after the part that the tool has read', async () => {
  const damaged = Readable.from(
    (async function* () {
      for (let round = 0; round < 40; round += 1) yield Buffer.alloc(64 * 1024);
      throw new Failure('BACKUP_CORRUPT', 'bytes differ');
    })(),
  );
  const failure = await failureOf(runTool(sh('head -c 100 > /dev/null', { stdin: damaged })));
  expect(failure.code).toBe('BACKUP_CORRUPT');
});

test('J3: fails with a code when a tool is missing, not executable or not a program', async () => {
  const [plain, odd] = [join(folder, 'plain'), join(folder, 'odd')];
  await writeFile(plain, '#!/bin/sh\n', { mode: 0o644 });
  await writeFile(odd, 'no_such_command_of_a_program', { mode: 0o755 });
  const call = (file: string): Promise<Failure> => failureOf(runTool({ ...sh(''), file, args: [] }));
  expect((await call(join(folder, 'missing'))).code).toBe('TOOL_NOT_FOUND');
  expect(await call(plain)).toMatchObject({
    code: 'TOOL_FAILED',
    message: expect.stringContaining('ermission denied'),
  });
  expect(await call(odd)).toMatchObject({
    code: 'TOOL_FAILED',
    message: expect.stringContaining('ended with exit status 127'),
  });
  expect(await failureOf(runTool(sh('true', { cwd: join(folder, 'nowhere') })))).toMatchObject({
    code: 'TOOL_FAILED',
    message: expect.stringContaining('nowhere'),
  });
});

const child = new URL('child.ts', import.meta.url).pathname;
const node = (...args: string[]): ToolCall => ({ ...sh(''), file: process.execPath, args: [child, ...args] });
const lines = async (call: ToolCall): Promise<unknown> => JSON.parse((await captureTool(call)).stdout);

test.skipIf(!existsSync('/usr/bin/prlimit'))(
  'J3: fails with a code when no file descriptor is free (EMFILE), and the next call succeeds (needs prlimit)',
  async () => {
    const call = node('descriptors');
    const limited = { ...call, file: '/usr/bin/prlimit', args: ['--nofile=128', call.file, ...call.args] };
    const [refused, after] = (await lines(limited)) as string[];
    expect(refused).toMatch(/^TOOL_FAILED: .*EMFILE/);
    expect(after).toBe('done');
  },
);

test.skipIf(!existsSync('/usr/bin/prlimit') || process.getuid?.() !== 0)(
  'J3: fails with a code when no process can be created (EAGAIN) (needs prlimit and root)',
  async () => {
    // The limit does not apply to root, so the caller runs as another user.
    const user = { uid: 54_321, gid: 54_321 };
    expect(await lines({ ...node('processes'), user })).toEqual([expect.stringMatching(/^TOOL_FAILED: .*EAGAIN/)]);
  },
);

test('M19: a tool dies with its parent, even after SIGKILL', async () => {
  const path = join(folder, 'orphan');
  const stop = new AbortController();
  const parent = runTool({ ...node('hold', path), signal: stop.signal });
  parent.catch(() => undefined);
  const pid = await readPid(path);
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const parentPid = Number(/^PPid:\s+(\d+)$/m.exec(status)?.[1]);
  process.kill(parentPid, 'SIGKILL');
  await untilGone(pid);
  expect(await failureOf(parent)).toMatchObject({ code: 'TOOL_FAILED', message: expect.stringContaining('SIGKILL') });
});

test('M12: a secret in the environment appears in no process arguments and no error', async () => {
  const secret = randomBytes(16).toString('hex');
  const path = join(folder, 'with-secret');
  const failing = failureOf(
    runTool(sh(`echo $$ > ${path}; read line; exit 7`, { env: { PGPASSWORD: secret }, stdin: waitForRelease() })),
  );
  await readPid(path);
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name)))
    expect(await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '')).not.toContain(secret);
  release();
  const failure = await failing;
  expect(failure).toMatchObject({ code: 'TOOL_FAILED', message: expect.stringContaining('ended with exit status 7') });
  expect(JSON.stringify([failure.message, failure.stack, failure.wireError])).not.toContain(secret);
});
let release = (): void => undefined;
function waitForRelease(): Readable {
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  return Readable.from(
    (async function* () {
      await released;
      yield Buffer.from('go\n');
    })(),
  );
}

test('I10: kills the background child of a tool that succeeds', async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, 'pid');
  await captureTool({
    file: 'sh',
    args: ['-c', `sleep 300 >/dev/null 2>&1 & echo $! > ${file}`],
    signal: new AbortController().signal,
    timeoutMs: 10_000,
  });
  const pid = (await readFile(file, 'utf8')).trim();
  await vi.waitFor(() => expect(readStateOf(pid)).toBe('gone'));
});
function readStateOf(pid: string): string {
  try {
    // A zombie that init has not yet reaped counts as gone.
    return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')) ? 'gone' : 'alive';
  } catch {
    return 'gone';
  }
}
