import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, lstat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { Bug, Failure } from '@lastgood/core';
import Database from 'better-sqlite3';
import { drizzle } from 'drizzle-orm/better-sqlite3';
import { migrate } from 'drizzle-orm/better-sqlite3/migrator';
import { agentQueries } from './agents.ts';
import { alertQueries } from './alerts.ts';
import { auditQueries } from './audit.ts';
import { backupQueries } from './backup-queries.ts';
import { browserSessionQueries } from './browser-sessions.ts';
import { applyChange, type Catalog, type Change } from './catalog.ts';
import { catalogFailure, type Db } from './db.ts';
import { evidenceQueries } from './evidence.ts';
import { fleetFileQueries } from './fleet-files.ts';
import { targetQueries } from './inventory.ts';
import { jobQueries } from './jobs.ts';
import { ledgerQueries } from './ledgers.ts';
import { readIncarnation } from './meta.ts';
import { notificationQueries } from './notifications.ts';
import { occurrenceQueries } from './occurrences.ts';
import { runbookQueries } from './runbooks.ts';
import { scheduleQueries } from './schedules.ts';
import * as schema from './schema.ts';
import { targetStatusQueries } from './target-statuses.ts';
import { tokenQueries } from './tokens.ts';

/** Beside the sources while developing, beside the bundle when shipped. */
function migrationsFolder(): string {
  const found = ['../../migrations', '../migrations']
    .map((path) => fileURLToPath(new URL(path, import.meta.url)))
    .find((path) => existsSync(path));
  if (found === undefined) throw new Bug('the migrations of the catalog are missing');
  return found;
}

/** The first of these that is the catalog's own fault. A change that the stored data refuses (CONFLICT) is not. */
const writeFailure = (reasons: readonly unknown[]): Failure | null =>
  reasons
    .filter((reason) => reason instanceof Failure)
    .find(({ code }) => code === 'NO_SPACE' || code === 'IO_ERROR') ?? null;

/** Refuses a file that others may have put there (B16). The mode of our own files, which SQLite creates too open, is corrected below. */
async function checkOwn(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isFile()) throw new Failure('DATA_FOLDER_UNSAFE', `${path} is not a regular file`);
  if (process.getuid !== undefined && found.uid !== process.getuid())
    throw new Failure('DATA_FOLDER_UNSAFE', `${path} belongs to user ${found.uid}, not to ${process.getuid()}`);
}

/**
 * Opens (and migrates, in one transaction) the catalog in a file. WAL with synchronous=FULL: what `commit` acknowledged
 * survives a power cut (C1). Commits of one turn of the event loop share one sync.
 */
export async function openSqliteCatalog(file: string): Promise<Catalog> {
  for (const path of [file, `${file}-wal`, `${file}-shm`]) await checkOwn(path);
  let sqlite: Database.Database;
  try {
    sqlite = new Database(file);
  } catch (error) {
    throw catalogFailure(error);
  }
  try {
    sqlite.pragma('journal_mode = WAL');
    sqlite.pragma('synchronous = FULL');
    sqlite.pragma('foreign_keys = ON');
    sqlite.pragma('busy_timeout = 1000');
    const db = drizzle(sqlite, { schema });
    migrate(db, { migrationsFolder: migrationsFolder() });
    db.insert(schema.meta).values({ key: 'incarnation', value: randomUUID() }).onConflictDoNothing().run();
    for (const path of [file, `${file}-wal`, `${file}-shm`]) if (existsSync(path)) await chmod(path, 0o600);
    return new SqliteCatalog(sqlite, db);
  } catch (error) {
    sqlite.close();
    throw catalogFailure(error);
  }
}

/** Pages that a copy takes before others have their turn. */
const COPIED_AT_ONCE = 1_000;

/** Checks that a file holds a whole catalog, and that it needs no log beside it. Throws CATALOG_INVALID. */
export function checkCatalogFile(file: string): void {
  const invalid = (reason: string): Failure =>
    new Failure('CATALOG_INVALID', `${file} is not a whole catalog: ${reason}`);
  let sqlite: Database.Database | null = null;
  try {
    sqlite = new Database(file, { fileMustExist: true });
    sqlite.pragma('journal_mode = DELETE');
    if (sqlite.pragma('quick_check(1)', { simple: true }) !== 'ok') throw invalid('its pages are damaged');
    readIncarnation(drizzle(sqlite, { schema }));
  } catch (error) {
    throw error instanceof Failure ? error : invalid(error instanceof Error ? error.message : String(error));
  } finally {
    sqlite?.close();
  }
}

interface Waiting {
  readonly changes: readonly Change[];
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

class SqliteCatalog implements Catalog {
  readonly #sqlite: Database.Database;
  readonly #db: Db;
  readonly agents: Catalog['agents'];
  readonly targetStatuses: Catalog['targetStatuses'];
  readonly runbooks: Catalog['runbooks'];
  readonly schedules: Catalog['schedules'];
  readonly occurrences: Catalog['occurrences'];
  readonly notifications: Catalog['notifications'];
  readonly evidence: Catalog['evidence'];
  readonly fleetFiles: Catalog['fleetFiles'];
  readonly alerts: Catalog['alerts'];
  readonly audit: Catalog['audit'];
  readonly backups: Catalog['backups'];
  readonly browserSessions: Catalog['browserSessions'];
  readonly jobs: Catalog['jobs'];
  readonly ledgers: Catalog['ledgers'];
  readonly targets: Catalog['targets'];
  readonly tokens: Catalog['tokens'];
  #waiting: Waiting[] = [];
  #failing: Failure | null = null;

  constructor(sqlite: Database.Database, db: Db) {
    this.#sqlite = sqlite;
    this.#db = db;
    this.agents = agentQueries(db);
    this.targetStatuses = targetStatusQueries(db);
    this.runbooks = runbookQueries(db);
    this.schedules = scheduleQueries(db);
    this.occurrences = occurrenceQueries(db);
    this.notifications = notificationQueries(db);
    this.evidence = evidenceQueries(db);
    this.fleetFiles = fleetFileQueries(db);
    this.alerts = alertQueries(db);
    this.audit = auditQueries(db);
    this.backups = backupQueries(db);
    this.browserSessions = browserSessionQueries(db);
    this.jobs = jobQueries(db);
    this.ledgers = ledgerQueries(db);
    this.targets = targetQueries(db);
    this.tokens = tokenQueries(db);
  }

  commit(changes: readonly Change[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ changes, resolve, reject });
      if (this.#waiting.length === 1) setImmediate(() => this.#flush());
    });
  }

  /** One transaction for everything that waits. Each commit is a savepoint, so a refused one does not take another with it. */
  #flush(): void {
    const batch = this.#waiting;
    this.#waiting = [];
    const refused = new Map<Waiting, unknown>();
    try {
      this.#sqlite.exec('begin immediate');
      for (const waiting of batch) {
        this.#sqlite.exec('savepoint one');
        try {
          for (const change of waiting.changes) applyChange(this.#db, change);
        } catch (error) {
          if (!this.#sqlite.inTransaction) throw error;
          this.#sqlite.exec('rollback to one');
          refused.set(waiting, catalogFailure(error));
        }
        this.#sqlite.exec('release one');
      }
      this.#sqlite.exec('commit');
    } catch (error) {
      if (this.#sqlite.inTransaction) this.#sqlite.exec('rollback');
      const failure = catalogFailure(error);
      this.#failing = writeFailure([failure]);
      for (const { reject } of batch) reject(failure);
      return;
    }
    this.#failing = writeFailure([...refused.values()]);
    for (const waiting of batch) {
      if (refused.has(waiting)) waiting.reject(refused.get(waiting));
      else waiting.resolve();
    }
  }

  async failing(): Promise<Failure | null> {
    return this.#failing;
  }

  async durability(): Promise<{ journalMode: unknown; synchronous: unknown; foreignKeys: unknown }> {
    const read = (name: string): unknown => this.#sqlite.pragma(name, { simple: true });
    return { journalMode: read('journal_mode'), synchronous: read('synchronous'), foreignKeys: read('foreign_keys') };
  }

  async copyTo(file: string): Promise<void> {
    try {
      await this.#sqlite.backup(file, { progress: () => COPIED_AT_ONCE });
    } catch (error) {
      throw catalogFailure(error);
    }
  }

  async incarnation(): Promise<string> {
    return readIncarnation(this.#db);
  }

  async close(): Promise<void> {
    if (this.#waiting.length > 0) this.#flush();
    this.#sqlite.close();
  }
}
