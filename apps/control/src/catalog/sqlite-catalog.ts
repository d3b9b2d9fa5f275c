import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, lstat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { Bug, Failure, RESTORE_TEST_LEVEL } from '@lastgood/core';
import type {
  AgentCommand,
  AuditEntry,
  BackupSummary,
  ControlJob,
  ControlLedger,
  TargetInventory,
} from '@lastgood/protocol';
import Database from 'better-sqlite3';
import { and, desc, eq, lt, max, not, sql } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/better-sqlite3';
import { migrate } from 'drizzle-orm/better-sqlite3/migrator';
import { applyChange, type Db } from './apply-change.ts';
import type {
  AgentRecord,
  BackupRecord,
  Catalog,
  Change,
  Coverage,
  JobRecord,
  NewestGood,
  Scoped,
  TargetRecord,
  TokenRecord,
} from './catalog.ts';
import * as schema from './schema.ts';

/** Beside the sources while developing, beside the bundle when shipped. */
function migrationsFolder(): string {
  const found = ['../../migrations', '../migrations']
    .map((path) => fileURLToPath(new URL(path, import.meta.url)))
    .find((path) => existsSync(path));
  if (found === undefined) throw new Bug('the migrations of the catalog are missing');
  return found;
}

function catalogFailure(error: unknown): unknown {
  if (error instanceof Failure || !(error instanceof Error) || !('code' in error)) return error;
  const code = String(error.code);
  if (code === 'SQLITE_FULL') return new Failure('NO_SPACE', 'no space left for the catalog', { cause: error });
  if (code.startsWith('SQLITE_CONSTRAINT'))
    return new Failure('CONFLICT', 'another change of the same thing was faster', { cause: error });
  if (code.startsWith('SQLITE_'))
    return new Failure('IO_ERROR', `the catalog could not be read or written (${code})`, { cause: error });
  return error;
}

/** The first of these that is the catalog's own fault; a change that what is there refuses (CONFLICT) is not. */
const writeFailure = (reasons: readonly unknown[]): Failure | null =>
  reasons
    .filter((reason) => reason instanceof Failure)
    .find(({ code }) => code === 'NO_SPACE' || code === 'IO_ERROR') ?? null;

/** Refuses what others may have put there (B16); a file of our own with a wide mode, as SQLite makes it, is closed below. */
async function checkOwn(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isFile()) throw new Failure('DATA_FOLDER_UNSAFE', `${path} is no regular file`);
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

interface Waiting {
  readonly changes: readonly Change[];
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

class SqliteCatalog implements Catalog {
  readonly #sqlite: Database.Database;
  readonly #db: Db;
  #waiting: Waiting[] = [];
  #failing: Failure | null = null;

  constructor(sqlite: Database.Database, db: Db) {
    this.#sqlite = sqlite;
    this.#db = db;
  }

  commit(changes: readonly Change[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ changes, resolve, reject });
      if (this.#waiting.length === 1) setImmediate(() => this.#flush());
    });
  }

  /** One transaction for all that waits; each commit is a savepoint, so that one that is refused takes no other with it. */
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
    const said = (name: string): unknown => this.#sqlite.pragma(name, { simple: true });
    return { journalMode: said('journal_mode'), synchronous: said('synchronous'), foreignKeys: said('foreign_keys') };
  }

  async incarnation(): Promise<string> {
    const [row] = this.#db.select().from(schema.meta).where(eq(schema.meta.key, 'incarnation')).all();
    if (row === undefined) throw new Bug('the catalog has no incarnation');
    return row.value;
  }

  async agents(): Promise<AgentRecord[]> {
    return this.#db.select().from(schema.agents).orderBy(schema.agents.environment, schema.agents.host).all();
  }

  async ledgers(): Promise<ControlLedger[]> {
    const incarnation = await this.incarnation();
    const jobs = Map.groupBy(
      this.#db.select().from(schema.jobs).orderBy(schema.jobs.createdAt).all(),
      (row) => row.agentId,
    );
    const commands = Map.groupBy(
      this.#db.select().from(schema.commands).orderBy(schema.commands.seq).all(),
      (row) => row.agentId,
    );
    return this.#db
      .select()
      .from(schema.ledgers)
      .all()
      .map((row) => ({
        ...row,
        incarnation,
        jobs: new Map((jobs.get(row.agentId) ?? []).map((job) => [job.jobId, job.ledger as ControlJob])),
        outbox: (commands.get(row.agentId) ?? []).map((command) => command.command as AgentCommand),
      }));
  }

  async job(jobId: string): Promise<JobRecord | undefined> {
    return this.#db.select().from(schema.jobs).where(eq(schema.jobs.jobId, jobId)).all().map(jobRecord)[0];
  }

  async jobByKey(createdBy: string, idempotencyKey: string): Promise<JobRecord | undefined> {
    const where = and(eq(schema.jobs.createdBy, createdBy), eq(schema.jobs.idempotencyKey, idempotencyKey));
    return this.#db.select().from(schema.jobs).where(where).all().map(jobRecord)[0];
  }

  async jobs({ agentId, target }: Scoped, limit: number): Promise<JobRecord[]> {
    const where = and(
      agentId === undefined ? undefined : eq(schema.jobs.agentId, agentId),
      target === undefined ? undefined : eq(schema.jobs.target, target),
    );
    return this.#db
      .select()
      .from(schema.jobs)
      .where(where)
      .orderBy(desc(schema.jobs.createdAt), desc(schema.jobs.jobId))
      .limit(limit)
      .all()
      .map(jobRecord);
  }

  async forgettableJobs(before: number, limit: number): Promise<{ jobId: string; agentId: string }[]> {
    const { jobs, backups } = schema;
    const ended = sql`json_extract(${jobs.ledger}, '$.endedAt') < ${before}`;
    const taken = sql`exists (select 1 from ${backups} where json_extract(${backups.summary}, '$.jobId') = ${jobs.jobId})`;
    return this.#db
      .select({ jobId: jobs.jobId, agentId: jobs.agentId })
      .from(jobs)
      .where(and(lt(jobs.createdAt, before), ended, not(taken)))
      .orderBy(jobs.createdAt)
      .limit(limit)
      .all();
  }

  async targets({ agentId, target }: Scoped): Promise<TargetRecord[]> {
    return this.#db
      .select()
      .from(schema.targets)
      .where(
        and(
          agentId === undefined ? undefined : eq(schema.targets.agentId, agentId),
          target === undefined ? undefined : eq(schema.targets.name, target),
        ),
      )
      .orderBy(schema.targets.name)
      .all()
      .map((row) => ({ agentId: row.agentId, inventory: row.inventory as TargetInventory, seenAt: row.seenAt }));
  }

  async holds({ agentId, target }: Scoped): Promise<string[]> {
    const { backups, holds } = schema;
    const where = and(
      agentId === undefined ? undefined : eq(backups.agentId, agentId),
      target === undefined ? undefined : eq(backups.target, target),
    );
    return this.#db
      .select({ backupId: holds.backupId })
      .from(holds)
      .innerJoin(backups, eq(backups.backupId, holds.backupId))
      .where(where)
      .all()
      .map((row) => row.backupId);
  }

  async newestGood(scope: Scoped): Promise<NewestGood[]> {
    const newest = (proven: boolean): Map<string, { agentId: string; summary: BackupSummary }> => {
      const { backups } = schema;
      // SQLite promises that the other columns come from the row that holds the maximum.
      const rows = this.#db
        .select({
          agentId: backups.agentId,
          target: backups.target,
          summary: backups.summary,
          at: max(backups.sequence),
        })
        .from(backups)
        .where(goodOnes(scope, proven))
        .groupBy(backups.agentId, backups.target)
        .all();
      return new Map(
        rows.map((row) => [`${row.agentId}/${row.target}`, { ...row, summary: row.summary as BackupSummary }]),
      );
    };
    const proven = newest(true);
    return [...newest(false)].map(([key, row]) => ({
      agentId: row.agentId,
      target: row.summary.target,
      lastGood: row.summary,
      lastProven: proven.get(key)?.summary ?? null,
    }));
  }

  async coverage(agentId: string, target: string): Promise<Coverage[]> {
    const newest = (proven: boolean): Map<string, BackupSummary> => {
      const { backups } = schema;
      const rows = this.#db
        .select({ database: sql<string>`held.value`, summary: backups.summary, at: max(backups.sequence) })
        .from(backups)
        .innerJoin(sql`json_each(${backups.summary}, '$.databases') as held`, sql`true`)
        .where(goodOnes({ agentId, target }, proven))
        .groupBy(sql`held.value`)
        .all();
      return new Map(rows.map((row) => [row.database, row.summary as BackupSummary]));
    };
    const proven = newest(true);
    return [...newest(false)].map(([database, lastGood]) => ({
      database,
      lastGood,
      lastProven: proven.get(database) ?? null,
    }));
  }

  async backup(backupId: string): Promise<BackupRecord | undefined> {
    return this.#backupRows(eq(schema.backups.backupId, backupId), 1)[0];
  }

  async backups({ agentId, target }: Scoped, limit: number): Promise<BackupRecord[]> {
    return this.#backupRows(
      and(
        agentId === undefined ? undefined : eq(schema.backups.agentId, agentId),
        target === undefined ? undefined : eq(schema.backups.target, target),
      ),
      limit,
    );
  }

  #backupRows(where: ReturnType<typeof and>, limit: number): BackupRecord[] {
    const { backups, holds } = schema;
    // Backup ids are time-sortable, so they order across targets; within a target the sequence agrees.
    const rows = this.#db
      .select()
      .from(backups)
      .leftJoin(holds, eq(holds.backupId, backups.backupId))
      .where(where)
      .orderBy(desc(backups.backupId))
      .limit(limit)
      .all();
    return rows.map((row) => ({
      agentId: row.backups.agentId,
      summary: row.backups.summary as BackupSummary,
      held: row.holds !== null,
    }));
  }

  async tokens(): Promise<TokenRecord[]> {
    return this.#db.select().from(schema.tokens).orderBy(desc(schema.tokens.createdAt)).all();
  }

  async tokenByHash(hash: string): Promise<TokenRecord | undefined> {
    try {
      return this.#db.select().from(schema.tokens).where(eq(schema.tokens.hash, hash)).all()[0];
    } catch (error) {
      throw catalogFailure(error);
    }
  }

  async audit(limit: number): Promise<AuditEntry[]> {
    return this.#db.select().from(schema.audit).orderBy(desc(schema.audit.id)).limit(limit).all();
  }

  async close(): Promise<void> {
    if (this.#waiting.length > 0) this.#flush();
    this.#sqlite.close();
  }
}

/** Of the good backups of a scope all, or only those that were loaded into a server and passed. */
function goodOnes({ agentId, target }: Scoped, proven: boolean): ReturnType<typeof and> {
  const { backups } = schema;
  return and(
    eq(backups.state, 'good'),
    agentId === undefined ? undefined : eq(backups.agentId, agentId),
    target === undefined ? undefined : eq(backups.target, target),
    proven ? sql`json_extract(${backups.summary}, '$.verified.passed')` : undefined,
    proven ? sql`json_extract(${backups.summary}, '$.verified.level') >= ${RESTORE_TEST_LEVEL}` : undefined,
  );
}

function jobRecord(row: typeof schema.jobs.$inferSelect): JobRecord {
  return {
    job: row.ledger as ControlJob,
    agentId: row.agentId,
    createdAt: row.createdAt,
    createdBy: row.createdBy,
    idempotencyKey: row.idempotencyKey,
  };
}
