/** The log of the stream: WAL without a hole, as long as the stream runs. */
export const WAL_STREAM = 'wal';
/** The WAL that backups have brought along while no stream was configured: a span for each, with holes between them. */
export const BACKUP_WAL_STREAM = 'wal-backups';
/** The name by which the server knows the receiver of the stream. */
export const RECEIVER_NAME = 'lastgood_wal';
