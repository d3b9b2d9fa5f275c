import { existsSync } from 'node:fs';
import { chmod, rename } from 'node:fs/promises';
import { Bug, Failure } from '@lastgood/core';
import {
  type AgentLedger,
  emptyAgentLedger,
  parseStoredJob,
  type StoredNotes,
  storedEventSchema,
  storedNotesSchema,
} from '@lastgood/protocol';
import Database from 'better-sqlite3';
import { ZodError } from 'zod';
import { readHandled, writeHandled } from './handled-instants.ts';
import { CHECK_DISK, seal, unseal } from './seal.ts';

const SCHEMA = `
  create table if not exists meta (key text primary key, value text not null) strict;
  create table if not exists job (key text primary key, json text not null) strict;
  create table if not exists handled (position integer primary key autoincrement, schedule text not null, json text not null) strict;
  create table if not exists outbox (position integer primary key autoincrement, id text not null unique, json text not null) strict;
`;

/** Prefix of the notes that hold the ids of jobs that this agent may create. */
const MINTED = 'minted:';

function open(file: string): Database.Database {
  const db = new Database(file);
  try {
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = FULL');
    db.exec(SCHEMA);
    const found = db.pragma('quick_check', { simple: true });
    if (found !== 'ok')
      throw new Failure('IO_ERROR', `the journal is damaged: ${String(found).slice(0, 200)}`, { remedy: CHECK_DISK });
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

const isDamage = (error: unknown): boolean =>
  error instanceof Failure ||
  error instanceof SyntaxError ||
  error instanceof ZodError ||
  (error instanceof Error && 'code' in error && /^SQLITE_(CORRUPT|NOTADB|IOERR_SHORT_READ)/.test(String(error.code)));

/** The text of a record that `parse` accepts when it is read again; throws ZodError for any other. */
function storedText(record: object, parse: (value: unknown) => unknown): string {
  const text = JSON.stringify(record);
  parse(JSON.parse(text));
  return text;
}

/** Receives each committed change. */
export type Subscriber = (before: AgentLedger, after: AgentLedger) => void;
export interface Applied<T> {
  readonly before: AgentLedger;
  readonly after: AgentLedger;
  readonly value: T;
}

/**
 * What the agent must not forget, in SQLite with synchronous=FULL: a change is on the disk before it is acknowledged or acted on.
 * A damaged file, or one with a record that no journal stores, is set aside and an empty one is created (J5); the next hello then shows
 * the control plane that this host was set back.
 */
export class Journal implements Disposable {
  readonly #db: Database.Database;
  /** Where a damaged predecessor was moved to, if there was one. */
  readonly damaged: string | undefined;
  #stored: AgentLedger;
  readonly #subscribers = new Set<Subscriber>();
  readonly #announcements: { readonly before: AgentLedger; readonly after: AgentLedger }[] = [];
  #announcing = false;

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
      if (!isDamage(error))
        throw new Failure('IO_ERROR', `cannot open the journal ${file}`, { cause: error, remedy: CHECK_DISK });
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
    const jobs = this.#db.prepare<[], { key: string; json: string }>('select key, json from job').all();
    const outbox = this.#db
      .prepare<[], { id: string; json: string }>('select id, json from outbox order by position')
      .all();
    const schedules = this.note('schedules');
    const decidedAt = this.note('decidedAt');
    const minted = notes.filter(({ key }) => key.startsWith(MINTED));
    const stored: StoredNotes = storedNotesSchema.parse({
      incarnation: this.note('incarnation') ?? null,
      lastSeq: Number(this.note('lastSeq') ?? 0),
      decidedAt: decidedAt === undefined ? null : Number(decidedAt),
      schedules: schedules === undefined ? null : JSON.parse(schedules),
      mintedIds: new Map(minted.map(({ key, value }) => [key.slice(MINTED.length), Number(unseal(key, value))])),
    });
    return {
      ...emptyAgentLedger,
      ...stored,
      handled: readHandled(this.#db),
      jobs: new Map(jobs.map(({ key, json }) => [key, parseStoredJob(JSON.parse(unseal(key, json)))])),
      outbox: outbox.map(({ id, json }) => storedEventSchema.parse(JSON.parse(unseal(id, json)))),
    };
  }

  get ledger(): AgentLedger {
    return this.#stored;
  }
  /** How the open connection writes, read from the connection itself. */
  get durability(): { journalMode: unknown; synchronous: unknown } {
    const pragma = (name: string): unknown => this.#db.pragma(name, { simple: true });
    return { journalMode: pragma('journal_mode'), synchronous: pragma('synchronous') };
  }

  /**
   * Makes the next ledger durable in one transaction, then notifies the subscribers. A reducer that returns the same ledger
   * changes nothing and notifies nobody. What throws here changed nothing: NO_SPACE, IO_ERROR, and Bug for a ledger that could not
   * be read again.
   */
  apply<T>(reduce: (ledger: AgentLedger) => { readonly ledger: AgentLedger; readonly value: T }): Applied<T> {
    const before = this.#stored;
    const { ledger: after, value } = reduce(before);
    if (after !== before) {
      this.#save(before, after);
      this.#stored = after;
      this.#notify(before, after);
    }
    return { before, after, value };
  }

  /** The same for a reducer that has nothing else to return. */
  update(reduce: (ledger: AgentLedger) => AgentLedger): Applied<undefined> {
    return this.apply((ledger) => ({ ledger: reduce(ledger), value: undefined }));
  }

  /** Calls `subscriber` after each commit, in order, until the returned function is called. */
  subscribe(subscriber: Subscriber): () => void {
    this.#subscribers.add(subscriber);
    return () => this.#subscribers.delete(subscriber);
  }

  /** A subscriber may apply a change itself: it is committed at once, and announced after the one before it. */
  #notify(before: AgentLedger, after: AgentLedger): void {
    this.#announcements.push({ before, after });
    if (this.#announcing) return;
    this.#announcing = true;
    try {
      for (let next = this.#announcements.shift(); next !== undefined; next = this.#announcements.shift())
        for (const subscriber of this.#subscribers) subscriber(next.before, next.after);
    } finally {
      this.#announcing = false;
    }
  }

  #save(before: AgentLedger, after: AgentLedger): void {
    try {
      this.#db.transaction(() => this.#write(before, after))();
    } catch (error) {
      if (error instanceof ZodError)
        throw new Bug(`the journal does not store ${error.issues.map(({ path }) => path.join('.')).join(', ')}`);
      const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
      const full = code === 'SQLITE_FULL';
      throw new Failure(full ? 'NO_SPACE' : 'IO_ERROR', `cannot write the journal (${code})`, {
        cause: error,
        remedy: full ? 'Free space on the disk of `dataDir` of the agent.' : CHECK_DISK,
      });
    }
  }

  #write(before: AgentLedger, after: AgentLedger): void {
    const { incarnation, lastSeq, decidedAt, schedules } = after;
    // The ids of a ledger that only grows are not read again for every job.
    storedNotesSchema.parse({ incarnation, lastSeq, decidedAt, schedules, mintedIds: new Map() });
    if (after.incarnation !== null && after.incarnation !== before.incarnation)
      this.#setNote('incarnation', after.incarnation);
    if (after.lastSeq !== before.lastSeq) this.#setNote('lastSeq', String(after.lastSeq));
    if (after.schedules !== before.schedules) this.#setNote('schedules', JSON.stringify(after.schedules));
    if (after.decidedAt !== null && after.decidedAt !== before.decidedAt)
      this.#setNote('decidedAt', String(after.decidedAt));
    if (after.handled !== before.handled) writeHandled(this.#db, before.handled, after.handled);
    if (after.mintedIds !== before.mintedIds) this.#writeMintedIds(before, after);
    for (const [key, job] of after.jobs)
      if (before.jobs.get(key) !== job)
        this.#db
          .prepare('insert into job (key, json) values (?, ?) on conflict (key) do update set json = excluded.json')
          .run(key, seal(key, storedText(job, parseStoredJob)));
    for (const key of before.jobs.keys())
      if (!after.jobs.has(key)) this.#db.prepare('delete from job where key = ?').run(key);
    let same = 0;
    while (same < after.outbox.length && after.outbox[same] === before.outbox[same]) same += 1;
    const kept = new Set(after.outbox.slice(same).map((event) => event.id));
    const had = new Set(before.outbox.slice(same).map((event) => event.id));
    for (const id of had) if (!kept.has(id)) this.#db.prepare('delete from outbox where id = ?').run(id);
    for (const event of after.outbox.slice(same))
      if (!had.has(event.id))
        this.#db.prepare('insert into outbox (id, json) values (?, ?)').run(
          event.id,
          seal(
            event.id,
            storedText(event, (value) => storedEventSchema.parse(value)),
          ),
        );
  }

  #writeMintedIds(before: AgentLedger, after: AgentLedger): void {
    for (const [jobId, at] of after.mintedIds)
      if (before.mintedIds.get(jobId) !== at) this.#setNote(`${MINTED}${jobId}`, String(at));
    for (const jobId of before.mintedIds.keys())
      if (!after.mintedIds.has(jobId)) this.#db.prepare('delete from meta where key = ?').run(`${MINTED}${jobId}`);
  }

  /** A small value that outlives the process. */
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
