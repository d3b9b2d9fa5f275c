import { duration } from '@lastgood/core/format';
import type { SweepFinding } from '@lastgood/core/objectives';
import { shortId } from './ids.ts';
import { table } from './table.ts';

export type ReportFinding = SweepFinding | 'no_target' | 'verification_failed';

/** What `verify --all` found of one target, or of a host that has reported none. */
export interface SweepReport {
  readonly environment: string;
  readonly host: string;
  readonly target: string | null;
  /** The backup that was verified; null when there was nothing to verify, or it had passed the level already. */
  readonly backupId: string | null;
  /** How long before now the newest backup was taken; null without one. */
  readonly ageMs: number | null;
  readonly findings: readonly ReportFinding[];
  readonly verification: { readonly level: number; readonly passed: boolean } | null;
  /** Why the verification could not be done. */
  readonly error: { readonly code: string; readonly message: string } | null;
}

const TEXTS: Readonly<Record<ReportFinding, string>> = {
  no_target: 'the host has reported no target',
  no_backup: 'NO BACKUP',
  backup_too_old: 'the newest backup is too old',
  backup_bad: 'the newest backup is bad',
  backup_missing: 'the newest backup is missing',
  backup_suspect: 'the newest backup is suspect',
  host_offline: 'not verified: the host is offline',
  verification_failed: 'verification FAILED',
};

/** What makes the exit status 4. */
export const sweepProblems = ({ findings, error }: SweepReport): string[] => [
  ...findings.map((finding) => TEXTS[finding]),
  ...(error === null ? [] : [`not verified: ${error.code}: ${error.message}`]),
];

function resultText(report: SweepReport): string {
  const problems = sweepProblems(report);
  if (problems.length > 0) return problems.join('; ');
  return report.verification === null ? 'verified before' : `passed level ${report.verification.level}`;
}

/** The report of `verify --all`: every target with the age of its newest backup. */
export const sweepLines = (reports: readonly SweepReport[]): string[] =>
  table(
    ['target', 'age', 'verified', 'result'],
    reports.map((report) => [
      `${report.environment}/${report.host}${report.target === null ? '' : `/${report.target}`}`,
      report.ageMs === null ? 'none' : duration(report.ageMs),
      report.backupId === null ? '-' : shortId(report.backupId),
      resultText(report),
    ]),
    'There are no targets, so nothing is protected.',
  );
