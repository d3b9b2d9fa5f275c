import { existsSync } from 'node:fs';
import { chmod, rename } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { Failure } from '@lastgood/core';
import { type AgentJob, type AgentLedger, emptyAgentLedger, type JobEvent } from '@lastgood/protocol';
import Database from 'better-sqlite3';

const SCHEMA = `
  create table if not exists meta (key text primary key, value text not null) strict;
  create table if not exists job (key text primary key, json text not null) strict;
  create table if not exists outbox (position integer primary key autoincrement, id text not null unique, json text not null) strict;
`;

function open(file: string): Database.Database {
  const db = new Database(file);
  try {
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = FULL');
    db.exec(SCHEMA);
    const found = db.pragma('quick_check', { simple: true });
    if (found !== 'ok') throw new Failure('IO_ERROR', `the journal is damaged: ${String(found).slice(0, 200)}`);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

const isDamage = (error: unknown): boolean =>
  error instanceof Failure ||
  error instanceof SyntaxError ||
  (error instanceof Error && 'code' in error && /^SQLITE_(CORRUPT|NOTADB|IOERR_SHORT_READ)/.test(String(error.code)));

/** SQLite notices a torn page, not a changed byte in one: each record carries a checksum of its own (J5). */
const seal = (key: string, text: string): string => `${crc32(`${key} ${text}`).toString(16).padStart(8, '0')} ${text}`;
function unseal(key: string, sealed: string): string {
  const text = sealed.slice(9);
  if (seal(key, text) !== sealed) throw new Failure('IO_ERROR', 'a record of the journal was changed');
  return text;
}

/**
 * What the agent must not forget, in SQLite with synchronous=FULL: a step is on the disk before it is acknowledged or acted on.
 * A damaged file is put aside and an empty one begun (J5): the hello then tells the control plane that this host went back.
 */
export class Journal implements Disposable {
  readonly #db: Database.Database;
  /** Where a damaged predecessor was put, if there was one. */
  readonly damaged: string | undefined;
  #stored: AgentLedger;

  private constructor(db: Database.Database, damaged: string | undefined) {
    this.#db = db;
    this.damaged = damaged;
    try {
      this.#stored = this.#load();
    } catch (error) {
      db.close();
      throw error;
    }
  }

  static async open(file: string, now: number): Promise<Journal> {
    let damaged: string | undefined;
    let journal: Journal;
    try {
      journal = new Journal(open(file), undefined);
    } catch (error) {
      if (!isDamage(error)) throw new Failure('IO_ERROR', `the journal ${file} cannot be opened`, { cause: error });
      damaged = `${file}.damaged-${now}`;
      for (const suffix of ['', '-wal', '-shm'])
        if (existsSync(`${file}${suffix}`)) await rename(`${file}${suffix}`, `${damaged}${suffix}`);
      journal = new Journal(open(file), damaged);
    }
    for (const suffix of ['', '-wal', '-shm'])
      if (existsSync(`${file}${suffix}`)) await chmod(`${file}${suffix}`, 0o600);
    return journal;
  }

  #load(): AgentLedger {
    const notes = this.#db.prepare<[], { key: string; value: string }>('select key, value from meta').all();
    for (const { key, value } of notes) unseal(key, value);
    const incarnation = this.note('incarnation') ?? null;
    const lastSeq = Number(this.note('lastSeq') ?? 0);
    const jobs = this.#db.prepare<[], { key: string; json: string }>('select key, json from job').all();
    const outbox = this.#db
      .prepare<[], { id: string; json: string }>('select id, json from outbox order by position')
      .all();
    return {
      ...emptyAgentLedger,
      incarnation,
      lastSeq,
      jobs: new Map(jobs.map(({ key, json }) => [key, JSON.parse(unseal(key, json)) as AgentJob])),
      outbox: outbox.map(({ id, json }) => JSON.parse(unseal(id, json)) as JobEvent),
    };
  }

  get ledger(): AgentLedger {
    return this.#stored;
  }
  /** What the open connection itself says of how it writes. */
  get durability(): { journalMode: unknown; synchronous: unknown } {
    const pragma = (name: string): unknown => this.#db.pragma(name, { simple: true });
    return { journalMode: pragma('journal_mode'), synchronous: pragma('synchronous') };
  }

  /** Makes the ledger durable, in one transaction. What throws here changed nothing. */
  save(ledger: AgentLedger): void {
    const before = this.#stored;
    if (ledger === before) return;
    const write = this.#db.transaction(() => {
      if (ledger.incarnation !== null && ledger.incarnation !== before.incarnation)
        this.#setNote('incarnation', ledger.incarnation);
      if (ledger.lastSeq !== before.lastSeq) this.#setNote('lastSeq', String(ledger.lastSeq));
      for (const [key, job] of ledger.jobs)
        if (before.jobs.get(key) !== job)
          this.#db
            .prepare('insert into job (key, json) values (?, ?) on conflict (key) do update set json = excluded.json')
            .run(key, seal(key, JSON.stringify(job)));
      for (const key of before.jobs.keys())
        if (!ledger.jobs.has(key)) this.#db.prepare('delete from job where key = ?').run(key);
      let same = 0;
      while (same < ledger.outbox.length && ledger.outbox[same] === before.outbox[same]) same += 1;
      const kept = new Set(ledger.outbox.slice(same).map((event) => event.id));
      const had = new Set(before.outbox.slice(same).map((event) => event.id));
      for (const id of had) if (!kept.has(id)) this.#db.prepare('delete from outbox where id = ?').run(id);
      for (const event of ledger.outbox.slice(same))
        if (!had.has(event.id))
          this.#db
            .prepare('insert into outbox (id, json) values (?, ?)')
            .run(event.id, seal(event.id, JSON.stringify(event)));
    });
    try {
      write();
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
      throw new Failure(
        code === 'SQLITE_FULL' ? 'NO_SPACE' : 'IO_ERROR',
        `the journal could not be written (${code})`,
        { cause: error },
      );
    }
    this.#stored = ledger;
  }

  /** A small fact that outlives the process. */
  note(key: string): string | undefined {
    const row = this.#db.prepare<[string], { value: string }>('select value from meta where key = ?').get(key);
    return row === undefined ? undefined : unseal(key, row.value);
  }
  #setNote(key: string, value: string): void {
    this.#db
      .prepare('insert into meta (key, value) values (?, ?) on conflict (key) do update set value = excluded.value')
      .run(key, seal(key, value));
  }
  remember(key: string, value: string): void {
    this.#setNote(key, value);
  }

  [Symbol.dispose](): void {
    this.#db.close();
  }
}
