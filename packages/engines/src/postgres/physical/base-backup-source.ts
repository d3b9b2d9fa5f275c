import type { Lsn } from '../wal/lsn.ts';

/** One folder that a base backup copies. The data folder itself has no OID and no location. */
export interface BackupTablespace {
  readonly oid: string | null;
  /** The path on the source. Relative for a tablespace inside the data folder (`allow_in_place_tablespaces`). */
  readonly location: string | null;
  /** The estimate of the server. */
  readonly sizeBytes: number;
}
export interface BackupStart {
  readonly systemId: string;
  readonly serverVersion: number;
  readonly segmentBytes: number;
  readonly blockBytes: number;
  readonly hasChecksums: boolean;
  readonly startLsn: Lsn;
  readonly timeline: number;
  /** In the order in which their archives come; the data folder is last. */
  readonly tablespaces: readonly BackupTablespace[];
}
/** One tar archive, in PostgreSQL's own layout. `content` must be read to its end before the next archive. */
export interface BackupArchive {
  readonly tablespace: BackupTablespace;
  readonly content: AsyncIterable<Buffer>;
}
export interface BackupEnd {
  /** A restore is consistent from here on. The WAL from the start to this position belongs to the backup. */
  readonly endLsn: Lsn;
  readonly timeline: number;
  /** PostgreSQL's `backup_manifest`, byte for byte. */
  readonly manifest: Buffer;
  /** The server found pages with wrong checksums while it read them. All archives came nevertheless. */
  readonly sourceIsDamaged: boolean;
}

/**
 * A running base backup: `start`, then all `archives`, then `finish`, once each. Failures end it on the server as well. Nothing may be
 * published before `finish` has returned.
 */
export interface BaseBackupSource extends AsyncDisposable {
  start(): Promise<BackupStart>;
  archives(): AsyncGenerator<BackupArchive>;
  finish(): Promise<BackupEnd>;
}
