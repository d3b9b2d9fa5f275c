/** How the server begins a base backup: `fast` writes a checkpoint at once, `spread` waits for one that is spread over time. */
export type BackupCheckpoint = 'fast' | 'spread';

export interface BaseBackupOptions {
  readonly label: string;
  readonly checkpoint: BackupCheckpoint;
  /** Kilobytes per second that the server sends at most (32 to 1,048,576); null for no limit. */
  readonly maxRateKb: number | null;
}

const quote = (text: string): string => `'${text.replaceAll("'", "''")}'`;
const NEW_SYNTAX = 150_000;

/** True for servers that send all archives in one COPY, with typed messages (PostgreSQL 15 and later). */
export const sendsTypedMessages = (serverVersion: number): boolean => serverVersion >= NEW_SYNTAX;

/**
 * The BASE_BACKUP command for a server (13 and later). It does not wait for the archiver: whether the WAL of the backup is stored is
 * checked against the repository, and a failing `archive_command` must not hang the backup.
 */
export function baseBackupCommand(options: BaseBackupOptions, serverVersion: number): string {
  const label = quote(options.label);
  const rate = options.maxRateKb;
  if (sendsTypedMessages(serverVersion)) {
    const parts = [
      `LABEL ${label}`,
      `CHECKPOINT ${quote(options.checkpoint)}`,
      'PROGRESS true',
      'WAIT false',
      'TABLESPACE_MAP true',
      "MANIFEST 'yes'",
      "MANIFEST_CHECKSUMS 'SHA256'",
      ...(rate === null ? [] : [`MAX_RATE ${rate}`]),
    ];
    return `BASE_BACKUP (${parts.join(', ')})`;
  }
  const parts = [
    `LABEL ${label}`,
    'PROGRESS',
    ...(options.checkpoint === 'fast' ? ['FAST'] : []),
    'NOWAIT',
    ...(rate === null ? [] : [`MAX_RATE ${rate}`]),
    'TABLESPACE_MAP',
    "MANIFEST 'yes'",
    "MANIFEST_CHECKSUMS 'SHA256'",
  ];
  return `BASE_BACKUP ${parts.join(' ')}`;
}
