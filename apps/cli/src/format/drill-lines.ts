import { duration, shortInstant } from '@lastgood/core/format';
import type { RunbookView } from '@lastgood/protocol';

/** The RTO of a runbook against the measured time of its last drill, or why it was not measured. */
export function rtoText({ rto, rtoMs, lastDrill }: RunbookView): string {
  const measured = lastDrill?.durationMs == null ? '' : `${duration(lastDrill.durationMs)} `;
  const objective = rtoMs === null ? '' : duration(rtoMs);
  switch (rto) {
    case 'none':
      return `${measured}(no RTO)`.trim();
    case 'never-drilled':
      return `RTO ${objective} was never measured: no drill has ended`;
    case 'drill-failed':
      return `RTO ${objective} was not measured: the last drill failed`;
    case 'met':
      return `${measured}of ${objective} (RTO)`;
    case 'missed':
      return `${measured}MISSED the RTO of ${objective}`;
  }
}

/** One line for each runbook: when it was last drilled, with which result, and the measured time against its RTO. */
export const drillLines = (runbooks: readonly RunbookView[]): string[] =>
  runbooks.map((runbook) => {
    const { name, lastDrill, drillOverdueSince } = runbook;
    const last = lastDrill === null ? 'never drilled' : `drill ${lastDrill.state} ${shortInstant(lastDrill.startedAt)}`;
    const overdue = drillOverdueSince === null ? '' : `; OVERDUE since ${shortInstant(drillOverdueSince)}`;
    return `runbook ${name}: ${last}; ${rtoText(runbook)}${overdue}`;
  });
