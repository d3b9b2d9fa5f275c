import { Failure } from '@lastgood/core';
import { failsAt } from '@lastgood/core/objectives';
import { EXIT_STATUS } from '@lastgood/protocol';
import type { CommandContext } from '../command-context.ts';
import { drillLines } from '../format/drill-lines.ts';
import { planDocument } from '../format/runbook-documents.ts';
import { statusLines } from '../format/status-lines.ts';
import { durationMs } from './input.ts';
import { selectorInput } from './resolve.ts';

export interface StatusOptions {
  readonly maxAge?: string;
  readonly failOn: string;
}

function thresholdOf(failOn: string): 'at_risk' | 'missed' {
  if (failOn === 'at-risk') return 'at_risk';
  if (failOn === 'missed') return 'missed';
  throw new Failure('BAD_INPUT', `--fail-on is at-risk or missed, not "${failOn}"`);
}

/** Shows to when every database can be restored, how long that takes, and when it was last tested. */
export async function status(
  context: CommandContext,
  selector: string | undefined,
  options: StatusOptions,
): Promise<number> {
  const threshold = thresholdOf(options.failOn);
  const maxAge = options.maxAge === undefined ? {} : { maxAgeMs: durationMs('--max-age', options.maxAge) };
  const client = await context.client();
  const targets = await client.status.query({ ...selectorInput(selector), ...maxAge });
  const shown = new Set(targets.map(({ environment, host, target }) => `${environment}/${host}/${target}`));
  const runbooks = (await client.runbooks.query({})).filter(
    (runbook) => selector === undefined || runbook.targets.some((target) => shown.has(target)),
  );
  context.output.answer({ targets, runbooks: runbooks.map(planDocument) }, () => [
    ...statusLines(targets),
    ...drillLines(runbooks),
  ]);
  // A fleet without a host protects nothing.
  const fails = targets.length === 0 || targets.some(({ state }) => failsAt(state, threshold));
  return fails ? EXIT_STATUS.found.status : EXIT_STATUS.done.status;
}
