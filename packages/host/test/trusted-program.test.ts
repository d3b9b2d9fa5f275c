import { chmod, lchown, mkdir, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { temporaryFolder } from '@lastgood/testkit';
import { afterAll, beforeEach, expect, test } from 'vitest';
import { findProgramProblem } from '../src/index.ts';

const root = process.getuid?.() === 0;
const OTHER_USER = 65_534;
const cleanup = new AsyncDisposableStack();
let folder: string;
let program: string;

beforeEach(async () => {
  folder = cleanup.use(await temporaryFolder()).path;
  await mkdir(join(folder, 'bin'), { mode: 0o755 });
  program = join(folder, 'bin', 'start');
  await writeFile(program, '#!/bin/sh\n');
  await chmod(program, 0o755);
});
afterAll(() => cleanup.disposeAsync());

test('accepts a program in folders that only root and this user can write, below the sticky /tmp', async () => {
  expect(await findProgramProblem(program)).toBeNull();
});

test('accepts a system program', async () => {
  expect(await findProgramProblem('/bin/sh')).toBeNull();
});

for (const mode of [0o775, 0o757, 0o777])
  test(`B16: refuses a program of mode ${mode.toString(8)}`, async () => {
    await chmod(program, mode);
    expect(await findProgramProblem(program)).toEqual({ code: 'writable-by-others', path: program });
  });

test('B16: refuses a program in a folder in which others could replace it', async () => {
  await chmod(join(folder, 'bin'), 0o777);
  expect(await findProgramProblem(program)).toEqual({ code: 'writable-by-others', path: join(folder, 'bin') });
});

test.skipIf(!root)('B16: refuses a program or a folder of another user (needs root)', async () => {
  await lchown(program, OTHER_USER, OTHER_USER);
  expect(await findProgramProblem(program)).toEqual({ code: 'foreign-owner', path: program });
  await lchown(program, 0, 0);
  await lchown(join(folder, 'bin'), OTHER_USER, OTHER_USER);
  expect(await findProgramProblem(program)).toEqual({ code: 'foreign-owner', path: join(folder, 'bin') });
});

test('follows symbolic links, absolute and relative', async () => {
  await symlink('bin', join(folder, 'relative'));
  await symlink(join(folder, 'relative', '..', 'bin', 'start'), join(folder, 'link'));
  expect(await findProgramProblem(join(folder, 'link'))).toBeNull();
});

test('B16: checks the folders of every symbolic link, not only the final target', async () => {
  await mkdir(join(folder, 'open'));
  await symlink(program, join(folder, 'open', 'hop'));
  await symlink(join(folder, 'open', 'hop'), join(folder, 'link'));
  await chmod(join(folder, 'open'), 0o777);
  expect(await findProgramProblem(join(folder, 'link'))).toEqual({
    code: 'writable-by-others',
    path: join(folder, 'open'),
  });
});

test.skipIf(!root)('B16: refuses a symbolic link of another user (needs root)', async () => {
  await symlink(program, join(folder, 'link'));
  await lchown(join(folder, 'link'), OTHER_USER, OTHER_USER);
  expect(await findProgramProblem(join(folder, 'link'))).toEqual({ code: 'foreign-owner', path: join(folder, 'link') });
});

test('reports what is missing, not a file, or not executable', async () => {
  expect(await findProgramProblem(join(folder, 'none', 'start'))).toEqual({
    code: 'missing',
    path: join(folder, 'none'),
  });
  expect(await findProgramProblem(join(folder, 'bin'))).toEqual({ code: 'not-a-file', path: join(folder, 'bin') });
  await chmod(program, 0o644);
  expect(await findProgramProblem(program)).toEqual({ code: 'not-executable', path: program });
});

test('reports a loop of symbolic links as missing', async () => {
  await rename(program, join(folder, 'bin', 'other'));
  await symlink('start', program);
  expect(await findProgramProblem(program)).toEqual({ code: 'missing', path: program });
});
