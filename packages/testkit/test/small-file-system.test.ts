import { existsSync } from 'node:fs';
import { open, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { freeBytes, writeFileDurably } from '@lastgood/host';
import { expect, test } from 'vitest';
import { smallFileSystem } from '../src/index.ts';

const MIB = 1024 * 1024;

test('A6: a small file system fills up, and accepts writes again when space is freed', async ({ skip }) => {
  await using disk = await smallFileSystem(2 * MIB);
  if (disk.path === null) return skip(disk.reason);
  const file = join(disk.path, 'data');
  await expect(writeFileDurably(file, Buffer.alloc(3 * MIB))).rejects.toMatchObject({ code: 'NO_SPACE' });
  expect(existsSync(file)).toBe(false);
  await disk.fill(64 * 1024);
  expect(await freeBytes(disk.path)).toBe(64 * 1024);
  await expect(writeFileDurably(file, Buffer.alloc(65 * 1024))).rejects.toMatchObject({ code: 'NO_SPACE' });
  await disk.fill();
  expect(await freeBytes(disk.path)).toBe(0);
  await disk.free();
  await writeFileDurably(file, Buffer.alloc(MIB));
  expect((await readFile(file)).length).toBe(MIB);
});

test('L2: a small file system runs out of inodes', async ({ skip }) => {
  await using disk = await smallFileSystem(MIB, { inodes: 3 });
  if (disk.path === null) return skip(disk.reason);
  const { path } = disk;
  await writeFile(join(path, '1'), '');
  await writeFile(join(path, '2'), '');
  await expect(writeFile(join(path, '3'), '')).rejects.toMatchObject({ code: 'ENOSPC' });
  await rm(join(path, '1'));
  await writeFile(join(path, '3'), '');
});

test('a small file system is unmounted while a file in it is open', async ({ skip }) => {
  const disk = await smallFileSystem(MIB);
  if (disk.path === null) return skip(disk.reason);
  expect(await readFile('/proc/mounts', 'utf8')).toContain(disk.path);
  const openFile = await open(join(disk.path, 'open'), 'wx');
  await disk[Symbol.asyncDispose]();
  expect(await readFile('/proc/mounts', 'utf8')).not.toContain(disk.path);
  expect(existsSync(disk.path)).toBe(false);
  await openFile.close();
});

test('reports the reason when it cannot be mounted', async () => {
  await using disk = await smallFileSystem(Number.NaN);
  expect(disk.path).toBe(null);
  expect(disk.reason).not.toBe('');
});
