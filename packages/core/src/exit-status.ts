import { ERROR_CATALOG, EXIT_STATUS, type JobResult } from '@lastgood/protocol';
import { failureOfRefusals } from './failure.ts';

/** The exit status of a command whose job succeeded with this result: a job may succeed and its check find something. */
export function exitStatusOf(result: JobResult): number {
  switch (result.command) {
    case 'backup':
      return result.backup.state === 'good' ? EXIT_STATUS.done.status : EXIT_STATUS.found.status;
    case 'verify':
    case 'check':
      return result.passed ? EXIT_STATUS.done.status : EXIT_STATUS.found.status;
    case 'plan':
      return result.plan.refusals.length === 0
        ? EXIT_STATUS.done.status
        : ERROR_CATALOG[failureOfRefusals(result.plan.refusals).code].exit;
    default:
      return EXIT_STATUS.done.status;
  }
}
