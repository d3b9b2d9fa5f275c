import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { captureTool, runTool } from '@lastgood/host';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findPostgres, type Lie, type LieOptions, lyingTool, temporaryFolder } from '../src/index.ts';

const cleanup = new AsyncDisposableStack();
let folder: string;
let realOutput: string;

// `--help` is real output of a real tool without a server.
const call = (file: string, signal = new AbortController().signal, args = ['--help']) => ({
  file,
  args,
  signal,
  timeoutMs: 30_000,
});
const lying = (lie: Lie, options?: LieOptions): Promise<string> => lyingTool(folder, 'pg_dump', lie, options);
/** The output of the tool, and how it ended. */
async function outcome(file: string): Promise<{ bytes: string; code: string; message: string }> {
  const sink = new PassThrough();
  const bytes = buffer(sink).catch(() => Buffer.from('lost'));
  const end = await runTool(call(file), sink).then(
    ({ stderrTail }) => ({ code: 'succeeded', message: stderrTail.join('\n') }),
    (error: { code: string; message: string }) => {
      sink.end();
      return { code: error.code, message: error.message };
    },
  );
  return { bytes: (await bytes).toString(), ...end };
}

/** True when a child of this process hangs in `sleep`. */
async function isHanging(): Promise<boolean> {
  const ps = { ...call('ps'), args: ['--ppid', String(process.pid), '-o', 'comm='] };
  return /^sleep$/m.test((await captureTool(ps)).stdout);
}

beforeAll(async () => {
  folder = cleanup.use(await temporaryFolder()).path;
  realOutput = (await captureTool(call(join(findPostgres(), 'pg_dump')))).stdout;
});
afterAll(() => cleanup.disposeAsync());

test('A2: a tool fails with its status after part or all of its output', async () => {
  const some = await outcome(await lying({ lie: 'fails', afterBytes: 100 }));
  expect(some).toMatchObject({ bytes: realOutput.slice(0, 100), code: 'TOOL_FAILED' });
  const all = await outcome(await lying({ lie: 'fails', afterBytes: Infinity, status: 3, stderr: "it's over" }));
  expect(all).toMatchObject({ bytes: realOutput, code: 'TOOL_FAILED' });
  expect(all.message).toMatch(/ended with exit status 3: it's over$/);
});

test.for([0, 20])('A3: a tool exits with 0 after %i bytes, without a message', async (afterBytes) => {
  expect(await outcome(await lying({ lie: 'truncates', afterBytes }))).toEqual({
    bytes: realOutput.slice(0, afterBytes),
    code: 'succeeded',
    message: '',
  });
});

test.for(['KILL', 'SEGV', 'TERM', 'INT'] as const)('A1, A17: a tool is killed by SIG%s', async (signal) => {
  const end = await outcome(await lying({ lie: 'dies', afterBytes: 64, signal }));
  expect(end).toMatchObject({ bytes: realOutput.slice(0, 64), code: 'TOOL_FAILED' });
  expect(end.message).toContain(`SIG${signal}`);
});

test.for([false, true])(
  'A5: a tool hangs with its output open until it is stopped (ignores SIGTERM: %s)',
  async (ignoresTerm) => {
    const file = await lying({ lie: 'hangs', afterBytes: 10, ignoresTerm });
    const stop = new AbortController();
    const sink = new PassThrough();
    const running = runTool({ ...call(file, stop.signal), stallMs: 60_000 }, sink);
    running.catch(() => undefined);
    // runTool batches the first ten bytes, so wait for the process instead of its output.
    while (!(await isHanging())) await delay(10);
    stop.abort();
    await expect(running).rejects.toMatchObject({ code: 'JOB_CANCELED' });
  },
);

test('A5: a tool that hangs is reported as stalled', async () => {
  const file = await lying({ lie: 'hangs', afterBytes: Infinity });
  await expect(runTool({ ...call(file), stallMs: 300 }, new PassThrough().resume())).rejects.toMatchObject({
    code: 'TOOL_STALLED',
  });
});

test('A4: a tool prints warnings and works normally', async () => {
  const end = await outcome(await lying({ lie: 'chatters', line: "warning: it's odd", lines: 2 }));
  expect(end).toEqual({ bytes: realOutput, code: 'succeeded', message: "warning: it's odd\nwarning: it's odd" });
});

test('A4, A18: a tool prints warnings until it is stopped', async () => {
  const file = await lying({ lie: 'chatters', line: 'x'.repeat(200), lines: Infinity });
  await expect(runTool({ ...call(file), timeoutMs: 500 })).rejects.toMatchObject({ code: 'JOB_DEADLINE' });
});

test('A10: a tool reports another version and otherwise works normally', async () => {
  const file = await lying({ lie: 'version', text: "pg_dump (PostgreSQL) 9.6.0 'odd'" });
  const version = await captureTool(call(file, new AbortController().signal, ['--version']));
  expect(version.stdout).toBe("pg_dump (PostgreSQL) 9.6.0 'odd'\n");
  expect(await outcome(file)).toMatchObject({ bytes: realOutput, code: 'succeeded' });
});

test('a fault applies only to the selected calls, and to --version only with the fault version', async () => {
  const file = await lying({ lie: 'fails', afterBytes: 0 }, { when: '--dbname' });
  expect(await outcome(file)).toMatchObject({ bytes: realOutput, code: 'succeeded' });
  await lying({ lie: 'fails', afterBytes: 0 });
  const version = await captureTool(call(file, new AbortController().signal, ['--version']));
  expect(version.stdout).toContain('pg_dump (PostgreSQL)');
  expect(await outcome(file)).toMatchObject({ code: 'TOOL_FAILED' });
});

test('the other tools in the folder are the real ones, and writing a fault does not overwrite them', async () => {
  await lying({ lie: 'truncates', afterBytes: 0 });
  const restore = await captureTool(call(join(folder, 'pg_restore')));
  expect(restore.stdout).toContain('pg_restore restores');
  expect((await captureTool(call(join(findPostgres(), 'pg_dump')))).stdout).toBe(realOutput);
  expect((await stat(join(folder, 'pg_dump'))).mode & 0o777).toBe(0o755);
  // Servers started from the folder run as another user, as in a verification.
  const user = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : undefined;
  const initdb = { ...call(join(folder, 'initdb')), args: ['--show', '--pgdata=/nowhere'], cwd: '/' };
  expect((await captureTool({ ...initdb, ...(user && { user }) })).stderrTail.join('\n')).toContain('share_path=');
});
