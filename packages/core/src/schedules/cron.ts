import { Cron } from 'croner';

export type CronProblem =
  | { readonly code: 'cron_invalid'; readonly detail: string }
  | { readonly code: 'cron_never_fires' }
  | { readonly code: 'timezone_unknown' };

/** Five fields of numbers, names and `* , - / L W # +`. `?` and `@daily` are left out: they mean different things elsewhere. */
const FIVE_FIELDS = /^[0-9A-Za-z*,/#+-]+(?: [0-9A-Za-z*,/#+-]+){4}$/;

/**
 * Parses an expression. Lists and ranges count as fixed local times (`no-wildcard`): each runs once a local day, also on the days
 * when clocks change. Expressions with `*` or a step run at equal intervals through the change. Throws for invalid expressions.
 */
export const parseCron = (cron: string, timezone: string): Cron =>
  new Cron(cron, { timezone, mode: '5-part', paused: true, fixedTimeRule: 'no-wildcard' });

export function isTimezone(name: string): boolean {
  try {
    return (
      new Intl.DateTimeFormat('en-US', { timeZone: name }).resolvedOptions().timeZone !== '' && !/^[+-]/.test(name)
    );
  } catch {
    return false;
  }
}

/** What is wrong with an expression and its zone; null when runs follow `fromMs`. */
export function checkCron(cron: string, timezone: string, fromMs: number): CronProblem | null {
  if (!FIVE_FIELDS.test(cron)) return { code: 'cron_invalid', detail: 'use five fields, separated by one space' };
  if (!isTimezone(timezone)) return { code: 'timezone_unknown' };
  try {
    return parseCron(cron, timezone).nextRun(new Date(fromMs)) === null ? { code: 'cron_never_fires' } : null;
  } catch (error) {
    return { code: 'cron_invalid', detail: error instanceof Error ? error.message.replace(/^Cron\w*: /, '') : '' };
  }
}
