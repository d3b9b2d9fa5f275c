import type { RdbMagic, ValueType } from './rdb-format.ts';

export interface DatabaseCount {
  readonly keys: number;
  readonly expires: number;
}
interface CountedDatabase extends DatabaseCount {
  /** The number of keys that the file announces before the first one; null when it announces none. */
  readonly announced: number | null;
}
export interface RdbCounts {
  /** By database number. */
  readonly databases: Readonly<Record<string, CountedDatabase>>;
  readonly types: Readonly<Partial<Record<ValueType, number>>>;
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
  /** `absent`: the server was told to write none (`rdbchecksum no`). `not-reached`: the end of the file was not found. */
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

/** Collects counts while a file is walked. */
export class RdbCounter {
  readonly #databases = new Map<number, { keys: number; expires: number; announced: number | null }>();
  readonly #types = new Map<ValueType, number>();
  readonly #aux = new Map<string, string>();
  readonly #modules = new Set<string>();
  #database: { keys: number; expires: number; announced: number | null } = { keys: 0, expires: 0, announced: null };
  #functions = 0;

  aux(name: string | null, value: string | null): void {
    if (name !== null && value !== null) this.#aux.set(name, value);
  }
  select(number: number): void {
    this.#database = this.#databases.get(number) ?? { keys: 0, expires: 0, announced: null };
    this.#databases.set(number, this.#database);
  }
  announce(keys: number): void {
    this.#database.announced = (this.#database.announced ?? 0) + keys;
  }
  key(type: ValueType, expires: boolean): void {
    this.#database.keys += 1;
    if (expires) this.#database.expires += 1;
    this.#types.set(type, (this.#types.get(type) ?? 0) + 1);
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
    return {
      databases: Object.fromEntries(this.#databases),
      types: Object.fromEntries(this.#types),
      functions: this.#functions,
      moduleTypes: [...this.#modules],
    };
  }
}
