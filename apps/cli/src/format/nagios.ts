import { nagiosCode } from '@lastgood/core/objectives';
import type { TargetStatus } from '@lastgood/protocol';
import { findingLines, nameOf, STATE_TEXTS } from './status-lines.ts';

export type NagiosStatus = 0 | 1 | 2 | 3;

const WORDS = ['OK', 'WARNING', 'CRITICAL', 'UNKNOWN'] as const;
/** The worst first: what did not report is worse than a warning, and hides nothing critical. */
const ORDER: readonly NagiosStatus[] = [2, 3, 1, 0];
const MAX_NAMED = 5;

/** The bar begins the performance data, so no text may contain one. */
const plain = (text: string): string => text.replaceAll('|', '/').replaceAll('\n', ' ');

/** The first line of a plugin's output. */
export const nagiosLine = (status: NagiosStatus, text: string): string => `LASTGOOD ${WORDS[status]} - ${plain(text)}`;

/** The status of one target; `missed` as the threshold ignores what is only at risk. */
function codeOf({ state }: TargetStatus, threshold: 'at_risk' | 'missed'): NagiosStatus {
  return state === 'at_risk' && threshold === 'missed' ? 0 : nagiosCode(state);
}

/** The largest exposure of a target in seconds; the ranges are 80 % of its RPO and the RPO. */
function exposureData(target: TargetStatus): string[] {
  const exposures = target.databases.flatMap(({ exposureMs }) => (exposureMs === null ? [] : [exposureMs]));
  if (exposures.length === 0) return [];
  const seconds = Math.round(exposures.reduce((a, b) => Math.max(a, b)) / 1000);
  const rpoMs = target.objectives?.rpoMs ?? null;
  const ranges = rpoMs === null ? ';;' : `;${Math.round((rpoMs * 0.8) / 1000)};${Math.round(rpoMs / 1000)}`;
  return [`'${nameOf(target)} exposure'=${seconds}s${ranges};0`];
}

/** What a Nagios plugin reports of a fleet: its status, a line with performance data, and the findings below it. */
export function nagiosReport(
  targets: readonly TargetStatus[],
  threshold: 'at_risk' | 'missed',
): { status: NagiosStatus; lines: string[] } {
  if (targets.length === 0) return { status: 2, lines: [nagiosLine(2, 'there are no hosts, so nothing is protected')] };
  const codes = targets.map((target) => codeOf(target, threshold));
  const status = ORDER.find((code) => codes.includes(code)) ?? 0;
  const bad = targets.filter((_, index) => codes[index] !== 0);
  const named = bad.slice(0, MAX_NAMED).map((target) => `${nameOf(target)} ${STATE_TEXTS[target.state]}`);
  const more = bad.length > MAX_NAMED ? ` and ${bad.length - MAX_NAMED} more` : '';
  const text =
    bad.length === 0
      ? `${targets.length} targets`
      : `${bad.length} of ${targets.length} targets: ${named.join(', ')}${more}`;
  const data = [`targets=${targets.length};;;0`, `failing=${bad.length};;;0`, ...targets.flatMap(exposureData)];
  return {
    status,
    lines: [`${nagiosLine(status, text)} | ${data.join(' ')}`, ...bad.flatMap(findingLines).map(plain)],
  };
}
