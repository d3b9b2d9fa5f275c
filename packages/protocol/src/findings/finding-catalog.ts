import { BACKUP_FINDINGS } from './backup-findings.ts';
import { CHECK_FINDINGS } from './check-findings.ts';
import type { FindingDefinition } from './finding-definition.ts';
import { PERSISTENCE_FINDINGS } from './persistence-findings.ts';
import { RESTORE_FINDINGS, RESTORE_REFUSALS } from './restore-findings.ts';
import { RUNBOOK_FINDINGS } from './runbook-findings.ts';
import { SERVER_RESTORE_REFUSALS, SERVER_RESTORE_WARNINGS } from './server-restore-findings.ts';
import { SNAPSHOT_FINDINGS } from './snapshot-findings.ts';
import { STATUS_FINDINGS } from './status-findings.ts';
import { STREAM_FINDINGS } from './stream-findings.ts';
import { DIFFERENCE_FINDINGS, STORED_FINDINGS, TEST_COVERAGE_FINDINGS } from './verification-findings.ts';

/** The findings by where they come up, in the order of docs/findings.md. */
export const FINDING_GROUPS: readonly {
  readonly title: string;
  readonly findings: Record<string, FindingDefinition>;
}[] = [
  { title: 'Stored objects (verification levels 0 to 3)', findings: STORED_FINDINGS },
  { title: 'Restored databases (verification levels 4 to 6)', findings: DIFFERENCE_FINDINGS },
  { title: 'Coverage of a restore test', findings: TEST_COVERAGE_FINDINGS },
  { title: 'Snapshots of a server', findings: SNAPSHOT_FINDINGS },
  { title: 'Backups', findings: BACKUP_FINDINGS },
  { title: 'Refusals of a restore', findings: RESTORE_REFUSALS },
  { title: 'Refusals of a restore of a whole server', findings: SERVER_RESTORE_REFUSALS },
  { title: 'Restores', findings: RESTORE_FINDINGS },
  { title: 'Restores of a whole server', findings: SERVER_RESTORE_WARNINGS },
  { title: 'Persistence of a server', findings: PERSISTENCE_FINDINGS },
  { title: 'Hosts, targets and repositories', findings: STATUS_FINDINGS },
  { title: 'Log streams', findings: STREAM_FINDINGS },
  { title: 'Checks of the agent file', findings: CHECK_FINDINGS },
  { title: 'Runbooks', findings: RUNBOOK_FINDINGS },
];

/** Every finding, by code (docs/findings.md). Codes are stable, messages are not. */
export const FINDING_CATALOG = {
  ...STORED_FINDINGS,
  ...DIFFERENCE_FINDINGS,
  ...TEST_COVERAGE_FINDINGS,
  ...SNAPSHOT_FINDINGS,
  ...BACKUP_FINDINGS,
  ...RESTORE_REFUSALS,
  ...SERVER_RESTORE_REFUSALS,
  ...RESTORE_FINDINGS,
  ...SERVER_RESTORE_WARNINGS,
  ...PERSISTENCE_FINDINGS,
  ...STATUS_FINDINGS,
  ...STREAM_FINDINGS,
  ...CHECK_FINDINGS,
  ...RUNBOOK_FINDINGS,
} as const satisfies Record<string, FindingDefinition>;
export type FindingCode = keyof typeof FINDING_CATALOG;
export type RefusalCode = keyof typeof RESTORE_REFUSALS | keyof typeof SERVER_RESTORE_REFUSALS;
