import { instant } from '@lastgood/core/format';
import type { JobResult } from '@lastgood/protocol';
import { shortId } from './ids.ts';
import { table } from './table.ts';

type Contents = Extract<JobResult, { command: 'list-contents' }>;

/** What backups contain, one line for each table. */
export function contentsLines({ backups, unread }: Contents): string[] {
  const rows = backups.flatMap(({ backupId, recoveryPoint, items }) =>
    items.map(({ content, kind, name, rows: count }) => [
      shortId(backupId),
      instant(recoveryPoint),
      content,
      name,
      kind,
      count === null ? '-' : String(count),
    ]),
  );
  const hidden = backups.reduce((sum, { items, count }) => sum + count - items.length, 0);
  return [
    ...table(['backup', 'recovery point', 'database', 'name', 'kind', 'rows'], rows, 'No backup contains it.'),
    ...(hidden === 0 ? [] : [`${hidden} more are not listed; give a name, with * for any text`]),
    ...(unread === 0 ? [] : [`${unread} backups could not be searched: they are damaged, or their kind has no list`]),
  ];
}
