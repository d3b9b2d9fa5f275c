import { DigestSum, PartsHash } from './canonical-digest.ts';
import { RedisSession } from './client.ts';
import type { RedisConnection } from './connection-schema.ts';
import { slotOf } from './expiry-slots.ts';
import { type CountGroup, type RedisFingerprint, VALUE_TYPES } from './fingerprint.ts';
import { readInfo } from './info.ts';
import type { ValueType } from './rdb-format.ts';
import { compareGroups } from './rdb-report.ts';
import { digestShortString, digestValue, type ValueDigest } from './value-digest.ts';

export interface FingerprintRequest {
  /** Of a scratch server: nothing may write to it. */
  readonly connection: RedisConnection;
  readonly snapshotAt: number;
  readonly digests: boolean;
  readonly signal: AbortSignal;
  /** Called now and then with the number of keys that were read. */
  readonly onProgress?: (keys: number) => void;
}

const PAGE = 500;
/** Strings up to this length are read together, a page of them at once. */
const SHORT_BYTES = 16 * 1024;
/** Larger values are read one after another. */
const SMALL_BYTES = 1024 * 1024;
const PARALLEL = 64;

/**
 * Reads what a scratch server holds: counts by database, type and expiry, and digests of all values when asked. In bounded memory. Keys
 * that have expired are not seen. DEBUG DIGEST is never used: it blocks the server, and depends on its version.
 */
export async function readFingerprint(request: FingerprintRequest): Promise<RedisFingerprint> {
  const reader = new KeyReader(request);
  await using first = await RedisSession.open(request.connection, request.signal);
  const info = await readInfo(first, 'keyspace', 'memory');
  const knowsFieldExpiry = await hasCommand(first, 'HPEXPIRETIME');
  for (const database of Object.keys(info.keyspace()).map(Number)) {
    await using session = await RedisSession.open(request.connection, request.signal, { database });
    const volatile = info.parts(info.text(`db${database}`) ?? '');
    const counted = volatile.get('subexpiry') ?? volatile.get('keys_with_volatile_items');
    await reader.read(session, database, knowsFieldExpiry && counted !== '0');
  }
  return {
    format: 1,
    snapshotAt: request.snapshotAt,
    // Of one engine that the product has: each library is one function opcode of the file.
    functions: info.number('number_of_libraries') ?? 0,
    groups: reader.groups(),
    digests: request.digests ? reader.digests() : null,
  };
}

async function hasCommand(session: RedisSession, name: string): Promise<boolean> {
  const reply = await session.call('COMMAND', 'INFO', name);
  return Array.isArray(reply) && reply[0] !== null && reply[0] !== undefined;
}

interface FoundKey {
  readonly key: Buffer;
  readonly type: ValueType;
  readonly expiresAt: number | null;
  /** The length of a string, else what the value takes in memory; zero when sizes were not asked for. */
  readonly bytes: number;
}
const isValueType = (name: string): name is ValueType => (VALUE_TYPES as readonly string[]).includes(name);

class KeyReader {
  readonly #request: FingerprintRequest;
  readonly #counts = new Map<string, CountGroup>();
  readonly #sums = new Map<string, { name: Omit<CountGroup, 'keys' | 'volatile'>; sum: DigestSum }>();
  #keys = 0;
  constructor(request: FingerprintRequest) {
    this.#request = request;
  }

  groups(): CountGroup[] {
    return [...this.#counts.values()].sort(compareGroups);
  }
  digests(): NonNullable<RedisFingerprint['digests']> {
    return [...this.#sums.values()]
      .map(({ name, sum }) => ({ ...name, keys: sum.count, digest: sum.hex() }))
      .sort(compareGroups);
  }

  async read(session: RedisSession, database: number, hasFieldExpiry: boolean): Promise<void> {
    let position = '0';
    do {
      const reply = await session.callRaw('SCAN', position, 'COUNT', PAGE);
      const [next, keys] = reply as [Buffer, Buffer[]];
      position = next.toString();
      const found = await describeKeys(session, keys, this.#request.digests);
      for (const key of found) this.#count(database, key);
      if (this.#request.digests) await this.#digest(session, database, found, hasFieldExpiry);
      this.#keys += found.length;
      this.#request.onProgress?.(this.#keys);
    } while (position !== '0');
  }

  #count(database: number, { type, expiresAt }: FoundKey): void {
    const slot = slotOf(this.#request.snapshotAt, expiresAt);
    const name = `${database}/${type}/${slot}`;
    const group = this.#counts.get(name) ?? { database, type, slot, keys: 0, volatile: 0 };
    this.#counts.set(name, { ...group, keys: group.keys + 1 });
  }

  async #digest(
    session: RedisSession,
    database: number,
    found: readonly FoundKey[],
    hasFieldExpiry: boolean,
  ): Promise<void> {
    const short = found.filter(({ type, bytes }) => type === 'string' && bytes <= SHORT_BYTES);
    const values = await readShortStrings(session, short);
    for (const [index, key] of short.entries()) this.#addValue(database, key, digestShortString(values[index] ?? null));
    const one = async (key: FoundKey): Promise<void> => {
      // Values of modules have no form that clients can see.
      if (key.type === 'module') return;
      const request = { session, key: key.key, memoryBytes: key.bytes, hasFieldExpiry };
      this.#addValue(database, key, await digestValue(key.type, request));
    };
    const rest = found.filter(({ type, bytes }) => type !== 'string' || bytes > SHORT_BYTES);
    const small = rest.filter(({ bytes }) => bytes <= SMALL_BYTES);
    for (let at = 0; at < small.length; at += PARALLEL) await settle(small.slice(at, at + PARALLEL).map(one));
    for (const key of rest.filter(({ bytes }) => bytes > SMALL_BYTES)) await one(key);
  }

  #addValue(database: number, { key, type, expiresAt }: FoundKey, { digest, firstFieldExpiry }: ValueDigest): void {
    const earliest = firstFieldExpiry === null ? expiresAt : Math.min(expiresAt ?? firstFieldExpiry, firstFieldExpiry);
    const slot = slotOf(this.#request.snapshotAt, earliest);
    this.#add({ database, type, slot }, new PartsHash().add(type, key, expiresAt, digest).digest());
  }

  #add(name: { database: number; type: ValueType; slot: number }, digest: Buffer): void {
    const text = `${name.database}/${name.type}/${name.slot}`;
    const group = this.#sums.get(text) ?? { name, sum: new DigestSum() };
    this.#sums.set(text, group);
    group.sum.add(digest);
  }
}

/** Waits for all of them before the first failure is thrown: none goes on in a session that is closed. */
async function settle(work: readonly Promise<void>[]): Promise<void> {
  await Promise.allSettled(work);
  await Promise.all(work);
}

/** Describes a page of keys in one call: asked one by one, they would take five times as long. */
const DESCRIBE = `
local found = {}
for _, key in ipairs(KEYS) do
  local type = redis.call('TYPE', key).ok
  table.insert(found, type)
  table.insert(found, redis.call('PEXPIRETIME', key))
  if ARGV[1] == '0' then table.insert(found, 0)
  elseif type == 'string' then table.insert(found, redis.call('STRLEN', key))
  else table.insert(found, redis.call('MEMORY', 'USAGE', key) or 0) end
end
return found`;
const FIELDS = 3;

async function describeKeys(session: RedisSession, keys: readonly Buffer[], sizes: boolean): Promise<FoundKey[]> {
  if (keys.length === 0) return [];
  const reply = await session.callRaw('EVAL', DESCRIBE, keys.length, ...keys, sizes ? 1 : 0);
  const words = (reply as unknown[]).map(String);
  return keys.flatMap((key, index) => {
    const [type = 'none', expiry, bytes] = words.slice(index * FIELDS, (index + 1) * FIELDS);
    const expiresAt = Number(expiry);
    // Expired since the page was read.
    if (type === 'none' || expiresAt === -2) return [];
    const known = isValueType(type) ? type : 'module';
    return [{ key, type: known, expiresAt: expiresAt < 0 ? null : expiresAt, bytes: Number(bytes) }];
  });
}

async function readShortStrings(session: RedisSession, short: readonly FoundKey[]): Promise<(Buffer | null)[]> {
  if (short.length === 0) return [];
  return (await session.callRaw('MGET', ...short.map(({ key }) => key))) as (Buffer | null)[];
}
