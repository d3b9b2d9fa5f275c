import type { RestorePlanSummary, RestoreRequest } from '@lastgood/protocol';

/** A restore of one database in short. */
export type DatabaseRestore =
  | { readonly way: 'new'; readonly database: string; readonly as: string }
  | { readonly way: 'swap' | 'in-place'; readonly database: string };

/** The request to restore one database of a backup. */
export const aRestoreRequest = (
  backupId: string,
  restore: DatabaseRestore,
  options: RestoreRequest['options'] = {},
): RestoreRequest => ({
  scope: { kind: 'database', database: restore.database },
  point: { kind: 'backup', backupId },
  into: restore.way === 'new' ? { way: 'new', name: restore.as } : { way: restore.way },
  options,
});

/** A restore plan without a finding: a database swapped in. */
export const aRestorePlan = (more: Partial<RestorePlanSummary> = {}): RestorePlanSummary => ({
  hash: 'a'.repeat(64),
  request: aRestoreRequest('0199f000-0000-7000-8000-000000000001', { way: 'swap', database: 'shop' }),
  backupId: '0199f000-0000-7000-8000-000000000001',
  method: 'logical',
  recoveryPoint: '2026-11-30T02:00:00.000Z',
  into: 'shop',
  confirm: 'shop',
  replaces: ['shop'],
  missing: [],
  readBytes: 1,
  needBytes: 1,
  freeBytes: 1,
  estimatedMs: null,
  details: [],
  warnings: [],
  refusals: [],
  ...more,
});

/** The names of what the destination lacks, of one kind. */
export const missingNames = (
  { missing }: Pick<RestorePlanSummary, 'missing'>,
  kind: RestorePlanSummary['missing'][number]['kind'],
): string[] => missing.filter((part) => part.kind === kind).map(({ name }) => name);
