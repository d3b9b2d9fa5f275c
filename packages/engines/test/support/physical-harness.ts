import { createReadStream, createWriteStream } from 'node:fs';
import { chmod, chown, cp, mkdir, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Failure } from '@lastgood/core';
import { systemClock } from '@lastgood/host';
import { type PostgresServer, type TemporaryFolder, temporaryFolder } from '@lastgood/testkit';
import { vi } from 'vitest';
import { type PostgresConnection, postgresConnectionSchema } from '../../src/postgres/connection-schema.ts';
import { ArchiveChecker } from '../../src/postgres/physical/archive-checker.ts';
import { parseBackupLabel } from '../../src/postgres/physical/backup-label.ts';
import type { BackupCheckpoint } from '../../src/postgres/physical/base-backup-command.ts';
import {
  type RecoverySettings,
  readFirstSuperuser,
  readRecoverySettings,
} from '../../src/postgres/physical/recovery-settings.ts';
import { ReplicationBaseBackup } from '../../src/postgres/physical/replication-base-backup.ts';
import { planRecovery } from '../../src/postgres/point-in-time/plan.ts';
import {
  type RecoveredServer,
  type RecoveryOptions,
  recoverServer,
} from '../../src/postgres/point-in-time/recovery.ts';
import {
  type BackupRecord,
  contentKey,
  type RecoveryPlan,
  type RecoverySource,
  type RecoveryTarget,
  type StoredContent,
} from '../../src/postgres/point-in-time/target.ts';
import { type StoredArchive, unpackServer } from '../../src/postgres/point-in-time/unpack.ts';
import { type SegmentSource, WalPrefetch } from '../../src/postgres/point-in-time/wal-prefetch.ts';
import { Session } from '../../src/postgres/session.ts';
import type { PathSegment } from '../../src/postgres/wal/continuity.ts';
import { type Micros, microsOfMs, parseInstant } from '../../src/postgres/wal/instant.ts';
import { type Lsn, parseLsn } from '../../src/postgres/wal/lsn.ts';
import { createReceiverSlot, receiveWal } from '../../src/postgres/wal/receiver.ts';
import type { ReceiverOutcome, ReceiverState } from '../../src/postgres/wal/receiver-options.ts';
import { partialName, segmentName } from '../../src/postgres/wal/segment-name.ts';
import { FolderSink, storedIn } from './folder-sink.ts';

const never = new AbortController().signal;
export interface Base extends BackupRecord {
  readonly checkpointLsn: Lsn;
  readonly archives: readonly { oid: string | null; location: string | null; path: string }[];
  readonly settings: RecoverySettings;
  readonly superuser: string;
}
export const instantOf = (text: unknown): Micros => {
  const parsed = parseInstant(String(text));
  if (parsed.kind !== 'instant') throw new Error(`not an instant: ${String(text)}`);
  return parsed.instant;
};
/** The clock of a server, to the microsecond. */
const CLOCK = `to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US"Z"')`;

/** Physical backups and WAL of one server in folders, and recoveries from them: what the agent will do, without the agent. */
export class PhysicalHarness implements AsyncDisposable {
  readonly server: Pick<PostgresServer, 'connection' | 'query' | 'dataDir' | 'binDir'>;
  readonly connection: PostgresConnection;
  readonly sink: FolderSink;
  readonly bases: Base[] = [];
  readonly segmentBytes: number;
  readonly systemId: string;
  readonly majorVersion: number;
  state: ReceiverState | undefined;
  /** The folder of the last recovery, also of one that failed. */
  lastFolder = '';
  readonly #folder: string;
  readonly #cleanup: AsyncDisposableStack;
  readonly #stop = new AbortController();
  #receiving: Promise<ReceiverOutcome> | undefined;

  private constructor(
    server: PhysicalHarness['server'],
    folder: TemporaryFolder,
    cleanup: AsyncDisposableStack,
    about: Record<string, unknown>,
  ) {
    this.server = server;
    this.connection = postgresConnectionSchema.parse(server.connection);
    this.#folder = folder.path;
    this.#cleanup = cleanup;
    this.sink = new FolderSink(join(folder.path, 'wal'));
    this.segmentBytes = Number(about['segment']);
    this.systemId = String(about['id']);
    this.majorVersion = Number(about['major']);
  }
  static async open(server: PhysicalHarness['server']): Promise<PhysicalHarness> {
    const cleanup = new AsyncDisposableStack();
    const folder = cleanup.use(await temporaryFolder());
    await chmod(folder.path, 0o711);
    const [about] = await server.query(
      'postgres',
      "select system_identifier::text as id, current_setting('server_version_num')::int / 10000 as major, (select setting::int from pg_settings where name = 'wal_segment_size') as segment from pg_control_system()",
    );
    const harness = new PhysicalHarness(server, folder, cleanup, about ?? {});
    for (const name of ['wal', 'spool']) await mkdir(join(folder.path, name));
    return harness;
  }

  /** Goes on with the WAL and the spool of another harness, whose server was replaced by this one. */
  async receiveFrom(other: PhysicalHarness): Promise<void> {
    for (const name of ['wal', 'spool'])
      await cp(join(other.#folder, name), join(this.#folder, name), { recursive: true });
    this.sink.appended.push(...other.sink.appended);
    await this.receive();
  }

  /** Starts a receiver with a slot of its own. */
  async receive(through: PostgresConnection = this.connection): Promise<void> {
    await createReceiverSlot(through, 'lastgood', never);
    this.#receiving = receiveWal(
      {
        connection: through,
        slot: 'lastgood',
        spoolFolder: join(this.#folder, 'spool'),
        spoolSegments: 100,
        sink: this.sink,
        stored: await storedIn(this.sink.folder, this.segmentBytes, this.systemId),
        acknowledge: 'repository',
        afterGap: false,
        clock: systemClock,
        onState: (state) => {
          this.state = state;
        },
      },
      this.#stop.signal,
    );
    this.#receiving.catch(() => undefined);
  }
  async stopReceiving(): Promise<void> {
    this.#stop.abort();
    await this.#receiving?.catch(() => undefined);
  }

  async base(checkpoint: BackupCheckpoint = 'fast'): Promise<Base> {
    const options = { label: 'lastgood test', checkpoint, maxRateKb: null };
    await using source = await ReplicationBaseBackup.open(this.connection, options, never);
    const start = await source.start();
    const checker = new ArchiveChecker(start.hasChecksums ? start : null);
    const id = String(this.bases.length + 1);
    const archives: Base['archives'][number][] = [];
    for await (const { tablespace, content } of source.archives()) {
      const path = join(this.#folder, `base-${id}-${tablespace.oid ?? 'data'}.tar`);
      await pipeline(checker.check(tablespace.oid, content), createWriteStream(path));
      archives.push({ oid: tablespace.oid, location: tablespace.location, path });
    }
    const end = await source.finish();
    const finishedAt = await this.now();
    await using session = await Session.open(this.connection, 'postgres', never);
    const base: Base = {
      id,
      timeline: start.timeline,
      startLsn: start.startLsn,
      endLsn: end.endLsn,
      checkpointLsn: parseBackupLabel(checker.text('backup_label') ?? '').checkpointLsn,
      finishedAt,
      archives,
      settings: await readRecoverySettings(session),
      superuser: await readFirstSuperuser(session),
    };
    this.bases.push(base);
    return base;
  }

  async now(): Promise<Micros> {
    return instantOf((await this.server.query('postgres', `select ${CLOCK} as at`))[0]?.['at']);
  }
  async lsn(): Promise<bigint> {
    return parseLsn(
      String((await this.server.query('postgres', 'select pg_current_wal_insert_lsn()::text as lsn'))[0]?.['lsn']),
    );
  }

  /** Switches the segment and waits until everything before is stored. */
  async archived(): Promise<void> {
    const [row] = await this.server.query('postgres', 'select pg_switch_wal()::text as lsn');
    const end = parseLsn(String(row?.['lsn']));
    await vi.waitFor(
      () => {
        if ((this.state?.storedLsn ?? 0n) < end) throw new Error('not stored yet');
      },
      { timeout: 60_000, interval: 50 },
    );
  }

  async source(changes: Partial<RecoverySource> = {}): Promise<RecoverySource> {
    const { holdings } = await storedIn(this.sink.folder, this.segmentBytes, this.systemId);
    const contents = new Map<string, StoredContent>();
    const partials = [];
    for (const { kind, timeline, number, content } of this.sink.appended) {
      if (number === null || content === null) continue;
      contents.set(contentKey({ timeline, number, isPartial: kind === 'partial' }), content);
      if (kind === 'partial') partials.push({ timeline, number, endLsn: content.endLsn });
    }
    return {
      holdings: { ...holdings, partials },
      backups: this.bases,
      contents,
      observed: null,
      now: microsOfMs(Date.now() + 1_000),
      ...changes,
    };
  }

  async plan(target: RecoveryTarget, timeline: number | null = null): Promise<RecoveryPlan> {
    const decision = planRecovery(target, timeline, await this.source());
    if (decision.kind === 'refusal') throw new Error(`refused: ${decision.code}`);
    return decision;
  }

  /** Where segments come from; a test may damage or remove them. */
  readonly segments: SegmentSource = {
    fetch: async ({ timeline, number, isPartial }: PathSegment, to: string) => {
      const name = (isPartial ? partialName : segmentName)(timeline, number, this.segmentBytes);
      const stored = this.sink.appended.find((file) => file.name === name);
      const bytes = await readFile(join(this.sink.folder, name)).catch(() => undefined);
      if (bytes === undefined || stored === undefined) throw new Failure('BACKUP_CORRUPT', `${name} is missing`);
      const { createHash } = await import('node:crypto');
      if (createHash('sha256').update(bytes).digest('hex') !== stored.sha256)
        throw new Failure('BACKUP_CORRUPT', `${name} is damaged`);
      await writeFile(to, bytes, { mode: 0o600 });
      await truncate(to, this.segmentBytes);
    },
  };

  async *archives(base: Base): AsyncGenerator<StoredArchive> {
    for (const { oid, location, path } of base.archives)
      yield { tablespaceOid: oid, location, content: createReadStream(path) as AsyncIterable<Buffer> };
  }

  /** Restores a whole server into a folder of its own and recovers it. */
  async recover(
    plan: RecoveryPlan,
    changes: Partial<RecoveryOptions> = {},
  ): Promise<RecoveredServer & { readonly folder: string }> {
    const base = this.bases.find(({ id }) => id === plan.backupId);
    if (base === undefined) throw new Error('no such base');
    const { path: folder } = this.#cleanup.use(await temporaryFolder());
    this.lastFolder = folder;
    const { uid, gid } = await stat(this.server.dataDir);
    const owner = uid === process.getuid?.() ? null : { uid, gid };
    for (const each of [folder]) await chown(each, uid, gid);
    const at = (name: string): string => join(folder, name);
    for (const name of ['data', 'config', 'wal']) {
      await mkdir(at(name), { mode: 0o700 });
      await chown(at(name), uid, gid);
    }
    await unpackServer(this.archives(base), {
      dataFolder: at('data'),
      tablespaceFolder: (oid) => at(`tablespaces/${oid}`),
      owner,
      limitBytes: 2 ** 34,
      signal: never,
      onBytes: () => undefined,
    });
    const { holdings } = await storedIn(this.sink.folder, this.segmentBytes, this.systemId);
    const histories = new Map<number, string>();
    for (const timeline of holdings.histories.keys())
      histories.set(
        timeline,
        await readFile(
          join(this.sink.folder, `${timeline.toString(16).toUpperCase().padStart(8, '0')}.history`),
          'utf8',
        ),
      );
    const prefetch = new WalPrefetch({
      folder: at('wal'),
      files: plan.files,
      histories,
      segmentBytes: this.segmentBytes,
      ahead: 4,
      owner,
      source: this.segments,
    });
    const recovered = await recoverServer({
      plan,
      dataFolder: at('data'),
      configFolder: at('config'),
      socketFolder: folder,
      binDir: this.server.binDir,
      majorVersion: this.majorVersion,
      user: owner,
      contain: null,
      settings: base.settings,
      preloadLibraries: '',
      isDurable: false,
      prefetch,
      connection: this.connection,
      superuser: base.superuser,
      clock: systemClock,
      signal: never,
      stallMs: 60_000,
      onProgress: () => undefined,
      ...changes,
    });
    return Object.assign(recovered, { folder });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stopReceiving();
    await this.#cleanup.disposeAsync();
  }
}

/** Rows of a recovered server. */
export async function ask(
  recovered: RecoveredServer,
  database: string,
  sql: string,
): Promise<Record<string, unknown>[]> {
  await using session = await Session.open(recovered.connection, database, never);
  return await session.rows(sql);
}
