import { randomBytes } from 'node:crypto';
import { PassThrough, Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { Bug, Failure, type ListedObject, type ObjectStore, type StoreCapabilities } from '@lastgood/core';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

export interface StoreUnderTest extends AsyncDisposable {
  readonly store: ObjectStore;
  /** Creates another instance over the same medium, as a later process would. */
  reopen(): Promise<ObjectStore>;
  /** Simulates a put whose process is killed. Absent when a killed put leaves nothing on the medium. */
  readonly killDuringPut?: (name: string) => Promise<void>;
}

const MIB = 1024 * 1024;

async function namesOf(store: ObjectStore, prefix: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of store.list(prefix)) names.push(name);
  return names.sort();
}

async function listedOf(store: ObjectStore, prefix: string): Promise<ListedObject[]> {
  const listed: ListedObject[] = [];
  for await (const each of store.list(prefix)) listed.push(each);
  return listed;
}

const read = async (store: ObjectStore, name: string): Promise<Buffer> => await buffer(await store.get(name));
const text = async (store: ObjectStore, name: string): Promise<string> => (await read(store, name)).toString();
const codeOf = async (work: Promise<unknown>): Promise<string> =>
  await work.then(
    () => 'succeeded',
    (error: unknown) => (error instanceof Failure ? error.code : String(error)),
  );

/** A stream that stays open after its first bytes until it is ended or destroyed. `started` resolves when they have been read. */
function openStream(bytes: Buffer): { stream: PassThrough; started: Promise<void> } {
  const stream = new PassThrough();
  const { promise: started, resolve } = Promise.withResolvers<void>();
  stream.write(bytes, () => resolve());
  return { stream, started };
}

/**
 * Tests the semantics that the repository format relies on (see `ObjectStore`). Every store runs the same tests and must refuse what its
 * `capabilities` do not include.
 */
export function describeObjectStore(
  name: string,
  makeStore: () => Promise<StoreUnderTest>,
  capabilities: StoreCapabilities,
): void {
  describe(`object store: ${name}`, () => {
    let under: StoreUnderTest;
    let store: ObjectStore;
    beforeEach(async () => {
      under = await makeStore();
      store = under.store;
    });
    afterEach(() => under[Symbol.asyncDispose]());

    test('declares the tested capabilities and passes its own check', async () => {
      expect(store.capabilities).toEqual(capabilities);
      await store.check();
    });
    describeContent(() => store);
    describeReading(() => store);
    describePublication(() => under);
    describeReplacing(() => under, capabilities);
    describePutIfAbsent(() => under, capabilities);
    describeList(() => store);
    describeHousekeeping(() => under);
  });
}

function describeContent(get: () => ObjectStore): void {
  for (const [what, bytes] of [
    ['no bytes', Buffer.alloc(0)],
    ['one byte', Buffer.from('x')],
    ['many bytes', randomBytes(3 * MIB + 17)],
  ] as const)
    test(`stores and returns ${what} from memory and from a stream`, async () => {
      const store = get();
      await store.put('a/memory', bytes);
      await store.put('a/stream', Readable.from([bytes.subarray(0, 1), bytes.subarray(1)], { objectMode: false }));
      for (const name of ['a/memory', 'a/stream']) {
        expect((await read(store, name)).equals(bytes)).toBe(true);
        expect((await store.stat(name))?.size).toBe(bytes.length);
      }
    });

  test('returns any range of an object', async () => {
    const store = get();
    const bytes = randomBytes(2 * MIB);
    await store.put('a', bytes);
    for (const [start, end] of [
      [0, 1],
      [MIB - 1, MIB + 1],
      [2 * MIB - 1, undefined],
      [2 * MIB, undefined],
      [5, 5],
    ] as const) {
      const range = end === undefined ? { start } : { start, end };
      const part = await buffer(await store.get('a', { range }));
      expect(part.equals(bytes.subarray(start, end))).toBe(true);
    }
  });

  test('reports a missing object with NOT_FOUND, and ignores its removal', async () => {
    const store = get();
    await store.put('a/b/c', Buffer.from('x'));
    for (const name of ['b', 'a/c', 'a/b/d', 'x/y/z']) {
      expect(await codeOf(store.get(name))).toBe('NOT_FOUND');
      expect(await store.stat(name)).toBeUndefined();
      await store.remove(name);
    }
    expect(await namesOf(store, '')).toEqual(['a/b/c']);
  });

  test('does not return a removed object, and accepts its name again', async () => {
    const store = get();
    await store.put('a/b/c', Buffer.from('old'));
    await store.remove('a/b/c');
    expect(await codeOf(store.get('a/b/c'))).toBe('NOT_FOUND');
    expect(await store.stat('a/b/c')).toBeUndefined();
    expect(await namesOf(store, '')).toEqual([]);
    await store.put('a/b/c', Buffer.from('new'));
    expect(await text(store, 'a/b/c')).toBe('new');
  });

  test('refuses invalid object names', async () => {
    const store = get();
    for (const name of ['', '/a', 'a/', 'a//b', '../a', 'a/../b', '.a', 'a.partial', 'a b', 'ä', 'a\n', 'a\0'])
      await expect(store.put(name, Buffer.from('x')), JSON.stringify(name)).rejects.toThrow(Bug);
    expect(await namesOf(store, '')).toEqual([]);
  });
}

function describeReading(get: () => ObjectStore): void {
  test('ends a read when its signal aborts, with the reason of the signal', async () => {
    const store = get();
    await store.put('a', randomBytes(4 * MIB));
    const reason = new Failure('JOB_CANCELED', 'enough');
    expect(await codeOf(store.get('a', { signal: AbortSignal.abort(reason) }))).toBe('JOB_CANCELED');
    const stop = new AbortController();
    const stream = await store.get('a', { signal: stop.signal });
    const reading = (async () => {
      for await (const _chunk of stream) stop.abort(reason);
    })();
    expect(await codeOf(reading)).toBe('JOB_CANCELED');
  });

  test('removes an object whose reader stopped early', async () => {
    const store = get();
    await store.put('a', randomBytes(4 * MIB));
    for await (const _chunk of await store.get('a')) break;
    await store.remove('a');
    expect(await namesOf(store, '')).toEqual([]);
  });

  test('reads the medium for fresh bytes, or reports the reason why not', async () => {
    const store = get();
    const bytes = randomBytes(MIB);
    await store.put('a', bytes);
    const reasons: string[] = [];
    const found = await buffer(await store.get('a', { fresh: { onCached: (reason) => reasons.push(reason) } }));
    expect([found.equals(bytes), reasons]).toEqual([true, []]);
  });
}

function describePublication(get: () => StoreUnderTest): void {
  test('I2: does not show an object before its last byte is stored', async () => {
    const { store } = get();
    const { stream, started } = openStream(randomBytes(MIB));
    const putting = store.put('a/b', stream);
    await started;
    expect(await store.stat('a/b')).toBeUndefined();
    expect(await codeOf(store.get('a/b'))).toBe('NOT_FOUND');
    expect(await namesOf(store, '')).toEqual([]);
    stream.end();
    await putting;
    expect((await store.stat('a/b'))?.size).toBe(MIB);
  });

  test('I2: stores nothing when the body fails, keeps the previous object, and passes on the error', async () => {
    const { store } = get();
    await store.put('a/old', Buffer.from('old'));
    for (const name of ['a/old', 'a/new']) {
      const { stream, started } = openStream(randomBytes(2 * MIB));
      const putting = store.put(name, stream);
      const failed = expect(putting).rejects.toMatchObject({ code: 'TOOL_FAILED', message: 'the tool failed' });
      await started;
      stream.destroy(new Failure('TOOL_FAILED', 'the tool failed'));
      await failed;
    }
    expect(await namesOf(store, '')).toEqual(['a/old']);
    expect(await text(store, 'a/old')).toBe('old');
  });

  test('passes on the error of a body that fails before its first byte is read', async () => {
    const { store } = get();
    const failed = new PassThrough();
    failed.destroy(new Failure('TOOL_FAILED', 'the tool failed'));
    await expect(store.put('a/b/c', failed)).rejects.toMatchObject({ message: 'the tool failed' });
    const failing = new PassThrough();
    const putting = store.put('a/b/c', failing);
    failing.destroy(new Failure('TOOL_FAILED', 'the tool failed'));
    await expect(putting).rejects.toMatchObject({ message: 'the tool failed' });
    expect(await namesOf(store, '')).toEqual([]);
  });

  test('stores nothing when the body is destroyed without an error', async () => {
    const { store } = get();
    const { stream, started } = openStream(randomBytes(2 * MIB));
    const putting = store.put('a/new', stream);
    const failed = expect(putting).rejects.toThrow();
    await started;
    stream.destroy();
    await failed;
    expect(await namesOf(store, '')).toEqual([]);
  });

  test('stores an object below a prefix while the last object there is removed', async () => {
    const { store, reopen } = get();
    const other = await reopen();
    for (let round = 0; round < 40; round += 1) {
      await store.put('deep/er/still/a', Buffer.from('a'));
      await Promise.all([store.remove('deep/er/still/a'), other.put(`deep/er/other/${round}`, Buffer.from('b'))]);
      expect(await namesOf(store, '')).toEqual([`deep/er/other/${round}`]);
      await store.remove(`deep/er/other/${round}`);
    }
  });
}

function describeReplacing(get: () => StoreUnderTest, capabilities: StoreCapabilities): void {
  test('replaces an object, also for later instances', async () => {
    const { store, reopen } = get();
    await store.put('a/b', Buffer.from('first, and longer'));
    await store.put('a/b', Buffer.from('second'));
    expect(await text(store, 'a/b')).toBe('second');
    expect(await text(await reopen(), 'a/b')).toBe('second');
  });

  if (capabilities.atomicPut)
    test('replaces an object in one step: a reader receives the old or the new bytes', async () => {
      const { store } = get();
      const versions = [Buffer.alloc(MIB, 'a'), Buffer.alloc(MIB, 'b')];
      await store.put('a', Buffer.alloc(MIB, 'a'));
      let putting = true;
      const puts = (async () => {
        for (let round = 0; round < 10; round += 1)
          await store.put('a', Buffer.alloc(MIB, round % 2 === 0 ? 'b' : 'a'));
        putting = false;
      })();
      while (putting) {
        const found = await read(store, 'a');
        expect(versions.some((version) => version.equals(found))).toBe(true);
      }
      await puts;
    });
}

function describePutIfAbsent(get: () => StoreUnderTest, capabilities: StoreCapabilities): void {
  if (capabilities.conditionalPut) {
    test('with ifAbsent, keeps the first object and refuses others with OBJECT_EXISTS', async () => {
      const { store, reopen } = get();
      await store.put('a/b', Buffer.from('first'), { ifAbsent: true });
      for (const later of [store, await reopen()])
        for (const body of [Buffer.from('second'), Readable.from([Buffer.from('second')], { objectMode: false })])
          expect(await codeOf(later.put('a/b', body, { ifAbsent: true }))).toBe('OBJECT_EXISTS');
      expect(await text(store, 'a/b')).toBe('first');
      await store.remove('a/b');
      await store.put('a/b', Buffer.from('third'), { ifAbsent: true });
      expect([await text(store, 'a/b'), await namesOf(store, '')]).toEqual(['third', ['a/b']]);
    });

    test('I6: with ifAbsent, exactly one of many concurrent puts succeeds', async () => {
      const { store, reopen } = get();
      const stores = [store, await reopen(), await reopen()];
      for (let round = 0; round < 5; round += 1) {
        const writers = Array.from({ length: 9 }, (_, index) => index);
        const codes = await Promise.all(
          writers.map((writer) =>
            codeOf((stores[writer % 3] ?? store).put(`a/${round}`, Buffer.from(`${writer}`), { ifAbsent: true })),
          ),
        );
        expect(codes.toSorted()).toEqual([...Array(8).fill('OBJECT_EXISTS'), 'succeeded']);
        expect(await text(store, `a/${round}`)).toBe(String(codes.indexOf('succeeded')));
      }
    });
  } else
    test('refuses ifAbsent', async () => {
      const { store } = get();
      expect(await codeOf(store.put('a', Buffer.from('x'), { ifAbsent: true }))).toBe('COMMAND_UNSUPPORTED');
      expect(await namesOf(store, '')).toEqual([]);
    });
}

function describeList(get: () => ObjectStore): void {
  test('lists only the objects below a prefix, at any depth, with sizes', async () => {
    const store = get();
    const names = ['a/b/1', 'a/b/c/2', 'a/b/c/d/3', 'a/bc/4', 'a/5', '6'];
    for (const name of names) await store.put(name, Buffer.from(name));
    expect(await namesOf(store, '')).toEqual(names.toSorted());
    expect(await namesOf(store, 'a/b/')).toEqual(['a/b/1', 'a/b/c/2', 'a/b/c/d/3']);
    expect(await namesOf(store, 'a/b/c/d/')).toEqual(['a/b/c/d/3']);
    for (const { name, stat } of await listedOf(store, ''))
      expect([name, stat]).toEqual([name, await store.stat(name)]);
  });

  test('lists nothing below a prefix that does not exist or is an object', async () => {
    const store = get();
    await store.put('a/b', Buffer.from('x'));
    for (const prefix of ['b/', 'a/c/', 'a/b/c/']) expect(await namesOf(store, prefix)).toEqual([]);
  });

  test('lists many objects', async () => {
    const store = get();
    const names = Array.from({ length: 1_200 }, (_, index) => `many/${String(index).padStart(5, '0')}`);
    for (const name of names) await store.put(name, Buffer.from('x'));
    expect(await namesOf(store, 'many/')).toEqual(names);
  });

  test('continues a listing while its objects are removed', async () => {
    const store = get();
    for (let index = 0; index < 20; index += 1) await store.put(`a/${index}/x`, Buffer.from('x'));
    for await (const { name } of store.list('a/')) await store.remove(name);
    expect(await namesOf(store, '')).toEqual([]);
  });
}

function describeHousekeeping(get: () => StoreUnderTest): void {
  test('dates objects by its own clock', async () => {
    const { store } = get();
    const before = await store.clock();
    await store.put('a', Buffer.from('x'));
    const after = await store.clock();
    const at = (await store.stat('a'))?.modifiedAt ?? 0;
    // A medium may store whole seconds.
    expect(at).toBeGreaterThanOrEqual(before - 1_000);
    expect(at).toBeLessThanOrEqual(after + 1_000);
    expect(await namesOf(store, '')).toEqual(['a']);
  });

  test('reports free space, if it has a limit', async () => {
    const { store } = get();
    expect((await store.freeBytes?.()) ?? 1).toBeGreaterThan(0);
  });

  test('locates an object', async () => {
    expect(get().store.locate('a/b')).toContain('a/b');
  });

  test('removes no objects with partial writes', async () => {
    const { store } = get();
    await store.put('a/b', Buffer.from('x'));
    await store.put('a/c/d', Buffer.from('x'));
    expect(await store.removePartials('a/', () => false)).toEqual([]);
    expect(await store.removePartials('none/', () => false)).toEqual([]);
    expect(await namesOf(store, '')).toEqual(['a/b', 'a/c/d']);
  });

  test('A16: hides the partial write of a killed put, accepts its name again, and removes it later unless it is in use', async () => {
    const { store, killDuringPut } = get();
    if (killDuringPut === undefined) return;
    for (const name of ['a/b/c', 'a/b/d', 'x/y']) await killDuringPut(name);
    expect(await namesOf(store, '')).toEqual([]);
    await store.put('a/b/d', Buffer.from('new'));
    expect((await store.removePartials('a/', (name) => name === 'a/b/c')).toSorted()).toEqual(['a/b/d']);
    expect((await store.removePartials('a/', () => false)).toSorted()).toEqual(['a/b/c']);
    expect((await store.removePartials('', () => false)).toSorted()).toEqual(['x/y']);
    expect(await store.removePartials('', () => false)).toEqual([]);
    expect([await namesOf(store, ''), await text(store, 'a/b/d')]).toEqual([['a/b/d'], 'new']);
  });
}
