import { chmod, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import { temporaryFolder } from '@lastgood/testkit';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { CatalogCopies, putBackCopy } from '../src/catalog/catalog-copies.ts';
import { openSqliteCatalog } from '../src/catalog/sqlite-catalog.ts';

const DAY = 86_400_000;
const NOW = Date.parse('2027-01-10T02:15:00Z');
const log = pino({ level: 'silent' });

/** A clock that stands still until it is moved. */
function manualClock() {
  let at = NOW;
  return { now: () => at, monotonic: () => at, advance: (ms: number) => (at += ms) };
}
const failureOf = async (work: Promise<unknown>): Promise<Failure> => {
  const error: unknown = await work.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof Failure)) throw new Error(`not a failure: ${String(error)}`);
  return error;
};
async function lab() {
  const cleanup = new AsyncDisposableStack();
  const { path } = cleanup.use(await temporaryFolder());
  const [file, folder] = [join(path, 'catalog.sqlite'), join(path, 'copies')];
  const catalog = await openSqliteCatalog(file);
  cleanup.defer(() => catalog.close());
  const clock = manualClock();
  const copies = await CatalogCopies.open({ catalog, folder, clock, log });
  const audit = (action: string) =>
    catalog.commit([{ type: 'audit', entry: { at: clock.now(), actor: 'a', action, subject: 's', detail: '' } }]);
  return { catalog, clock, copies, file, folder, path, audit, [Symbol.asyncDispose]: () => cleanup.disposeAsync() };
}

test('a copy is made at once, then once a day, and the newest seven are kept', async () => {
  await using at = await lab();
  expect(at.copies.newestMs).toBeNull();
  for (let day = 0; day < 9; day += 1) {
    await at.copies.step(at.clock.now());
    await at.copies.step(at.clock.now() + DAY - 1);
    at.clock.advance(DAY);
  }
  const kept = (await readdir(at.folder)).sort();
  expect(kept).toHaveLength(7);
  expect(kept.at(-1)).toBe('catalog-2027-01-18T021500Z.sqlite');
  expect(at.copies.newestMs).toBe(NOW + 8 * DAY);
  const again = await CatalogCopies.open({ ...at, catalog: at.catalog, folder: at.folder, log });
  expect(again.newestMs).toBe(NOW + 8 * DAY);
});

test('a copy that is put back holds what was committed before it, and the replaced catalog stays', async () => {
  await using at = await lab();
  await at.audit('before');
  await at.copies.step(at.clock.now());
  await at.audit('after');
  await at.catalog.close();
  const [name] = await readdir(at.folder);
  await putBackCopy(join(at.folder, name ?? ''), at.file, NOW);
  const restored = await openSqliteCatalog(at.file);
  expect((await restored.audit.list(10)).map(({ action }) => action)).toEqual(['before']);
  await restored.close();
  expect((await readdir(at.path)).some((each) => each.startsWith('catalog.sqlite.replaced-'))).toBe(true);
});

test('a damaged copy is refused, and the catalog stays as it was', async () => {
  await using at = await lab();
  await at.copies.step(at.clock.now());
  const [name] = await readdir(at.folder);
  const copy = join(at.folder, name ?? '');
  const bytes = await readFile(copy);
  await at.catalog.close();
  const before = await readFile(at.file);
  for (const damaged of [
    bytes.subarray(0, bytes.length / 2),
    Buffer.from('not a database'),
    bytes.fill(7, 4096, 8192),
  ]) {
    await writeFile(copy, damaged);
    expect((await failureOf(putBackCopy(copy, at.file, NOW))).code).toBe('CATALOG_INVALID');
  }
  expect((await failureOf(putBackCopy(join(at.folder, 'none.sqlite'), at.file, NOW))).code).toBe('NOT_FOUND');
  expect(await readFile(at.file)).toEqual(before);
  expect((await readdir(at.path)).sort()).toEqual(['catalog.sqlite', 'copies']);
});

test('a copy that fails leaves nothing that counts, and is tried again after an hour', async () => {
  await using at = await lab();
  let isBroken = true;
  const copyTo = async (file: string): Promise<void> => {
    if (isBroken) throw new Failure('NO_SPACE', `no space left for ${file}`);
    await at.catalog.copyTo(file);
  };
  const copies = await CatalogCopies.open({ ...at, catalog: { copyTo }, folder: at.folder, log });
  await copies.step(at.clock.now());
  expect([copies.newestMs, await readdir(at.folder)]).toEqual([null, []]);
  isBroken = false;
  await copies.step(at.clock.now());
  expect(copies.newestMs).toBeNull();
  at.clock.advance(3_600_001);
  await copies.step(at.clock.now());
  expect(copies.newestMs).toBe(at.clock.now());
});

test('a folder with copies that others can write to is refused', async () => {
  await using at = await lab();
  await at.copies.step(at.clock.now());
  await chmod(at.folder, 0o777);
  const opening = CatalogCopies.open({ ...at, catalog: at.catalog, folder: at.folder, log });
  expect((await failureOf(opening)).code).toBe('DATA_FOLDER_UNSAFE');
});
