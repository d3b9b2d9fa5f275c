import type { RedisServer } from './redis-server.ts';

/** Counts of a server, by database and by type. */
export interface KeyCounts {
  readonly databases: Readonly<Record<string, { readonly keys: number; readonly expires: number }>>;
  /** By the name that TYPE returns; values of modules are `module`. */
  readonly types: Readonly<Record<string, number>>;
  readonly functions: number;
}

type Command = readonly (string | number | Buffer)[];
/** Far enough that no test sees it, and a whole number of seconds. */
const EXPIRES_AT = 4_102_444_800_000;
const BINARY = Buffer.from([0x00, 0xff, 0x0a, 0x0d, 0x22, 0x80]);
const numbers = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

interface Seed {
  readonly key: string | Buffer;
  readonly type: string;
  readonly commands: readonly Command[];
}

/** Strings in each of their forms: short, long, number, compressible, binary, empty, bits. */
const STRINGS: readonly Seed[] = [
  { key: 'string:short', type: 'string', commands: [['SET', 'string:short', 'value']] },
  { key: 'string:empty', type: 'string', commands: [['SET', 'string:empty', '']] },
  { key: 'string:int8', type: 'string', commands: [['SET', 'string:int8', '-7']] },
  { key: 'string:int16', type: 'string', commands: [['SET', 'string:int16', '-30000']] },
  { key: 'string:int32', type: 'string', commands: [['SET', 'string:int32', '2000000000']] },
  { key: 'string:int64', type: 'string', commands: [['SET', 'string:int64', '9007199254740993']] },
  { key: 'string:long', type: 'string', commands: [['SET', 'string:long', 'lorem ipsum '.repeat(20_000)]] },
  { key: BINARY, type: 'string', commands: [['SET', BINARY, BINARY]] },
  { key: 'string:bits', type: 'string', commands: [['SETBIT', 'string:bits', 100_000, 1]] },
  { key: 'string:hll', type: 'string', commands: [['PFADD', 'string:hll', ...numbers(500)]] },
];

/** Collections as listpacks and as full structures. */
const COLLECTIONS: readonly Seed[] = [
  { key: 'list:small', type: 'list', commands: [['RPUSH', 'list:small', 'a', 'b', 'a', 3, BINARY]] },
  { key: 'list:large', type: 'list', commands: [['RPUSH', 'list:large', ...numbers(20_000)]] },
  {
    key: 'list:plain',
    type: 'list',
    commands: [['RPUSH', 'list:plain', 'x'.repeat(20_000), 'y', 'z'.repeat(70_000)]],
  },
  { key: 'set:ints', type: 'set', commands: [['SADD', 'set:ints', 1, -2, 30_000, 4_000_000_000]] },
  { key: 'set:small', type: 'set', commands: [['SADD', 'set:small', 'a', 'b', BINARY]] },
  { key: 'set:large', type: 'set', commands: [['SADD', 'set:large', ...numbers(2_000).map((n) => `member-${n}`)]] },
  {
    key: 'zset:small',
    type: 'zset',
    commands: [['ZADD', 'zset:small', 1.5, 'a', '-inf', 'b', '+inf', 'c', 0.1, BINARY]],
  },
  {
    key: 'zset:large',
    type: 'zset',
    commands: [['ZADD', 'zset:large', ...numbers(2_000).flatMap((n) => [n / 3, `member-${n}`])]],
  },
  {
    key: 'geo',
    type: 'zset',
    commands: [['GEOADD', 'geo', 13.361389, 38.115556, 'Palermo', 15.087269, 37.502669, 'Catania']],
  },
  { key: 'hash:small', type: 'hash', commands: [['HSET', 'hash:small', 'f', 'v', BINARY, BINARY]] },
  {
    key: 'hash:large',
    type: 'hash',
    commands: [['HSET', 'hash:large', ...numbers(2_000).flatMap((n) => [`field-${n}`, `value ${n}`])]],
  },
];

/** A stream with groups, consumers and pending entries, and one that is empty but keeps its last id. */
const STREAMS: readonly Seed[] = [
  {
    key: 'stream:groups',
    type: 'stream',
    commands: [
      ...numbers(300).map((n) => ['XADD', 'stream:groups', `${n + 1}-0`, 'f', `v${n}`, 'g', n] as const),
      ['XDEL', 'stream:groups', '7-0'],
      ['XGROUP', 'CREATE', 'stream:groups', 'readers', '0'],
      ['XGROUP', 'CREATE', 'stream:groups', 'idle', '$'],
      ['XREADGROUP', 'GROUP', 'readers', 'alice', 'COUNT', 5, 'STREAMS', 'stream:groups', '>'],
      ['XREADGROUP', 'GROUP', 'readers', 'bob', 'COUNT', 3, 'STREAMS', 'stream:groups', '>'],
      ['XACK', 'stream:groups', 'readers', '2-0'],
    ],
  },
  {
    key: 'stream:empty',
    type: 'stream',
    commands: [
      ['XADD', 'stream:empty', '5-1', 'f', 'v'],
      ['XDEL', 'stream:empty', '5-1'],
    ],
  },
];

/** Fields that expire, as a listpack and as a hash table: Redis since 7.4, Valkey since 9. */
const FIELD_EXPIRIES: readonly Seed[] = [
  {
    key: 'hash:field-expiry',
    type: 'hash',
    commands: [
      ['HSET', 'hash:field-expiry', 'f', 'v', 'g', 'w'],
      ['HPEXPIREAT', 'hash:field-expiry', EXPIRES_AT, 'FIELDS', 1, 'f'],
    ],
  },
  {
    key: 'hash:field-expiry-large',
    type: 'hash',
    commands: [
      ['HSET', 'hash:field-expiry-large', ...numbers(1_000).flatMap((n) => [`field-${n}`, n])],
      ['HPEXPIREAT', 'hash:field-expiry-large', EXPIRES_AT, 'FIELDS', 2, 'field-1', 'field-2'],
    ],
  },
];

/** A value of a module: Redis 8 has one built in. */
const VECTORS: readonly Seed[] = [
  {
    key: 'vectors',
    type: 'module',
    commands: [
      ['VADD', 'vectors', 'VALUES', 3, 1, 0.5, -1, 'a'],
      ['VADD', 'vectors', 'VALUES', 3, 0, 2, 1, 'b'],
    ],
  },
];

const FUNCTION = "#!lua name=seeded\nredis.register_function('seeded', function() return 1 end)";

const knows = async (server: RedisServer, command: string): Promise<boolean> => {
  const reply = await server.call('COMMAND', 'INFO', command);
  return Array.isArray(reply) && reply[0] !== null;
};

/**
 * Fills a server with every kind of value that it knows, in three databases, some with an expiry, and with a function library. Returns
 * what it then holds. `copies` multiplies the strings, for tests that need bytes.
 */
export async function seedKeys(server: RedisServer, copies = 0): Promise<KeyCounts> {
  const seeds = [
    ...STRINGS,
    ...COLLECTIONS,
    ...STREAMS,
    ...((await knows(server, 'HPEXPIREAT')) ? FIELD_EXPIRIES : []),
    ...((await knows(server, 'VADD')) ? VECTORS : []),
  ];
  await server.callIn(0, ...seeds.flatMap(({ commands }) => commands));
  await server.callIn(0, ...['string:short', 'list:small', 'hash:large'].map((key) => ['PEXPIREAT', key, EXPIRES_AT]));
  for (let first = 0; first < copies; first += 1_000) {
    const batch = numbers(Math.min(1_000, copies - first)).map((n) => first + n);
    await server.callIn(0, ['MSET', ...batch.flatMap((n) => [`copy:${n}`, `value ${n} `.repeat(8)])]);
  }
  await server.callIn(3, ['SET', 'other', 'database'], ['SET', 'brief', 'x', 'PXAT', EXPIRES_AT]);
  await server.callIn(15, ['RPUSH', 'last', 'database']);
  await server.call('FUNCTION', 'LOAD', 'REPLACE', FUNCTION);
  const types: Record<string, number> = { string: 2 + copies, list: 1 };
  for (const { type } of seeds) types[type] = (types[type] ?? 0) + 1;
  return {
    databases: {
      0: { keys: seeds.length + copies, expires: 3 },
      3: { keys: 2, expires: 1 },
      15: { keys: 1, expires: 0 },
    },
    types,
    functions: 1,
  };
}
