import type { RunbookRunView } from '@lastgood/protocol';

/** The keys whose numbers are instants. */
const INSTANTS = new Set(['startedAt', 'endedAt', 'at', 'until', 'nextDrillAt', 'drillOverdueSince']);

/** The same data with its instants as ISO texts. */
function withIsoTimes(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withIsoTimes);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => [
      key,
      INSTANTS.has(key) && typeof each === 'number' ? new Date(each).toISOString() : withIsoTimes(each),
    ]),
  );
}

export const runDocument = ({ run, activity }: RunbookRunView): object => ({
  run: withIsoTimes(run),
  activity: withIsoTimes(activity),
});
export const planDocument = (plan: object): unknown => withIsoTimes(plan);
