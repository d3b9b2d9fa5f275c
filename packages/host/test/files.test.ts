import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, chown, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Failure } from '@lastgood/core';
import { smallFileSystem, temporaryFolder } from '@lastgood/testkit';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import {
  captureTool,
  checkPrivate,
  dropFromMemory,
  makePrivateFolder,
  publishFile,
  runTool,
  touchFile,
  writeFileDurably,
} from '../src/index.ts';
import { patterned } from './child.ts';

const signal = new AbortController().signal;
const MIB = 1024 * 1024;
const root = process.getuid?.() === 0;
const strace = existsSync('/usr/bin/strace');
const compiler = existsSync('/usr/bin/cc');
const cleanup = new AsyncDisposableStack();
const small = cleanup.use(await smallFileSystem(8 * MIB));
let base: string;
let folder: string;
let shim: string;

beforeAll(async () => {
  base = cleanup.use(await temporaryFolder()).path;
  shim = join(base, 'shim.so');
  if (!compiler) return;
  await writeFile(join(base, 'shim.c'), SHIM);
  await call('/usr/bin/cc', ['-shared', '-fPIC', '-O1', '-o', shim, join(base, 'shim.c'), '-ldl']);
});
beforeEach(async () => {
  folder = join(base, `at-${process.hrtime.bigint()}`);
  await mkdir(folder, { mode: 0o700 });
});
afterAll(() => cleanup.disposeAsync());

const call = (file: string, args: string[], env: Record<string, string> = {}): Promise<{ stdout: string }> =>
  captureTool({ file, args, env, signal, timeoutMs: 60_000 });
const codeOf = async (work: Promise<unknown>): Promise<string> =>
  await work.then(
    () => 'succeeded',
    (error: unknown) => (error instanceof Failure ? error.code : String(error)),
  );
const from = (data: Buffer) => (sink: Writable) => pipeline(Readable.from([data]), sink);
const child = new URL('child.ts', import.meta.url).pathname;
const sha256 = (data: Buffer): string => createHash('sha256').update(data).digest('hex');

test.skipIf(small.path === null)(
  `A6: a full disk fails the write, removes the partial file and keeps the old one, and a later write succeeds${small.reason ?? ''}`,
  async () => {
    if (small.path === null) return;
    const old = join(small.path, 'old');
    await writeFileDurably(old, 'kept');
    for (const leave of [0, 4096, 65_536, MIB]) {
      await small.fill(leave);
      const target = join(small.path, 'new');
      expect(await codeOf(publishFile(target, from(patterned(4 * MIB))))).toBe('NO_SPACE');
      expect((await readdir(small.path)).sort()).toEqual(['ballast', 'old']);
      expect(await codeOf(writeFileDurably(old, Buffer.alloc(2 * MIB)))).toBe('NO_SPACE');
      expect(await readFile(old, 'utf8')).toBe('kept');
      await small.free();
      await publishFile(target, from(patterned(4 * MIB)));
      expect(sha256(await readFile(target))).toBe(sha256(patterned(4 * MIB)));
      await call('/bin/rm', [target]);
    }
  },
);

test.skipIf(small.path === null)(
  `A6: stops a tool when the disk is full, and reports the disk as the cause${small.reason ?? ''}`,
  async () => {
    if (small.path === null) return;
    await small.fill(MIB);
    const publishing = publishFile(join(small.path, 'stream'), async (sink) => {
      await runTool({ file: '/usr/bin/yes', args: [], signal, timeoutMs: 60_000 }, sink);
    });
    expect(await codeOf(publishing)).toBe('NO_SPACE');
    expect(await readdir(small.path)).not.toContain('stream.partial');
    await small.free();
  },
);

for (const [what, inject, code] of [
  ['A7: EIO from fsync', 'fsync:error=EIO', 'IO_ERROR'],
  ['A7: EIO from a write in the middle', 'write,pwrite64,writev,pwritev:error=EIO:when=3', 'IO_ERROR'],
  ['A7: EIO from close', 'close:error=EIO', 'IO_ERROR'],
  ['A6: ENOSPC that only fsync reports', 'fsync:error=ENOSPC', 'NO_SPACE'],
  ['B3: EXDEV from rename', 'rename,renameat,renameat2:error=EXDEV', 'IO_ERROR'],
] as const)
  test.skipIf(!strace)(`${what} fails the write, is not retried, and leaves no file (needs strace)`, async () => {
    const target = join(folder, 'file');
    const trace = join(base, 'trace');
    const calls = inject.split(':')[0];
    const args = [
      '-f',
      '-qq',
      '-o',
      trace,
      '-P',
      `${target}.partial`,
      '-e',
      `trace=${calls}`,
      '-e',
      `inject=${inject}`,
    ];
    const { stdout } = await call('/usr/bin/strace', [...args, process.execPath, child, 'publish', target, '8000000'], {
      UV_THREADPOOL_SIZE: '1',
    });
    expect(stdout).toContain(code);
    expect(await readdir(folder)).toEqual([]);
    const injected = (await readFile(trace, 'utf8')).split('\n').filter((line) => line.includes('(INJECTED)'));
    expect(injected).toHaveLength(1);
  });

const linkErrors = (...codes: string[]): string[] => codes.map((code) => `inject=link,linkat:error=${code}`);

for (const [how, errors] of [
  ['with hard links', []],
  ['without hard links (needs strace)', linkErrors('EPERM')],
] as const)
  test.skipIf(errors.length > 0 && !strace)(
    `with ifAbsent, keeps the first published file and no partial file on a file system ${how}`,
    async () => {
      const path = join(folder, 'file');
      const under = (text: string): string[] => {
        const node = [process.execPath, child, 'first', path, join(folder, text), text];
        const [inject] = errors;
        return inject === undefined
          ? node
          : ['/usr/bin/strace', '-f', '-qq', '-o', '/dev/null', '-e', 'trace=link,linkat', '-e', inject, ...node];
      };
      const publish = async (text: string): Promise<string> => {
        const [file = '', ...args] = under(text);
        return (await call(file, args)).stdout;
      };
      expect(await publish('first')).toContain('true');
      expect(await publish('second')).toContain('false');
      expect([await readFile(path, 'utf8'), await readdir(folder)]).toEqual(['first', ['file']]);
    },
  );

test('with ifAbsent, exactly one of many concurrent writers publishes', async () => {
  const path = join(folder, 'file');
  const published = await Promise.all(
    Array.from({ length: 8 }, (_, index) =>
      publishFile(path, from(Buffer.from(String(index))), { partial: `${path}.${index}.partial`, ifAbsent: true }),
    ),
  );
  expect(published.filter(Boolean)).toHaveLength(1);
  expect([await readFile(path, 'utf8'), await readdir(folder)]).toEqual([String(published.indexOf(true)), ['file']]);
});

test('B4: does not follow a symbolic link to read the clock of a file system', async () => {
  await symlink(join(base, 'elsewhere'), join(folder, 'clock'));
  expect(await codeOf(touchFile(join(folder, 'clock')))).toBe('REPOSITORY_UNSAFE');
  expect(existsSync(join(base, 'elsewhere'))).toBe(false);
});

test('returns the reason when a file cannot be dropped from the page cache', async () => {
  await writeFileDurably(join(folder, 'file'), 'bytes');
  expect(await dropFromMemory(join(folder, 'file'), signal)).toBeNull();
  expect(await dropFromMemory(join(folder, 'missing'), signal)).toContain('dd ended with exit status 1');
});

test.skipIf(!strace)(
  'A7: EIO from the fsync of the folder fails the call, and the published file is complete (needs strace)',
  async () => {
    const target = join(folder, 'file');
    const inject = ['-P', folder, '-e', 'trace=fsync', '-e', 'inject=fsync:error=EIO'];
    const args = ['-f', '-qq', '-o', '/dev/null', ...inject, process.execPath, child, 'publish', target, '700000'];
    expect((await call('/usr/bin/strace', args)).stdout).toContain('IO_ERROR');
    expect(await readdir(folder)).toEqual(['file']);
    expect(sha256(await readFile(target))).toBe(sha256(patterned(700_000)));
  },
);

/** Writes only half of each buffer, and fails every third call with EINTR, for partial files. */
const SHIM = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
static int is_partial(int fd) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, sizeof path - 1);
  if (n < 0) return 0;
  path[n] = 0;
  return strstr(path, ".partial") != NULL;
}
static int calls;
static int interrupted(int fd) { return is_partial(fd) && ++calls % 3 == 0; }
static size_t half(int fd, size_t n) { return n > 1 && is_partial(fd) ? n / 2 : n; }
ssize_t write(int fd, const void *b, size_t n) {
  ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
  if (interrupted(fd)) { errno = EINTR; return -1; }
  return real(fd, b, half(fd, n));
}
ssize_t pwrite64(int fd, const void *b, size_t n, off_t at) {
  ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite64");
  if (interrupted(fd)) { errno = EINTR; return -1; }
  return real(fd, b, half(fd, n), at);
}
ssize_t pwrite(int fd, const void *b, size_t n, off_t at) { return pwrite64(fd, b, n, at); }
ssize_t writev(int fd, const struct iovec *v, int c) {
  ssize_t (*real)(int, const struct iovec *, int) = dlsym(RTLD_NEXT, "writev");
  if (!is_partial(fd)) return real(fd, v, c);
  return write(fd, v[0].iov_base, v[0].iov_len);
}
`;

test.skipIf(!compiler)('A8: short and interrupted writes produce identical bytes (needs a C compiler)', async () => {
  const target = join(folder, 'file');
  const { stdout } = await call(process.execPath, [child, 'publish', target, '3000000'], { LD_PRELOAD: shim });
  expect(stdout).toContain('done');
  expect(sha256(await readFile(target))).toBe(sha256(patterned(3_000_000)));
});

test('A8: a slow sink receives identical bytes from a tool', async () => {
  await writeFile(join(folder, 'source'), patterned(300_000));
  const hash = createHash('sha256');
  const pieces = new Writable({
    highWaterMark: 1,
    write(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      setImmediate(done);
    },
  });
  await runTool({ file: '/bin/cat', args: [join(folder, 'source')], signal, timeoutMs: 60_000 }, pieces);
  expect(hash.digest('hex')).toBe(sha256(patterned(300_000)));
});

test('B4: refuses and keeps an existing partial file', async () => {
  const target = join(folder, 'file');
  const victim = join(folder, 'victim');
  await writeFile(victim, 'precious', { mode: 0o600 });
  await symlink(victim, `${target}.partial`);
  expect(await codeOf(publishFile(target, from(Buffer.from('new'))))).toBe('REPOSITORY_UNSAFE');
  expect(await readFile(victim, 'utf8')).toBe('precious');
  expect((await readdir(folder)).sort()).toEqual(['file.partial', 'victim']);
});

test('B4: replaces a symbolic link at the final name and does not write to its target', async () => {
  const target = join(folder, 'file');
  const victim = join(folder, 'victim');
  await writeFile(victim, 'precious', { mode: 0o600 });
  await symlink(victim, target);
  await publishFile(target, from(Buffer.from('new')));
  expect(await readFile(victim, 'utf8')).toBe('precious');
  expect(await readFile(target, 'utf8')).toBe('new');
});

test('B4: refuses a symbolic link as a private folder', async () => {
  const link = join(folder, 'link');
  await mkdir(join(folder, 'real'), { mode: 0o700 });
  await symlink(join(folder, 'real'), link);
  expect(await codeOf(checkPrivate(link))).toBe('DATA_FOLDER_UNSAFE');
  expect(await codeOf(makePrivateFolder(link))).not.toBe('succeeded');
});

test('B16: creates private files and folders under any umask, and refuses open ones', async () => {
  const umask = process.umask(0);
  try {
    const created = join(folder, 'a', 'b');
    await makePrivateFolder(created);
    await publishFile(join(created, 'file'), from(Buffer.from('x')));
    expect([(await stat(created)).mode & 0o777, (await stat(join(created, 'file'))).mode & 0o777]).toEqual([
      0o700, 0o600,
    ]);
    expect((await stat(join(folder, 'a'))).mode & 0o077).toBe(0);
  } finally {
    process.umask(umask);
  }
  for (const mode of [0o755, 0o770, 0o701, 0o707]) {
    await chmod(join(folder, 'a'), mode);
    expect(await codeOf(checkPrivate(join(folder, 'a')))).toBe('DATA_FOLDER_UNSAFE');
  }
});

test('refuses a path that is a file or is below one, and does not change it', async () => {
  await writeFile(join(folder, 'file'), 'theirs');
  for (const path of [join(folder, 'file'), join(folder, 'file', 'below')])
    expect(await codeOf(makePrivateFolder(path))).toBe('DATA_FOLDER_UNSAFE');
  expect(await readFile(join(folder, 'file'), 'utf8')).toBe('theirs');
});

test('creates a folder below a symbolic link, with or without a trailing slash', async () => {
  await mkdir(join(folder, 'disk'));
  await symlink(join(folder, 'disk'), join(folder, 'link'));
  await makePrivateFolder(join(folder, 'link', 'a', 'b/'));
  await makePrivateFolder(join(folder, 'link', 'a', 'b'));
  expect((await stat(join(folder, 'disk', 'a', 'b'))).mode & 0o777).toBe(0o700);
});

test.skipIf(!strace)(
  'B1: the name of a folder is made durable no matter who created the folder (needs strace)',
  async () => {
    const made = join(folder, 'made');
    for (const when of ['new', 'left by one that was killed']) {
      const trace = join(base, 'trace');
      const args = ['-f', '-qq', '-y', '-o', trace, '-e', 'trace=fsync', process.execPath, child, 'folder', made];
      expect((await call('/usr/bin/strace', args)).stdout, when).toContain('done');
      expect((await readFile(trace, 'utf8')).includes(`<${folder}>)`), when).toBe(true);
    }
  },
);

test.skipIf(!root)('B16: refuses a folder of another user (needs root)', async () => {
  const path = join(folder, 'theirs');
  await mkdir(path, { mode: 0o700 });
  await chown(path, 54_321, 54_321);
  expect(await codeOf(checkPrivate(path))).toBe('DATA_FOLDER_UNSAFE');
  expect(await codeOf(makePrivateFolder(path))).toBe('DATA_FOLDER_UNSAFE');
});

test('B16: refuses a folder with content and a shared folder, and does not change their modes', async () => {
  await using folder = await temporaryFolder();
  const foreign = join(folder.path, 'foreign');
  await mkdir(foreign);
  await writeFile(join(foreign, 'theirs'), '');
  await chmod(foreign, 0o755);
  await expect(makePrivateFolder(foreign)).rejects.toMatchObject({ code: 'DATA_FOLDER_UNSAFE' });
  expect((await stat(foreign)).mode & 0o7777).toBe(0o755);
  const shared = join(folder.path, 'shared');
  await mkdir(shared);
  await chmod(shared, 0o1777);
  await expect(makePrivateFolder(shared)).rejects.toMatchObject({ code: 'DATA_FOLDER_UNSAFE' });
  expect((await stat(shared)).mode & 0o7777).toBe(0o1777);
});
