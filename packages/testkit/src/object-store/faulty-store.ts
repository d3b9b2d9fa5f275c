import { Readable, Transform } from 'node:stream';
import {
  Failure,
  type GetOptions,
  type ListedObject,
  type ObjectLocks,
  type ObjectStat,
  type ObjectStore,
  type PutOptions,
} from '@lastgood/core';

export type StoreOperation =
  | 'put'
  | 'get'
  | 'stat'
  | 'list'
  | 'remove'
  | 'removePartials'
  | 'clock'
  | 'retain'
  | 'setHold'
  | 'lockedUntil';
export interface StoreCall {
  /** Counts from 1 over all calls. */
  readonly number: number;
  /** Counts from 1 over the calls that change the store; null for the others. */
  readonly change: number | null;
  readonly operation: StoreOperation;
  readonly name: string;
}
export type StoreFault =
  /** Fails without any effect. */
  | { readonly type: 'fail' }
  /** Takes effect but fails. */
  | { readonly type: 'lost acknowledgement' }
  /** The body of a put, or the stream of a get, fails after this many bytes. */
  | { readonly type: 'fail after'; readonly bytes: number }
  /** Flips the lowest bit of one byte of a put or a get. */
  | { readonly type: 'flip'; readonly at: number }
  /** Waits before the call takes effect. */
  | { readonly type: 'wait'; readonly until: Promise<void> };

const CHANGES: ReadonlySet<StoreOperation> = new Set(['put', 'remove', 'removePartials', 'retain', 'setHold']);
const broken = ({ operation, name }: StoreCall): Failure =>
  new Failure('IO_ERROR', `injected fault: ${operation} ${name}`);

/** Passes on the bytes up to a limit, then fails. */
function failingAfter(bytes: number, failure: Failure): Transform {
  let left = bytes;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      const part = chunk.subarray(0, left);
      left -= part.length;
      if (part.length > 0) this.push(part);
      done(part.length < chunk.length ? failure : null);
    },
    flush: (done) => done(failure),
  });
}

function flipping(at: number): Transform {
  let seen = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      const copy = Buffer.from(chunk);
      if (at >= seen && at < seen + copy.length) copy.writeUInt8(copy.readUInt8(at - seen) ^ 1, at - seen);
      seen += copy.length;
      done(null, copy);
    },
  });
}

/** Pipes a stream through a stage. An error of either reaches the reader. */
function through(source: Readable, stage: Transform): Readable {
  source.on('error', (error) => stage.destroy(error));
  stage.on('close', () => source.destroy());
  return source.pipe(stage);
}

/** A store that injects faults into its calls. */
export class FaultyStore implements ObjectStore {
  /** Every call so far. */
  readonly calls: StoreCall[] = [];
  /** Selects the fault of a call. */
  inject: (call: StoreCall) => StoreFault | undefined = () => undefined;
  readonly freeBytes?: () => Promise<number>;
  readonly locks?: ObjectLocks;
  readonly #store: ObjectStore;
  #changes = 0;
  #death: 'before' | 'after' | undefined;
  #listing: readonly ListedObject[] | undefined;

  constructor(store: ObjectStore) {
    this.#store = store;
    if (store.freeBytes !== undefined) this.freeBytes = store.freeBytes.bind(store);
    const { locks } = store;
    if (locks !== undefined)
      this.locks = {
        retain: (name, until) => this.#run('retain', name, () => locks.retain(name, until)),
        setHold: (name, held) => this.#run('setHold', name, () => locks.setHold(name, held)),
        lockedUntil: (name) => this.#run('lockedUntil', name, () => locks.lockedUntil(name)),
      };
  }

  get capabilities() {
    return this.#store.capabilities;
  }

  /**
   * Makes every later call fail, as after a crash or a network failure. The current call fails too, before or after it takes effect.
   */
  kill(when: 'before' | 'after' = 'before'): void {
    this.#death = when;
  }

  /** Makes `list` return the current listing until called with false. */
  async freezeListing(frozen = true): Promise<void> {
    if (!frozen) {
      this.#listing = undefined;
      return;
    }
    const listing: ListedObject[] = [];
    for await (const listed of this.#store.list('')) listing.push(listed);
    this.#listing = listing;
  }

  async #run<T>(operation: StoreOperation, name: string, work: (fault: StoreFault | undefined) => Promise<T>) {
    const change = CHANGES.has(operation) ? ++this.#changes : null;
    const call: StoreCall = { number: this.calls.length + 1, change, operation, name };
    this.calls.push(call);
    if (this.#death !== undefined) throw broken(call);
    const fault = this.inject(call);
    if (fault?.type === 'wait') await fault.until;
    if (this.#death === 'before' || fault?.type === 'fail') throw broken(call);
    const result = await work(fault);
    if (this.#death === undefined && fault?.type !== 'lost acknowledgement') return result;
    if (result instanceof Readable) result.destroy();
    throw broken(call);
  }

  check(): Promise<void> {
    return this.#store.check();
  }

  async put(name: string, body: Readable | Uint8Array, options?: PutOptions): Promise<void> {
    const source = body instanceof Readable ? body : Readable.from([Buffer.from(body)], { objectMode: false });
    try {
      await this.#run('put', name, async (fault) => {
        if (fault?.type === 'fail after') {
          const failure = new Failure('IO_ERROR', `injected fault: put ${name} after ${fault.bytes} bytes`);
          await this.#store.put(name, through(source, failingAfter(fault.bytes, failure)), options);
        } else if (fault?.type === 'flip') await this.#store.put(name, through(source, flipping(fault.at)), options);
        else await this.#store.put(name, source, options);
      });
    } catch (error) {
      source.destroy();
      throw error;
    }
  }

  async get(name: string, options?: GetOptions): Promise<Readable> {
    return await this.#run('get', name, async (fault) => {
      const found = await this.#store.get(name, options);
      if (fault?.type === 'flip') return through(found, flipping(fault.at));
      if (fault?.type !== 'fail after') return found;
      return through(found, failingAfter(fault.bytes, new Failure('IO_ERROR', `injected fault: get ${name}`)));
    });
  }

  stat(name: string): Promise<ObjectStat | undefined> {
    return this.#run('stat', name, () => this.#store.stat(name));
  }

  async *list(prefix: string): AsyncGenerator<ListedObject> {
    await this.#run('list', prefix, async () => undefined);
    if (this.#listing === undefined) yield* this.#store.list(prefix);
    else yield* this.#listing.filter(({ name }) => name.startsWith(prefix));
  }

  remove(name: string): Promise<void> {
    return this.#run('remove', name, () => this.#store.remove(name));
  }

  removePartials(prefix: string, isInUse: (name: string) => boolean): Promise<readonly string[]> {
    return this.#run('removePartials', prefix, () => this.#store.removePartials(prefix, isInUse));
  }

  clock(): Promise<number> {
    return this.#run('clock', '', () => this.#store.clock());
  }

  locate(name: string): string {
    return this.#store.locate(name);
  }
}
