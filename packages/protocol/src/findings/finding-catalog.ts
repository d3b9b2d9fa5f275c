import { BACKUP_FINDINGS } from './backup-findings.ts';
import type { FindingDefinition } from './finding-definition.ts';
import { RESTORE_FINDINGS, RESTORE_REFUSALS } from './restore-findings.ts';
import { STATUS_FINDINGS } from './status-findings.ts';
import { STREAM_FINDINGS } from './stream-findings.ts';
import { DIFFERENCE_FINDINGS, STORED_FINDINGS } from './verification-findings.ts';

/** Every finding, by code (docs/findings.md). Codes are stable, messages are not. */
export const FINDING_CATALOG = {
  ...STORED_FINDINGS,
  ...DIFFERENCE_FINDINGS,
  ...BACKUP_FINDINGS,
  ...RESTORE_REFUSALS,
  ...RESTORE_FINDINGS,
  ...STATUS_FINDINGS,
  ...STREAM_FINDINGS,
} as const satisfies Record<string, FindingDefinition>;
export type FindingCode = keyof typeof FINDING_CATALOG;
export type RefusalCode = keyof typeof RESTORE_REFUSALS;
