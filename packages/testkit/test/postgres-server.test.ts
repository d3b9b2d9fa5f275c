import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { captureTool } from '@lastgood/host';
import { expect, test } from 'vitest';
import { freePort, startPostgres, temporaryFolder } from '../src/index.ts';

const never = new AbortController().signal;
const isGone = async (pid: number): Promise<boolean> =>
  /State:\s+Z/.test(await readFile(`/proc/${pid}/status`, 'utf8').catch(() => 'State: Z'));

test('a server accepts the password file on 127.0.0.1 and on its socket, and refuses a missing or wrong password', async () => {
  await using server = await startPostgres({ extraConf: "application_name = 'it''s ours'" });
  expect(await server.query('postgres', 'select $1::int + 1 as n', [41])).toEqual([{ n: 42 }]);
  expect(await server.query('postgres', "select current_setting('application_name') as a")).toEqual([
    { a: "it's ours" },
  ]);
  const bySocket = (passfile: string) =>
    captureTool({
      file: join(server.binDir, 'psql'),
      args: [
        '-XAtwc',
        'select inet_server_addr() is null',
        `--host=${server.socketFolder}`,
        `--port=${server.port}`,
      ].concat(`--username=${server.user}`, '--dbname=postgres'),
      env: { PGPASSFILE: passfile },
      signal: never,
      timeoutMs: 20_000,
    });
  expect((await bySocket(server.passfile)).stdout).toBe('t\n');
  await expect(bySocket('/dev/null')).rejects.toThrow('no password supplied');
  await expect(server.queryAs(server.user, 'guess', 'postgres', 'select 1')).rejects.toThrow('password authentication');
  const listens = "select setting from pg_settings where name = 'listen_addresses'";
  expect(await server.query('postgres', listens)).toEqual([{ setting: '127.0.0.1' }]);
});

test('the files of a server are private and removed with it', async () => {
  const server = await startPostgres({ superuserPassword: 'with:colon\\and backslash' });
  expect((await stat(server.passfile)).mode & 0o777).toBe(0o600);
  expect((await stat(server.passfile)).uid).toBe(process.getuid?.());
  expect((await stat(server.dataDir)).mode & 0o777).toBe(0o700);
  if (process.getuid?.() === 0) expect((await stat(server.dataDir)).uid).not.toBe(0);
  await server[Symbol.asyncDispose]();
  expect([server.passfile, dirname(server.passfile), server.socketFolder].filter(existsSync)).toEqual([]);
});

test('a server stops while clients are connected, and may be stopped twice', async () => {
  await using server = await startPostgres();
  const pid = Number((await readFile(join(server.dataDir, 'postmaster.pid'), 'utf8')).split('\n')[0]);
  const sleeping = server.query('postgres', 'select pg_sleep(600)').catch((error: unknown) => String(error));
  const active = "select 1 from pg_stat_activity where query like 'select pg_sleep%'";
  while ((await server.query('postgres', active)).length === 0) await delay(10);
  await server.stop();
  expect(await isGone(pid)).toBe(true);
  expect(await sleeping).toMatch(/terminat|cancel/);
  await expect(server.query('postgres', 'select 1')).rejects.toThrow('ECONNREFUSED');
  await server.stop();
});

test('uses the next port when another process has the first', async () => {
  const mute = createServer(() => undefined).listen(0, '127.0.0.1');
  await once(mute, 'listening');
  const address = mute.address();
  const taken = typeof address === 'object' && address !== null ? address.port : 0;
  const ports = [taken, taken, await freePort()];
  await using server = await startPostgres({ nextPort: async () => ports.shift() ?? 0 });
  expect(server.port).not.toBe(taken);
  expect(await server.query('postgres', 'select 1 as one')).toEqual([{ one: 1 }]);
  mute.close();
});

test('a server that cannot start reports the reason and leaves no folder', async () => {
  await using parent = await temporaryFolder();
  const long = join(parent.path, 'x'.repeat(90));
  for (const path of [parent.path, long]) await mkdir(path, { recursive: true });
  await chmod(parent.path, 0o755); // The user of the server needs access.
  const before = process.env['TMPDIR'];
  process.env['TMPDIR'] = parent.path;
  try {
    await expect(startPostgres({ extraConf: 'no_such_setting = 1' })).rejects.toThrow('no_such_setting');
    process.env['TMPDIR'] = long;
    await expect(startPostgres()).rejects.toThrow('too long for a unix socket');
  } finally {
    if (before === undefined) delete process.env['TMPDIR'];
    else process.env['TMPDIR'] = before;
  }
  expect(await readdir(parent.path, { recursive: true })).toEqual(['x'.repeat(90)]);
});

test('I10: a server dies with the process that started it, even after SIGKILL', async () => {
  const index = join(import.meta.dirname, '../src/index.ts');
  const code = `const { startPostgres } = await import(${JSON.stringify(index)}); const s = await startPostgres(); console.log(s.dataDir + ' ' + s.passfile);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
  const [dataDir = '', passfile = ''] = line.split(' ');
  const pid = Number((await readFile(join(dataDir, 'postmaster.pid'), 'utf8')).split('\n')[0]);
  expect(await isGone(pid)).toBe(false);
  child.kill('SIGKILL');
  await once(child, 'exit');
  while (!(await isGone(pid))) await delay(10);
  const folders = [dirname(dataDir), dirname(passfile)];
  await captureTool({ file: 'rm', args: ['-rf', ...folders], signal: never, timeoutMs: 20_000 });
});

test('a temporary folder is private, has a short path and is removed when disposed', async () => {
  let path = '';
  {
    await using folder = await temporaryFolder();
    path = folder.path;
    expect((await stat(path)).mode & 0o777).toBe(0o700);
    expect(path.length).toBeLessThan(40);
  }
  expect(existsSync(path)).toBe(false);
});
