import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { formatFinding, type JobSpec } from '@lastgood/protocol';
import { type PostgresServer, startPostgres, temporaryFolder, waitFor } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Fleet } from '../../support/fleet.ts';

/** Opening the marker of the repository blocks, like a network disk whose server is gone. */
const SHIM = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>
static void block(const char *path) { while (strstr(path, "/dead/lastgood.json") != NULL) pause(); }
#define OPEN(name) \\
  int name(const char *path, int flags, ...) { \\
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, #name); \\
    va_list rest; va_start(rest, flags); int mode = va_arg(rest, int); va_end(rest); \\
    block(path); return real(path, flags, mode); }
OPEN(open)
OPEN(open64)
`;
const call = promisify(execFile);
const compiler = await call('cc', ['--version']).then(
  () => '',
  () => ' (needs a C compiler)',
);

const DEAD = ['d1', 'd2', 'd3', 'd4', 'd5'];
const cleanup = new AsyncDisposableStack();
let server: PostgresServer;
let fleet: Fleet;

beforeAll(async () => {
  if (compiler !== '') return;
  server = cleanup.use(await startPostgres());
  await server.query('postgres', 'create database shop');
  fleet = cleanup.use(await Fleet.start(cleanup.use(await temporaryFolder()).path, server.connection));
  await fleet.stopAgent();
  const dead = join(fleet.folder, 'dead');
  await mkdir(dead, { mode: 0o700 });
  await writeFile(join(dead, 'lastgood.json'), '{}', { mode: 0o600 });
  const [source, shim] = [join(fleet.folder, 'shim.c'), join(fleet.folder, 'shim.so')];
  await writeFile(source, SHIM);
  await call('cc', ['-shared', '-fPIC', '-o', shim, source, '-ldl']);
  const config = JSON.parse(await readFile(fleet.configFile, 'utf8'));
  config.repositories.dead = { type: 'folder', path: dead };
  for (const name of DEAD) config.targets[name] = { ...config.targets.shop, repository: 'dead' };
  await writeFile(fleet.configFile, JSON.stringify(config), { mode: 0o600 });
  await fleet.startAgent({ LD_PRELOAD: shim });
}, 120_000);
afterAll(() => cleanup.disposeAsync());

const backupOf = (target: string): JobSpec => ({
  command: 'backup',
  target,
  method: null,
  contents: ['shop'],
  options: {},
});

test.skipIf(compiler !== '')(
  `E9: five targets on an unresponsive disk do not affect other targets and are reported${compiler}`,
  async () => {
    const { state } = await fleet.ended(await fleet.send(backupOf('shop')));
    expect(state).toBe('succeeded');
    const reported = await waitFor(
      'the findings of the targets on the unresponsive disk',
      120_000,
      new AbortController().signal,
      async () => {
        const targets = (await fleet.client.targets.query({})).filter(({ name }) => DEAD.includes(name));
        return targets.length === DEAD.length ? targets : undefined;
      },
    );
    for (const { findings } of reported) expect(findings.map(formatFinding).join()).toContain('does not answer');
    const { error } = await fleet.ended(await fleet.send(backupOf('d1')));
    expect(error).toMatchObject({ code: 'IO_ERROR', message: expect.stringContaining('does not answer') });
    expect((await fleet.ended(await fleet.send(backupOf('shop')))).state).toBe('succeeded');
  },
);

test.skipIf(compiler !== '')(
  `J1: an agent that waits for an unresponsive disk ends on SIGTERM and logs why it did not end cleanly${compiler}`,
  async () => {
    await fleet.stopAgent();
    expect(fleet.agentLog).toContain('something does not answer');
  },
);
