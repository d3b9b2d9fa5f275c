import type { RestorePlanSummary } from '@lastgood/protocol';
import { Failure, failureOfRefusals } from '../failure.ts';

/** Throws PLAN_CHANGED when a plan is not the one that was consented to, and the error of the refusals when it has some. */
export function assertConsented({ hash, refusals }: RestorePlanSummary, planHash: string): void {
  if (hash !== planHash)
    throw new Failure('PLAN_CHANGED', `the plan is now ${hash.slice(0, 12)}, not ${planHash.slice(0, 12)}`);
  if (refusals.length > 0) throw failureOfRefusals(refusals);
}
