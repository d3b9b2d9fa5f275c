import { LASTING, slotOf } from './expiry-slots.ts';
import type { RdbMagic, ValueType } from './rdb-format.ts';

export interface DatabaseCount {
  readonly keys: number;
  readonly expires: number;
}
interface CountedDatabase extends DatabaseCount {
  /** The number of keys that the file announces before the first one; null when it announces none. */
  readonly announced: number | null;
}
export interface KeyGroup {
  readonly database: number;
  readonly type: ValueType;
  readonly slot: number;
  readonly keys: number;
  /** Those of them that are hashes with fields that expire: such a hash is gone when all its fields are. */
  readonly volatile: number;
}
export interface RdbCounts {
  /** By database number. */
  readonly databases: Readonly<Record<string, CountedDatabase>>;
  readonly types: Readonly<Partial<Record<ValueType, number>>>;
  /** The same keys by database, type and slot of expiry (expiry-slots.ts), in this order. */
  readonly groups: readonly KeyGroup[];
  readonly functions: number;
  /** Types of modules that the file needs, such as `vectorset`. */
  readonly moduleTypes: readonly string[];
}

/** What the bytes of one RDB file are. */
export interface RdbReport {
  /** Null when the file does not begin as an RDB file. */
  readonly format: { readonly magic: RdbMagic; readonly version: number } | null;
  readonly bytes: number;
  /** Fields that the server wrote about itself, such as `redis-ver` and `valkey-ver`. */
  readonly aux: Readonly<Record<string, string>>;
  /** `incomplete`: the file ends too early, or damage hides its end. */
  readonly state: 'whole' | 'incomplete' | 'not-rdb';
  /** `absent`: the server was configured to write none (`rdbchecksum no`). `not-reached`: the end of the file was not found. */
  readonly checksum: 'matches' | 'differs' | 'absent' | 'not-reached';
  readonly trailingBytes: number;
  /** Where counting ended at a byte of unknown meaning; the counts are those up to there. */
  readonly uncounted: { readonly offset: number; readonly byte: number | null } | null;
  readonly counts: RdbCounts;
}

/** What can be wrong with an RDB file. `warning`: the file may be good, and nothing shows that it is. */
export interface RdbFinding {
  readonly code:
    | 'RDB_NOT_RDB'
    | 'RDB_INCOMPLETE'
    | 'RDB_CHECKSUM_DIFFERS'
    | 'RDB_TRAILING_BYTES'
    | 'RDB_COUNT_DIFFERS'
    | 'RDB_NOT_SELF_CHECKING'
    | 'RDB_NOT_COUNTED';
  readonly severity: 'error' | 'warning';
  readonly params: Readonly<Record<string, number | string>>;
}

/** Judges a walked file. No finding of severity `error` means that the file is whole and unchanged, as far as it checks itself. */
export function judgeRdb(report: RdbReport): RdbFinding[] {
  const findings: RdbFinding[] = [];
  const add = (severity: RdbFinding['severity'], code: RdbFinding['code'], params: RdbFinding['params'] = {}): void => {
    findings.push({ code, severity, params });
  };
  if (report.state === 'not-rdb') add('error', 'RDB_NOT_RDB');
  if (report.state === 'incomplete' && report.uncounted === null)
    add('error', 'RDB_INCOMPLETE', { bytes: report.bytes });
  // A byte of unknown meaning, and a checksum that does not vouch for it: damage, or a newer format without a checksum.
  if (report.state === 'incomplete' && report.uncounted !== null)
    add('error', 'RDB_CHECKSUM_DIFFERS', { offset: report.uncounted.offset });
  if (report.checksum === 'differs') add('error', 'RDB_CHECKSUM_DIFFERS', { offset: report.bytes });
  if (report.checksum === 'absent') add('warning', 'RDB_NOT_SELF_CHECKING');
  if (report.trailingBytes > 0) add('error', 'RDB_TRAILING_BYTES', { bytes: report.trailingBytes });
  if (report.state === 'whole' && report.uncounted !== null)
    add('warning', 'RDB_NOT_COUNTED', { offset: report.uncounted.offset });
  if (report.state === 'whole' && report.uncounted === null)
    for (const [database, { keys, announced }] of Object.entries(report.counts.databases))
      if (announced !== null && announced !== keys)
        add(report.checksum === 'matches' ? 'warning' : 'error', 'RDB_COUNT_DIFFERS', { database, keys, announced });
  return findings;
}

/** The product and version that wrote a file; null when it does not name one. */
export function writerOf(report: RdbReport): { product: 'redis' | 'valkey'; version: string } | null {
  const valkey = report.aux['valkey-ver'];
  if (valkey !== undefined) return { product: 'valkey', version: valkey };
  const redis = report.aux['redis-ver'];
  return redis === undefined ? null : { product: 'redis', version: redis };
}

type Mutable<T> = { -readonly [Name in keyof T]: T[Name] };
interface OpenDatabase extends Mutable<CountedDatabase> {
  readonly number: number;
  readonly groups: Map<ValueType, Mutable<KeyGroup>[]>;
}
const openDatabase = (number: number): OpenDatabase => ({
  number,
  keys: 0,
  expires: 0,
  announced: null,
  groups: new Map(),
});

function openGroup({ number, groups }: OpenDatabase, type: ValueType, slot: number): Mutable<KeyGroup> {
  const group = { database: number, type, slot, keys: 0, volatile: 0 };
  const list = groups.get(type) ?? [];
  groups.set(type, list);
  list[slot - LASTING] = group;
  return group;
}

/** Collects counts while a file is walked. */
export class RdbCounter {
  readonly #databases = new Map<number, OpenDatabase>();
  readonly #aux = new Map<string, string>();
  readonly #modules = new Set<string>();
  #database = openDatabase(0);
  #functions = 0;
  #snapshotAt = 0;

  aux(name: string | null, value: string | null): void {
    if (name === null || value === null) return;
    this.#aux.set(name, value);
    if (name === 'ctime') this.#snapshotAt = Number(value) * 1000;
  }
  select(number: number): void {
    this.#database = this.#databases.get(number) ?? openDatabase(number);
    this.#databases.set(number, this.#database);
  }
  announce(keys: number): void {
    this.#database.announced = (this.#database.announced ?? 0) + keys;
  }
  /** Called for each key: a file may hold hundreds of millions. */
  key(type: ValueType, expiresAt: number | null, isVolatile: boolean): void {
    const database = this.#database;
    database.keys += 1;
    if (expiresAt !== null) database.expires += 1;
    const slot = slotOf(this.#snapshotAt, expiresAt);
    const group = database.groups.get(type)?.[slot - LASTING] ?? openGroup(database, type, slot);
    group.keys += 1;
    if (isVolatile) group.volatile += 1;
  }
  function(): void {
    this.#functions += 1;
  }
  module(type: string): void {
    this.#modules.add(type);
  }
  auxFields(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.#aux);
  }
  counts(): RdbCounts {
    const databases: Record<string, CountedDatabase> = {};
    const types: Partial<Record<ValueType, number>> = {};
    const all: KeyGroup[] = [];
    for (const { number, keys, expires, announced, groups } of this.#databases.values()) {
      databases[number] = { keys, expires, announced };
      // Slots without keys leave holes.
      for (const list of groups.values()) all.push(...list.filter((group) => group !== undefined));
    }
    for (const { type, keys } of all) types[type] = (types[type] ?? 0) + keys;
    return {
      databases,
      types,
      groups: all.sort(compareGroups),
      functions: this.#functions,
      moduleTypes: [...this.#modules],
    };
  }
}

type GroupName = Pick<KeyGroup, 'database' | 'type' | 'slot'>;
/** By database, type and slot. */
export const compareGroups = (a: GroupName, b: GroupName): number =>
  a.database - b.database || (a.type < b.type ? -1 : a.type > b.type ? 1 : a.slot - b.slot);
