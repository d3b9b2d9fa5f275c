import { ERROR_CATALOG, type ErrorCode } from '../errors.ts';
import type { Finding, Subject } from './finding.ts';
import { FINDING_CATALOG, type FindingCode } from './finding-catalog.ts';
import { fillTemplate, type MessageParams } from './message-template.ts';

const isFindingCode = (code: string): code is FindingCode => Object.hasOwn(FINDING_CATALOG, code);
const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(ERROR_CATALOG, code);
const subjectText = ({ kind, name }: Subject): string => `${kind} "${name}"`;

/** Values of a template: those of the finding, and its subject in words. */
const valuesOf = ({ subject, params }: Finding): MessageParams => ({
  ...params,
  ...(subject === null ? {} : { subject: subjectText(subject) }),
});

/** One sentence for people. For display alone: nothing is decided by it. */
export function formatFinding(finding: Finding): string {
  const { code, subject, params } = finding;
  if (isFindingCode(code)) return fillTemplate(FINDING_CATALOG[code].message, valuesOf(finding));
  if (typeof params['message'] === 'string') return `${code}: ${params['message']}`;
  const about = subject === null ? '' : ` ${subjectText(subject)}`;
  return `${code}${about}${Object.keys(params).length === 0 ? '' : `: ${JSON.stringify(params)}`}`;
}

/** What to do about a finding; null when there is nothing to do, or nothing known. */
export function remedyOfFinding(finding: Finding): string | null {
  const { code, params } = finding;
  if (isFindingCode(code)) {
    const { remedy } = FINDING_CATALOG[code];
    return remedy === null ? null : fillTemplate(remedy, valuesOf(finding));
  }
  if (typeof params['remedy'] === 'string') return params['remedy'];
  return isErrorCode(code) ? ERROR_CATALOG[code].remedy : null;
}

/** Whether two findings say the same. */
export const findingKey = ({ code, subject, params }: Finding): string => JSON.stringify([code, subject, params]);
