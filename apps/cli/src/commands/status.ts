import { Failure } from '@lastgood/core';
import { failsAt } from '@lastgood/core/objectives';
import { EXIT_STATUS, type RunbookView, type TargetStatus } from '@lastgood/protocol';
import { failureOf } from '../client.ts';
import type { CommandContext } from '../command-context.ts';
import { drillLines } from '../format/drill-lines.ts';
import { type JunitCase, junitLines } from '../format/junit.ts';
import { nagiosLine, nagiosReport } from '../format/nagios.ts';
import { planDocument } from '../format/runbook-documents.ts';
import { findingLines, nameOf, STATE_TEXTS, statusLines } from '../format/status-lines.ts';
import { durationMs } from './input.ts';
import { selectorInput } from './resolve.ts';

export interface StatusOptions {
  readonly maxAge?: string;
  readonly failOn: string;
  readonly env?: string;
  readonly nagios?: boolean;
  readonly junit?: boolean;
}
type Threshold = 'at_risk' | 'missed';

function thresholdOf(failOn: string): Threshold {
  if (failOn === 'at-risk') return 'at_risk';
  if (failOn === 'missed') return 'missed';
  throw new Failure('BAD_INPUT', `--fail-on is at-risk or missed, not "${failOn}"`);
}

/** Standard output has one format. Throws BAD_INPUT if several were asked for. */
function assertOneFormat({ output }: CommandContext, { nagios, junit }: StatusOptions): void {
  if ([output.json, nagios === true, junit === true].filter(Boolean).length > 1)
    throw new Failure('BAD_INPUT', 'give only one of --json, --nagios and --junit');
}

async function readStatus(
  context: CommandContext,
  selector: string | undefined,
  { maxAge, env }: StatusOptions,
): Promise<TargetStatus[]> {
  const limit = maxAge === undefined ? {} : { maxAgeMs: durationMs('--max-age', maxAge) };
  const selected = selectorInput(selector);
  const client = await context.client();
  const targets = await client.status.query({ ...selected, ...limit });
  return env === undefined ? targets : targets.filter(({ environment }) => environment === env);
}

const junitCase = (target: TargetStatus, threshold: Threshold): JunitCase => ({
  suite: target.environment,
  name: nameOf(target),
  problems: failsAt(target.state, threshold) ? [STATE_TEXTS[target.state], ...findingLines(target)] : [],
});

/** Prints the status as a Nagios plugin. A status that cannot be read is `UNKNOWN`; wrong usage is a failure as elsewhere. */
async function nagiosStatus(
  { signal, url, output }: CommandContext,
  read: () => Promise<TargetStatus[]>,
  threshold: Threshold,
): Promise<number> {
  try {
    const { status, lines } = nagiosReport(await read(), threshold);
    output.answer({}, () => lines);
    return status;
  } catch (error) {
    const failure = failureOf(error, url);
    if (signal.aborted || !(failure instanceof Failure) || failure.code === 'BAD_INPUT') throw error;
    output.answer({}, () => [nagiosLine(3, `${failure.code}: ${failure.message}`)]);
    return 3;
  }
}

/** The runbooks with their drills. When targets were selected, those that restore one of them. */
async function readRunbooks(
  context: CommandContext,
  targets: readonly TargetStatus[],
  isSelection: boolean,
): Promise<RunbookView[]> {
  const runbooks = await (await context.client()).runbooks.query({});
  const shown = new Set(targets.map(({ environment, host, target }) => `${environment}/${host}/${target}`));
  return isSelection ? runbooks.filter((runbook) => runbook.targets.some((target) => shown.has(target))) : runbooks;
}

/** Shows to when every database can be restored, how long that takes, and when it was last tested. */
export async function status(
  context: CommandContext,
  selector: string | undefined,
  options: StatusOptions,
): Promise<number> {
  const threshold = thresholdOf(options.failOn);
  assertOneFormat(context, options);
  const read = (): Promise<TargetStatus[]> => readStatus(context, selector, options);
  if (options.nagios === true) return await nagiosStatus(context, read, threshold);
  const targets = await read();
  const runbooks = await readRunbooks(context, targets, selector !== undefined || options.env !== undefined);
  context.output.answer({ targets, runbooks: runbooks.map(planDocument) }, () =>
    options.junit === true
      ? junitLines(
          'lastgood status',
          targets.map((target) => junitCase(target, threshold)),
        )
      : [...statusLines(targets), ...drillLines(runbooks)],
  );
  // A fleet without a host protects nothing.
  const fails = targets.length === 0 || targets.some(({ state }) => failsAt(state, threshold));
  return fails ? EXIT_STATUS.found.status : EXIT_STATUS.done.status;
}
