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
let truth: string;

// `--help` is real output of a real tool without a server.
const call = (file: string, signal = new AbortController().signal, args = ['--help']) => ({
  file,
  args,
  signal,
  timeoutMs: 30_000,
});
const lying = (lie: Lie, options?: LieOptions): Promise<string> => lyingTool(folder, 'pg_dump', lie, options);
/** What the tool printed, and how it ended. */
async function outcome(file: string): Promise<{ bytes: string; code: string; message: string }> {
  const sink = new PassThrough();
  const bytes = buffer(sink).catch(() => Buffer.from('lost'));
  const end = await runTool(call(file), sink).then(
    ({ stderrTail }) => ({ code: 'fine', message: stderrTail.join('\n') }),
    (error: { code: string; message: string }) => {
      sink.end();
      return { code: error.code, message: error.message };
    },
  );
  return { bytes: (await bytes).toString(), ...end };
}

/** Whether a child of ours has come to the point where it hangs. */
async function sleeps(): Promise<boolean> {
  const ps = { ...call('ps'), args: ['--ppid', String(process.pid), '-o', 'comm='] };
  return /^sleep$/m.test((await captureTool(ps)).stdout);
}

beforeAll(async () => {
  folder = cleanup.use(await temporaryFolder()).path;
  truth = (await captureTool(call(join(findPostgres(), 'pg_dump')))).stdout;
});
afterAll(() => cleanup.disposeAsync());

test('A2: a tool fails with its status after so many bytes, or after all of them', async () => {
  const some = await outcome(await lying({ lie: 'fails', afterBytes: 100 }));
  expect(some).toMatchObject({ bytes: truth.slice(0, 100), code: 'TOOL_FAILED' });
  const all = await outcome(await lying({ lie: 'fails', afterBytes: Infinity, status: 3, stderr: "it's over" }));
  expect(all).toMatchObject({ bytes: truth, code: 'TOOL_FAILED' });
  expect(all.message).toMatch(/ended with exit status 3: it's over$/);
});

test.for([0, 20])('A3: a tool ends with 0 after %i bytes, without a word', async (afterBytes) => {
  expect(await outcome(await lying({ lie: 'truncates', afterBytes }))).toEqual({
    bytes: truth.slice(0, afterBytes),
    code: 'fine',
    message: '',
  });
});

test.for(['KILL', 'SEGV', 'TERM', 'INT'] as const)('A1, A17: a tool is ended by SIG%s', async (signal) => {
  const end = await outcome(await lying({ lie: 'dies', afterBytes: 64, signal }));
  expect(end).toMatchObject({ bytes: truth.slice(0, 64), code: 'TOOL_FAILED' });
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
    // The batches of runTool hold ten bytes back, so the sign of life is the process itself.
    while (!(await sleeps())) await delay(10);
    stop.abort();
    await expect(running).rejects.toMatchObject({ code: 'JOB_CANCELED' });
  },
);

test('A5: a tool that hangs is found stalled', async () => {
  const file = await lying({ lie: 'hangs', afterBytes: Infinity });
  await expect(runTool({ ...call(file), stallMs: 300 }, new PassThrough().resume())).rejects.toMatchObject({
    code: 'TOOL_STALLED',
  });
});

test('A4: a tool warns and works as it should', async () => {
  const end = await outcome(await lying({ lie: 'chatters', line: "warning: it's odd", lines: 2 }));
  expect(end).toEqual({ bytes: truth, code: 'fine', message: "warning: it's odd\nwarning: it's odd" });
});

test('A4, A18: a tool chatters without end until it is stopped', async () => {
  const file = await lying({ lie: 'chatters', line: 'x'.repeat(200), lines: Infinity });
  await expect(runTool({ ...call(file), timeoutMs: 500 })).rejects.toMatchObject({ code: 'JOB_DEADLINE' });
});

test('A10: a tool names another version and works as it should otherwise', async () => {
  const file = await lying({ lie: 'version', text: "pg_dump (PostgreSQL) 9.6.0 'odd'" });
  const version = await captureTool(call(file, new AbortController().signal, ['--version']));
  expect(version.stdout).toBe("pg_dump (PostgreSQL) 9.6.0 'odd'\n");
  expect(await outcome(file)).toMatchObject({ bytes: truth, code: 'fine' });
});

test('a tool lies only in the calls that are named, and never about its version unless that is the lie', async () => {
  const file = await lying({ lie: 'fails', afterBytes: 0 }, { when: '--dbname' });
  expect(await outcome(file)).toMatchObject({ bytes: truth, code: 'fine' });
  await lying({ lie: 'fails', afterBytes: 0 });
  const version = await captureTool(call(file, new AbortController().signal, ['--version']));
  expect(version.stdout).toContain('pg_dump (PostgreSQL)');
  expect(await outcome(file)).toMatchObject({ code: 'TOOL_FAILED' });
});

test('the other tools of the folder are the true ones, which no lie overwrites', async () => {
  await lying({ lie: 'truncates', afterBytes: 0 });
  const restore = await captureTool(call(join(folder, 'pg_restore')));
  expect(restore.stdout).toContain('pg_restore restores');
  expect((await captureTool(call(join(findPostgres(), 'pg_dump')))).stdout).toBe(truth);
  expect((await stat(join(folder, 'pg_dump'))).mode & 0o777).toBe(0o755);
  // Servers of the folder start as another user, as those of a verification do.
  const user = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : undefined;
  const initdb = { ...call(join(folder, 'initdb')), args: ['--show', '--pgdata=/nowhere'], cwd: '/' };
  expect((await captureTool({ ...initdb, ...(user && { user }) })).stderrTail.join('\n')).toContain('share_path=');
});
