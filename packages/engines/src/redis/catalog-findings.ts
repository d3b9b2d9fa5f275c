import { FINDING_CATALOG, type Finding, type FindingCode, type Refusal, type Subject } from '@lastgood/protocol';
import type { PlanFinding, RestoreRefusalCode } from './restore-plan.ts';

interface Found {
  readonly code: FindingCode;
  /** That of the catalog when absent. */
  readonly severity?: Finding['severity'];
  readonly params: Readonly<Record<string, string | number>>;
}

/** A finding of the catalog, from what the checks of this engine return. */
export const toFinding = ({ code, severity, params }: Found, subject: Subject | null = null): Finding => ({
  code,
  severity: severity ?? FINDING_CATALOG[code].severity,
  subject,
  params: { ...params },
});

export const toRefusal = (found: PlanFinding<RestoreRefusalCode>): Refusal => ({
  ...toFinding(found),
  error: FINDING_CATALOG[found.code].refusal,
});
