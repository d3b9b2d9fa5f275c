import { Bug, Failure } from '@lastgood/core';
import { DigestSum, PartsHash } from './canonical-digest.ts';
import type { Command, RedisSession } from './client.ts';
import type { ValueType } from './rdb-format.ts';

const CHUNK_BYTES = 1024 * 1024;
const MOST_ELEMENTS = 1_000;

export interface ValueDigest {
  readonly digest: Buffer;
  /** When the first field of a hash expires; null when none does. */
  readonly firstFieldExpiry: number | null;
}
export interface ValueRequest {
  readonly session: RedisSession;
  readonly key: Buffer;
  /** What the value takes in memory; decides how much of it is read at once. */
  readonly memoryBytes: number;
  /** Whether fields of hashes can expire in this database. */
  readonly hasFieldExpiry: boolean;
}

/**
 * The digest of one value by what clients can see of it, whatever its form in memory and in files: equal for equal values in all versions.
 * The server must not change meanwhile. Reads pieces of about 1 MiB. Values of modules have no digest.
 */
export async function digestValue(type: Exclude<ValueType, 'module'>, request: ValueRequest): Promise<ValueDigest> {
  if (type === 'hash') return await digestHash(request);
  const digests = {
    string: digestString,
    list: digestList,
    set: digestSet,
    zset: digestSortedSet,
    stream: digestStream,
  };
  return { digest: await digests[type](request), firstFieldExpiry: null };
}

function bufferOf(reply: unknown): Buffer {
  if (Buffer.isBuffer(reply)) return reply;
  throw new Bug('the reply is not a text');
}
function listOf(reply: unknown): unknown[] {
  if (Array.isArray(reply)) return reply;
  throw new Bug('the reply is not a list');
}
const buffersOf = (reply: unknown): Buffer[] => listOf(reply).map(bufferOf);
/** A text or number of a reply, or null. */
const textOf = (reply: unknown): string | null => (reply === null || reply === undefined ? null : String(reply));

const changed = (): Failure =>
  new Failure('SOURCE_CHANGED', 'the scratch server changed while its values were read', {
    remedy: 'Repeat the restore test.',
  });

/** So many elements are read at once. */
async function chunkLength(
  { session, memoryBytes }: ValueRequest,
  count: Command,
): Promise<{ total: number; step: number }> {
  const total = Number(await session.call(...count));
  const bytesEach = Math.max(1, memoryBytes / Math.max(1, total));
  return { total, step: Math.max(1, Math.min(MOST_ELEMENTS, Math.floor(CHUNK_BYTES / bytesEach))) };
}

/** The digest that `digestValue` has for a string of less than 1 MiB, of its bytes. */
export const digestShortString = (value: Buffer | null): ValueDigest => ({
  digest: new PartsHash().add('string', value).digest(),
  firstFieldExpiry: null,
});

async function digestString({ session, key }: ValueRequest): Promise<Buffer> {
  // The parts have a fixed length, so that equal values are divided alike.
  const hash = new PartsHash().add('string');
  for (let at = 0; ; at += CHUNK_BYTES) {
    const part = bufferOf(await session.callRaw('GETRANGE', key, at, at + CHUNK_BYTES - 1));
    hash.add(part);
    if (part.length < CHUNK_BYTES) return hash.digest();
  }
}

async function digestList(request: ValueRequest): Promise<Buffer> {
  const { session, key } = request;
  const { total, step } = await chunkLength(request, ['LLEN', key]);
  const hash = new PartsHash().add('list', total);
  for (let at = 0; at < total; at += step)
    hash.add(...buffersOf(await session.callRaw('LRANGE', key, at, at + step - 1)));
  return hash.digest();
}

async function digestSortedSet(request: ValueRequest): Promise<Buffer> {
  const { session, key } = request;
  const { total, step } = await chunkLength(request, ['ZCARD', key]);
  const hash = new PartsHash().add('zset', total);
  for (let at = 0; at < total; at += step) {
    const pairs = buffersOf(await session.callRaw('ZRANGE', key, at, at + step - 1, 'WITHSCORES'));
    for (let index = 0; index + 1 < pairs.length; index += 2) hash.add(pairs[index] ?? null, scoreOf(pairs[index + 1]));
  }
  return hash.digest();
}

/** Versions print scores with more or fewer digits; the number is the same. */
function scoreOf(text: Buffer | undefined): string {
  const score = text?.toString() ?? '';
  if (score === 'inf' || score === '-inf') return score;
  return Object.is(Number(score), -0) ? '-0' : String(Number(score));
}

async function digestSet(request: ValueRequest): Promise<Buffer> {
  const { session, key } = request;
  const { total, step } = await chunkLength(request, ['SCARD', key]);
  const sum = new DigestSum();
  for await (const members of cursor(session, 'SSCAN', key, step))
    for (const member of members) sum.add(new PartsHash().add(member).digest());
  if (sum.count !== total) throw changed();
  return new PartsHash().add('set', total, sum.hex()).digest();
}

async function digestHash(request: ValueRequest): Promise<ValueDigest> {
  const { session, key, hasFieldExpiry } = request;
  const { total, step } = await chunkLength(request, ['HLEN', key]);
  const sum = new DigestSum();
  let first: number | null = null;
  for await (const pairs of cursor(session, 'HSCAN', key, step)) {
    const fields = pairs.filter((_, index) => index % 2 === 0);
    const expiries = hasFieldExpiry ? await fieldExpiries(session, key, fields) : [];
    for (const [index, field] of fields.entries()) {
      const expiry = expiries[index] ?? null;
      if (expiry !== null) first = Math.min(first ?? expiry, expiry);
      sum.add(new PartsHash().add(field, pairs[index * 2 + 1] ?? null, expiry).digest());
    }
  }
  // Fields that have expired are counted and not returned; then the digest is not compared.
  if (sum.count !== total && !hasFieldExpiry) throw changed();
  return { digest: new PartsHash().add('hash', sum.count, sum.hex()).digest(), firstFieldExpiry: first };
}

async function fieldExpiries(
  session: RedisSession,
  key: Buffer,
  fields: readonly Buffer[],
): Promise<(number | null)[]> {
  if (fields.length === 0) return [];
  const reply = await session.call('HPEXPIRETIME', key, 'FIELDS', fields.length, ...fields);
  return listOf(reply).map((expiry) => (Number(expiry) < 0 ? null : Number(expiry)));
}

/** The elements that a cursor command returns, page by page. */
async function* cursor(
  session: RedisSession,
  command: 'SSCAN' | 'HSCAN',
  key: Buffer,
  count: number,
): AsyncGenerator<Buffer[]> {
  let position = '0';
  do {
    const [next, elements] = listOf(await session.callRaw(command, key, position, 'COUNT', count));
    position = String(next);
    yield buffersOf(elements);
  } while (position !== '0');
}

async function digestStream(request: ValueRequest): Promise<Buffer> {
  const { session, key } = request;
  const { total, step } = await chunkLength(request, ['XLEN', key]);
  const info = fieldsOf(await session.call('XINFO', 'STREAM', key));
  const hash = new PartsHash().add('stream', total);
  for (const name of ['last-generated-id', 'max-deleted-entry-id', 'entries-added']) hash.add(info.get(name) ?? null);
  for await (const [id = null, fields] of pages(session, ['XRANGE', key], step))
    hash.add(bufferOf(id), ...buffersOf(fields));
  for (const reply of listOf(await session.callRaw('XINFO', 'GROUPS', key))) await addGroup(hash, request, reply);
  return hash.digest();
}

/** A group with its consumers and pending entries. Times since the last delivery pass on their own, and are left out. */
async function addGroup(hash: PartsHash, { session, key }: ValueRequest, reply: unknown): Promise<void> {
  const group = rawFieldsOf(reply);
  const name = bufferOf(group.get('name'));
  hash.add('group', name, textOf(group.get('last-delivered-id')), textOf(group.get('entries-read')));
  const consumers = listOf(await session.callRaw('XINFO', 'CONSUMERS', key, name)).map(rawFieldsOf);
  for (const consumer of consumers)
    hash.add('consumer', bufferOf(consumer.get('name')), textOf(consumer.get('pending')));
  for await (const [id = null, consumer = null, , deliveries] of pages(session, ['XPENDING', key, name], MOST_ELEMENTS))
    hash.add(bufferOf(id), bufferOf(consumer), textOf(deliveries));
}

/** Entries of a command that takes a range of stream ids, each a list that begins with its id. */
async function* pages(session: RedisSession, command: Command, step: number): AsyncGenerator<unknown[]> {
  const [name, ...args] = command;
  const isPending = name === 'XPENDING';
  for (let start = '-'; ; ) {
    const range = isPending ? [start, '+', step] : [start, '+', 'COUNT', step];
    const entries = listOf(await session.callRaw(name, ...args, ...range)).map(listOf);
    yield* entries;
    const last = entries.at(-1)?.[0];
    if (entries.length < step || last === undefined) return;
    start = `(${String(last)}`;
  }
}

/** Names and values that alternate. */
function rawFieldsOf(reply: unknown): Map<string, unknown> {
  const words = listOf(reply);
  return new Map(words.flatMap((word, index) => (index % 2 === 0 ? [[String(word), words[index + 1]] as const] : [])));
}
function fieldsOf(reply: unknown): Map<string, string | null> {
  return new Map([...rawFieldsOf(reply)].map(([name, value]) => [name, textOf(value)]));
}
