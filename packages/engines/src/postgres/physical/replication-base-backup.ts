import { Bug, Failure } from '@lastgood/core';
import type { PostgresConnection } from '../connection-schema.ts';
import type { CommandEvent, Row } from '../replication/command-stream.ts';
import { ReplicationSession, sqlStateOf } from '../replication/replication-session.ts';
import { type Lsn, parseLsn } from '../wal/lsn.ts';
import { type BaseBackupOptions, baseBackupCommand, sendsTypedMessages } from './base-backup-command.ts';
import type {
  BackupArchive,
  BackupEnd,
  BackupStart,
  BackupTablespace,
  BaseBackupSource,
} from './base-backup-source.ts';
import { parseByteSize } from './byte-size.ts';

/** Types of the messages inside the COPY of PostgreSQL 15 and later. */
const NEW_ARCHIVE = 0x6e;
const DATA = 0x64;
const MANIFEST = 0x6d;
const PROGRESS = 0x70;
/** About 1.5 million files. */
const LONGEST_MANIFEST = 256 * 1024 * 1024;
const DATA_CORRUPTED = 'XX001';

/** What the parts of a backup look like once the wire format of the version is removed. */
type Part =
  | { readonly kind: 'archive'; readonly tablespace: BackupTablespace }
  | { readonly kind: 'manifest' }
  | { readonly kind: 'data'; readonly bytes: Buffer };

export interface BackupProgress {
  readonly doneBytes: number;
  /** The estimate of the server; the archives may become larger. */
  readonly totalBytes: number;
}

const malformed = (what: string): Failure =>
  new Failure('DATABASE_ERROR', `the base backup of the server is malformed: ${what}`);

function positionOf(rows: readonly Row[] | undefined): { lsn: Lsn; timeline: number } {
  const { recptr, tli } = rows?.[0] ?? {};
  if (recptr == null || tli == null) throw malformed('it has no WAL position');
  return { lsn: parseLsn(recptr), timeline: Number(tli) };
}

/** A base backup by BASE_BACKUP of the replication protocol, from a primary or a standby, local or remote. */
export class ReplicationBaseBackup implements BaseBackupSource {
  readonly #session: ReplicationSession;
  readonly #options: BaseBackupOptions;
  readonly #onProgress: (progress: BackupProgress) => void;
  #events: AsyncGenerator<CommandEvent> | undefined;
  #parts: AsyncGenerator<Part> | undefined;
  #next: Part | undefined;
  #start: BackupStart | undefined;
  #end: { lsn: Lsn; timeline: number } | undefined;
  #totalBytes = 0;
  #doneBytes = 0;

  private constructor(
    session: ReplicationSession,
    options: BaseBackupOptions,
    onProgress: (progress: BackupProgress) => void,
  ) {
    this.#session = session;
    this.#options = options;
    this.#onProgress = onProgress;
  }

  static async open(
    connection: PostgresConnection,
    options: BaseBackupOptions,
    signal: AbortSignal,
    onProgress: (progress: BackupProgress) => void = () => undefined,
  ): Promise<ReplicationBaseBackup> {
    return new ReplicationBaseBackup(await ReplicationSession.open(connection, signal), options, onProgress);
  }

  async start(): Promise<BackupStart> {
    if (this.#events !== undefined) throw new Bug('a base backup starts once');
    const session = this.#session;
    const { systemId } = await session.identify();
    const serverVersion = await session.serverVersionNumber();
    const segmentBytes = parseByteSize(await session.show('wal_segment_size'));
    const blockBytes = Number(await session.show('block_size'));
    const hasChecksums = (await session.show('data_checksums')) === 'on';
    this.#events = session.start(baseBackupCommand(this.#options, serverVersion)).events();
    const { lsn, timeline } = positionOf(await this.#nextRows());
    const rows = (await this.#nextRows()) ?? [];
    const tablespaces = rows.map((row) => ({
      oid: row['spcoid'] ?? null,
      location: row['spclocation'] ?? null,
      sizeBytes: Number(row['size'] ?? 0) * 1024,
    }));
    if (tablespaces.filter(({ oid }) => oid === null).length !== 1) throw malformed('it does not list one data folder');
    this.#totalBytes = tablespaces.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    this.#parts = sendsTypedMessages(serverVersion) ? this.#typedParts(tablespaces) : this.#untypedParts(tablespaces);
    this.#start = {
      systemId,
      serverVersion,
      segmentBytes,
      blockBytes,
      hasChecksums,
      startLsn: lsn,
      timeline,
      tablespaces,
    };
    return this.#start;
  }

  async *archives(): AsyncGenerator<BackupArchive> {
    for (let part = await this.#advance(); part?.kind === 'archive'; part = this.#next) {
      yield { tablespace: part.tablespace, content: this.#content() };
      if (this.#next === part) throw new Bug('an archive of a base backup was not read to its end');
    }
  }

  async *#content(): AsyncGenerator<Buffer> {
    for (let part = await this.#nextPart(); ; part = await this.#nextPart()) {
      if (part?.kind !== 'data') {
        this.#next = part;
        return;
      }
      yield part.bytes;
    }
  }

  async #advance(): Promise<Part | undefined> {
    this.#next = await this.#nextPart();
    return this.#next;
  }

  async finish(): Promise<BackupEnd> {
    if (this.#start === undefined) throw new Bug('a base backup ends after its start');
    if (this.#next?.kind !== 'manifest') throw malformed('it has no manifest');
    const chunks: Buffer[] = [];
    let size = 0;
    let sourceIsDamaged = false;
    try {
      for (let part = await this.#nextPart(); part !== undefined; part = await this.#nextPart()) {
        if (part.kind !== 'data') throw malformed('more follows its manifest');
        size += part.bytes.length;
        if (size > LONGEST_MANIFEST) throw malformed('its manifest is too long');
        chunks.push(part.bytes);
      }
    } catch (error) {
      // The server reports wrong checksums after everything was sent: the backup is as good as its source.
      if (sqlStateOf(error) !== DATA_CORRUPTED || this.#end === undefined) throw error;
      sourceIsDamaged = true;
    }
    if (this.#end === undefined) throw malformed('it has no end');
    const { lsn, timeline } = this.#end;
    return { endLsn: lsn, timeline, manifest: Buffer.concat(chunks, size), sourceIsDamaged };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session[Symbol.asyncDispose]();
  }

  async #nextEvent(): Promise<CommandEvent | undefined> {
    if (this.#events === undefined) throw new Bug('a base backup was read before its start');
    const { value, done } = await this.#events.next();
    return done === true ? undefined : value;
  }
  async #nextRows(): Promise<readonly Row[] | undefined> {
    const event = await this.#nextEvent();
    return event?.kind === 'rows' ? event.rows : undefined;
  }
  async #nextPart(): Promise<Part | undefined> {
    if (this.#parts === undefined) throw new Bug('a base backup was read before its start');
    const { value, done } = await this.#parts.next();
    return done === true ? undefined : value;
  }

  #reportBytes(bytes: number): void {
    this.#doneBytes += bytes;
    this.#onProgress({ doneBytes: this.#doneBytes, totalBytes: this.#totalBytes });
  }

  /** PostgreSQL 15 and later: one COPY, each message with a type. */
  async *#typedParts(tablespaces: readonly BackupTablespace[]): AsyncGenerator<Part> {
    for (let event = await this.#nextEvent(); event !== undefined; event = await this.#nextEvent()) {
      if (event.kind === 'rows') this.#end = positionOf(event.rows);
      if (event.kind !== 'data') continue;
      const { bytes } = event;
      switch (bytes[0]) {
        case NEW_ARCHIVE: {
          const name = bytes.toString('utf8', 1, bytes.indexOf(0, 1));
          const tablespace = tablespaces.find(({ oid }) => name === `${oid ?? 'base'}.tar`);
          if (tablespace === undefined) throw malformed('an archive belongs to no tablespace');
          yield { kind: 'archive', tablespace };
          break;
        }
        case MANIFEST:
          yield { kind: 'manifest' };
          break;
        case DATA:
          this.#reportBytes(bytes.length - 1);
          yield { kind: 'data', bytes: bytes.subarray(1) };
          break;
        case PROGRESS:
          break;
        default:
          throw malformed(`a message of unknown type ${bytes[0]}`);
      }
    }
  }

  /** PostgreSQL 13 and 14: a COPY per tablespace, in the order of the list, then one with the manifest. */
  async *#untypedParts(tablespaces: readonly BackupTablespace[]): AsyncGenerator<Part> {
    let copies = 0;
    for (let event = await this.#nextEvent(); event !== undefined; event = await this.#nextEvent()) {
      switch (event.kind) {
        case 'rows':
          this.#end = positionOf(event.rows);
          break;
        case 'copy-start': {
          const tablespace = tablespaces[copies];
          if (copies > tablespaces.length) throw malformed('it has too many archives');
          copies += 1;
          yield tablespace === undefined ? { kind: 'manifest' } : { kind: 'archive', tablespace };
          break;
        }
        case 'data':
          this.#reportBytes(event.bytes.length);
          yield { kind: 'data', bytes: event.bytes };
          break;
        case 'copy-end':
          break;
      }
    }
  }
}
