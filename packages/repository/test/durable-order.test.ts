/** In which order names and bytes reach the disk: what a power cut may not turn round is asked of the system calls themselves. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Repository } from '@lastgood/core';
import { temporaryFolder } from '@lastgood/testkit';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createFolderRepository } from '../src/index.ts';
import { inChild, publish, ref, understood } from './store.ts';

const strace = existsSync('/usr/bin/strace');
let cleanup: AsyncDisposableStack;
let base: string;
let path: string;
let repository: Repository;

beforeEach(async () => {
  cleanup = new AsyncDisposableStack();
  base = cleanup.use(await temporaryFolder()).path;
  path = join(base, 'repository');
  repository = await createFolderRepository({ understood, path });
});
afterEach(() => cleanup.disposeAsync());

/** The calls of one piece of work in their order, as `sync <path>`, `name <path>` or `gone <path>`, below the repository; ids are `ID`. */
async function callsOf(what: string): Promise<string[]> {
  const trace = join(base, 'trace');
  const calls = 'trace=fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir';
  await inChild(['-y', '-s', '4096', '-o', trace, '-e', calls], path, what);
  return (await readFile(trace, 'utf8')).split('\n').flatMap((line) => {
    const below = line.lastIndexOf(path);
    if (below < 0 || !/ = 0( |$)/.test(line)) return [];
    const at = /^[^"<>]*/.exec(line.slice(below + path.length))?.[0] ?? '';
    const kind = /sync\(/.test(line) ? 'sync' : /rename|[ (]link/.test(line) ? 'name' : 'gone';
    const name = at.slice(1).replaceAll(/[0-9a-f]{8}-[0-9a-f-]{27}/g, 'ID');
    return [`${kind} ${name.replace(/\.[0-9a-f]{8}\.partial$/, '.partial') || '.'}`];
  });
}

/** That these came one after the other, whatever else came in between. */
function expectOrder(calls: readonly string[], ...wanted: readonly string[]): void {
  let from = 0;
  for (const each of wanted) {
    const at = calls.indexOf(each, from);
    expect(at, `"${each}" after "${calls[from - 1] ?? 'the start'}" in\n${calls.join('\n')}`).toBeGreaterThanOrEqual(0);
    from = at + 1;
  }
}

const TARGET = 'test/db-1/shop';
const BACKUP = `${TARGET}/backups/ID`;

for (const [when, before] of [
  ['the first backup of a target', async () => undefined],
  ['a backup whose folders were made by one that was killed', async () => await publish(repository)],
] as const)
  test.skipIf(!strace)(
    `B1, I2: of ${when} every folder, object and name is durable before the manifest has its name (needs strace)`,
    async () => {
      await before();
      const calls = await callsOf('publish');
      const manifest = [`sync ${BACKUP}/manifest.json.partial`, `name ${BACKUP}/manifest.json`, `sync ${BACKUP}`];
      for (const folder of ['.', 'test', 'test/db-1', TARGET, `${TARGET}/backups`, BACKUP])
        expectOrder(calls, `sync ${folder}`, ...manifest);
      for (const object of ['0001.dump.zst', '0002.sql.zst'].map((name) => `${BACKUP}/data/${name}`))
        expectOrder(calls, `sync ${object}.partial`, `name ${object}`, `sync ${BACKUP}/data`, ...manifest);
      expectOrder(calls, ...manifest, `gone ${BACKUP}/incomplete`, `sync ${BACKUP}`);
    },
  );

test.skipIf(!strace)(
  'B1, D9: a purge makes it durable that the manifest is gone before any data goes, and all of that before the tombstone (needs strace)',
  async () => {
    await repository.remove(ref, await publish(repository), 0);
    const calls = await callsOf('purge');
    for (const object of ['0001.dump.zst', '0002.sql.zst'])
      expectOrder(
        calls,
        `gone ${BACKUP}/manifest.json`,
        `sync ${BACKUP}`,
        `gone ${BACKUP}/data/${object}`,
        `sync ${TARGET}/backups`,
        `gone ${TARGET}/tombstones/ID.json`,
        `sync ${TARGET}/tombstones`,
      );
    expect(calls.indexOf(`gone ${BACKUP}/data/0001.dump.zst`)).toBeGreaterThan(calls.indexOf(`sync ${BACKUP}`));
  },
);
