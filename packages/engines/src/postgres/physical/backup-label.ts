import { Failure } from '@lastgood/core';
import { isLsn, type Lsn, parseLsn } from '../wal/lsn.ts';

/** The file that makes a recovery begin at the start of the backup and not at the last checkpoint of `pg_control`. */
export const BACKUP_LABEL = 'backup_label';

export interface BackupLabel {
  readonly startLsn: Lsn;
  readonly checkpointLsn: Lsn;
  readonly timeline: number;
  readonly isFromStandby: boolean;
  readonly label: string;
}

/** Reads `backup_label`. Its keys are a file format that PostgreSQL itself parses; they are never translated. Throws BACKUP_CORRUPT. */
export function parseBackupLabel(text: string): BackupLabel {
  const lines = new Map(
    text.split('\n').flatMap((line): [string, string][] => {
      const colon = line.indexOf(': ');
      return colon < 0 ? [] : [[line.slice(0, colon), line.slice(colon + 2)]];
    }),
  );
  const startLsn = /^\S+/.exec(lines.get('START WAL LOCATION') ?? '')?.[0] ?? '';
  const checkpointLsn = lines.get('CHECKPOINT LOCATION') ?? '';
  const timeline = lines.get('START TIMELINE') ?? '';
  if (!isLsn(startLsn) || !isLsn(checkpointLsn) || !/^\d+$/.test(timeline))
    throw new Failure('BACKUP_CORRUPT', 'the backup_label of the backup cannot be read');
  return {
    startLsn: parseLsn(startLsn),
    checkpointLsn: parseLsn(checkpointLsn),
    timeline: Number(timeline),
    isFromStandby: lines.get('BACKUP FROM') === 'standby',
    label: lines.get('LABEL') ?? '',
  };
}
