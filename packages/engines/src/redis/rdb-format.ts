/** The types of values as TYPE names them; a value of a module is `module`. */
export type ValueType = 'string' | 'list' | 'set' | 'zset' | 'hash' | 'stream' | 'module';
export type RdbMagic = 'REDIS' | 'VALKEY';

/** The newest versions of the formats whose parts are all known here. */
export const NEWEST_KNOWN_VERSION: Readonly<Record<RdbMagic, number>> = { REDIS: 12, VALKEY: 80 };

/** What stands between two keys. */
export const OPCODE = {
  slotImport: 243,
  slotInfo: 244,
  function2: 245,
  moduleAux: 247,
  idle: 248,
  frequency: 249,
  aux: 250,
  resizeDatabase: 251,
  expireMilliseconds: 252,
  expireSeconds: 253,
  selectDatabase: 254,
  end: 255,
} as const;

/** What follows a value of a module, one code before each part of it. */
export const MODULE_OPCODE = { end: 0, signed: 1, unsigned: 2, float: 3, double: 4, string: 5 } as const;

/** How the number of bytes of a string is given when it is not a length. */
export const STRING_ENCODING = { int8: 0, int16: 1, int32: 2, lzf: 3 } as const;

/**
 * One part of a serialized value: a number is that many bytes, `text-double` a score as text, `module-id` and `module` the type and the
 * value of a module, `each` a length followed by that many groups.
 */
export type Part =
  | 'string'
  | 'length'
  | 'text-double'
  | 'module-id'
  | 'module'
  | number
  | { readonly each: readonly Part[] };

const strings: Part = { each: ['string'] };
const pairs: Part = { each: ['string', 'string'] };
const STREAM_ID = 16;
const INSTANT = 8;
const pending: Part = { each: [STREAM_ID, INSTANT, 'length'] };
const owned: Part = { each: [STREAM_ID] };

/** Entries, length and last id; then first id, largest deleted id and entries added; groups with pending entries and consumers. */
const stream = (metadata: readonly Part[], group: readonly Part[], consumer: readonly Part[]): readonly Part[] => [
  pairs,
  'length',
  'length',
  'length',
  ...metadata,
  { each: ['string', 'length', 'length', ...group, pending, { each: ['string', ...consumer, owned] }] },
];
const STREAM_METADATA: readonly Part[] = ['length', 'length', 'length', 'length', 'length'];

interface ValueLayout {
  readonly type: ValueType;
  readonly parts: readonly Part[];
  /** Fields of the value may expire. */
  readonly isVolatile: boolean;
}
const layout = (type: ValueType, ...parts: readonly Part[]): ValueLayout => ({ type, parts, isVolatile: false });
const volatile = (...parts: readonly Part[]): ValueLayout => ({ type: 'hash', parts, isVolatile: true });

/** Layouts of serialized values by their type byte, of Redis 2.6 to 8.2 and of Valkey. */
const LAYOUTS: Readonly<Record<number, ValueLayout>> = {
  0: layout('string', 'string'),
  1: layout('list', strings),
  2: layout('set', strings),
  3: layout('zset', { each: ['string', 'text-double'] }),
  4: layout('hash', pairs),
  5: layout('zset', { each: ['string', 8] }),
  7: layout('module', 'module-id', 'module'),
  9: layout('hash', 'string'),
  10: layout('list', 'string'),
  11: layout('set', 'string'),
  12: layout('zset', 'string'),
  13: layout('hash', 'string'),
  14: layout('list', strings),
  15: layout('stream', ...stream([], [], [INSTANT])),
  16: layout('hash', 'string'),
  17: layout('zset', 'string'),
  18: layout('list', { each: ['length', 'string'] }),
  19: layout('stream', ...stream(STREAM_METADATA, ['length'], [INSTANT])),
  20: layout('set', 'string'),
  21: layout('stream', ...stream(STREAM_METADATA, ['length'], [INSTANT, INSTANT])),
  24: volatile(INSTANT, { each: ['length', 'string', 'string'] }),
  25: volatile(INSTANT, 'string'),
};
/** Valkey uses the number 22 for hashes with fields that expire. Redis used it before the release of 7.4 alone. */
const VALKEY_LAYOUTS: Readonly<Record<number, ValueLayout>> = {
  22: volatile({ each: ['string', 'string', INSTANT] }),
};

/** The layout of a value; undefined when the type byte is unknown. */
export const layoutOf = (magic: RdbMagic, typeByte: number): ValueLayout | undefined =>
  (magic === 'VALKEY' ? VALKEY_LAYOUTS[typeByte] : undefined) ?? LAYOUTS[typeByte];

const MODULE_NAME_CHARS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
/** The name of a module's type, such as `graphdata`, out of its 64-bit id: nine characters of six bits, then ten bits of a version. */
export function moduleTypeName(id: bigint): string {
  let name = '';
  for (let shift = 58n; shift >= 10n; shift -= 6n) name += MODULE_NAME_CHARS[Number((id >> shift) & 0x3fn)] ?? '';
  return name;
}
