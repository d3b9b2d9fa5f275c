import { randomUUID } from 'node:crypto';
import { Failure, failureOfRefusals } from '@lastgood/core';
import { duration, shortInstant } from '@lastgood/core/format';
import { situationOf, unacceptedSkew } from '@lastgood/core/runbooks';
import {
  ERROR_CATALOG,
  EXIT_STATUS,
  type RunbookMode,
  type RunbookPlan,
  type RunbookRun,
  type RunbookRunView,
  type StepDecision,
} from '@lastgood/protocol';
import type { AdminClient } from '../client.ts';
import type { CommandContext } from '../command-context.ts';
import { rtoText } from '../format/drill-lines.ts';
import { shortId } from '../format/ids.ts';
import { planDocument, runDocument } from '../format/runbook-documents.ts';
import { planLines, runLines } from '../format/runbook-lines.ts';
import { table } from '../format/table.ts';
import { askPatiently } from '../watch.ts';
import { followRun } from '../watch-run.ts';
import { instantMs } from './input.ts';
import { confirmByName } from './jobs.ts';

const MAX_RUNS = 1000;
const LEAST_PART = 4;

export interface PlanOptions {
  readonly at?: string;
  readonly alternative?: readonly string[];
}
export interface StartOptions extends PlanOptions {
  /** The beginning of the hash of a plan that was shown before. */
  readonly plan?: string;
  readonly confirm?: string;
  readonly acceptSkew?: readonly string[];
  readonly approve?: readonly string[];
  readonly detach?: boolean;
}

const inputOf = (runbook: string, mode: RunbookMode, { at, alternative = [] }: PlanOptions) => ({
  runbook,
  mode,
  atMs: at === undefined ? null : instantMs('--at', at),
  alternatives: [...alternative],
});

const refusalsOf = ({ refusals }: RunbookPlan): Failure =>
  failureOfRefusals(refusals.map((finding) => ({ ...finding, error: 'CONFLICT' as const })));

export async function plan(
  context: CommandContext,
  runbook: string,
  options: PlanOptions & { readonly drill?: boolean },
): Promise<number> {
  const input = inputOf(runbook, options.drill === true ? 'drill' : 'run', options);
  const made = await (await context.client()).planRunbook.query(input);
  context.output.answer({ plan: planDocument(made) }, () => planLines(made));
  return made.refusals.length === 0 ? EXIT_STATUS.done.status : ERROR_CATALOG[refusalsOf(made).code].exit;
}

/** Lagging targets are accepted by name: with the option, or by typing the name. */
async function acceptSkew(context: CommandContext, { set }: RunbookPlan, given: readonly string[]): Promise<string[]> {
  const missing = unacceptedSkew(set, given);
  for (const target of missing) {
    const lagMs = set.members.find((member) => member.target === target)?.lagMs ?? 0;
    const question = `${target} goes back ${duration(lagMs)} further than the newest point of the set.`;
    const answer = await context.ask(`${question}\nType "${target}" to accept that: `);
    if (answer !== target)
      throw new Failure('NOT_CONFIRMED', `${question} Nobody has accepted that; nothing was changed`, {
        remedy: `Repeat with ${missing.map((name) => `--accept-skew ${name}`).join(' ')}, or with an earlier instant for all (--at).`,
      });
  }
  return [...given, ...missing];
}

/** Plans, shows the plan, asks for consent, starts exactly that plan and follows it. */
async function start(
  context: CommandContext,
  runbook: string,
  mode: RunbookMode,
  options: StartOptions,
): Promise<number> {
  const { output } = context;
  const client = await context.client();
  const input = inputOf(runbook, mode, options);
  const made = await client.planRunbook.query(input);
  if (options.plan !== undefined && !(options.plan.length >= 12 && made.hash.startsWith(options.plan)))
    throw new Failure('PLAN_CHANGED', `the plan is now ${made.hash.slice(0, 12)}, not ${options.plan}`);
  for (const line of planLines(made)) output.note(line);
  if (made.refusals.length > 0) throw refusalsOf(made);
  let acceptedSkew: string[] = [];
  if (mode === 'run') {
    acceptedSkew = await acceptSkew(context, made, options.acceptSkew ?? []);
    const targets = made.set.members.map(({ target }) => target).join(', ');
    await confirmByName(context, options.confirm, runbook, `This run replaces live data of ${targets}`);
  }
  // One key for all tries: a run whose answer was lost with the control plane is found again, not started twice.
  const order = {
    ...input,
    planHash: made.hash,
    confirm: mode === 'run' ? runbook : null,
    acceptedSkew,
    approved: [...(options.approve ?? [])],
    idempotencyKey: randomUUID(),
  };
  const begun = await askPatiently(context, () => client.startRunbook.mutate(order));
  return options.detach === true ? show(context, begun) : await follow(context, begun.run.runId);
}

export const run = (context: CommandContext, runbook: string, options: StartOptions): Promise<number> =>
  start(context, runbook, 'run', options);
export const drill = (context: CommandContext, runbook: string, options: StartOptions): Promise<number> =>
  start(context, runbook, 'drill', options);

/** The exit status of a command that has followed a run to this point. */
function exitStatusOfRun(run: RunbookRun): number {
  if (run.state === 'failed') return ERROR_CATALOG.DRILL_FAILED.exit;
  if (run.state === 'aborted' || situationOf(run) === 'stopped') return ERROR_CATALOG.RUNBOOK_STOPPED.exit;
  return EXIT_STATUS.done.status;
}

function show(context: CommandContext, view: RunbookRunView): number {
  context.output.answer(runDocument(view), () => runLines(view, Date.now()));
  return exitStatusOfRun(view.run);
}

async function follow(context: CommandContext, runId: string): Promise<number> {
  return show(context, await followRun(context, runId));
}

/** The run that a part of its id names, or the newest one of a runbook. */
async function runIdOf(client: AdminClient, wanted: string): Promise<string> {
  const runs = await client.runbookRuns.query({ limit: MAX_RUNS });
  const [newest] = runs.filter(({ plan: { runbook } }) => runbook === wanted);
  if (newest !== undefined) return newest.runId;
  const [only, ...others] = runs.filter(({ runId }) => runId.startsWith(wanted) || runId.endsWith(wanted));
  if (wanted.length < LEAST_PART || others.length > 0)
    throw new Failure('BAD_INPUT', `"${wanted}" names no single run`, {
      remedy: 'Give the id of a run, or the name of a runbook for its newest run.',
    });
  if (only === undefined)
    throw new Failure('NOT_FOUND', `there is no run ${wanted}`, {
      remedy: 'List the runbooks and their runs with `lastgood runbooks status`.',
    });
  return only.runId;
}

const lastText = (last: { state: string; startedAt: number; durationMs: number | null } | null): string =>
  last === null
    ? 'never'
    : `${last.state} ${shortInstant(last.startedAt)}${last.durationMs === null ? '' : ` (${duration(last.durationMs)})`}`;

/** All runbooks with their last run and drill, or the checklist of one run. */
export async function status(context: CommandContext, wanted: string | undefined): Promise<number> {
  const client = await context.client();
  if (wanted !== undefined)
    return show(context, await client.runbookRun.query({ runId: await runIdOf(client, wanted) }));
  const list = await client.runbooks.query({});
  const open = (await client.runbookRuns.query({ limit: 50 })).filter(({ endedAt }) => endedAt === null);
  const rows = list.map((runbook) => {
    const { name, steps, lastRun, lastDrill, nextDrillAt } = runbook;
    return [
      name,
      String(steps),
      rtoText(runbook),
      lastText(lastRun),
      lastText(lastDrill),
      nextDrillAt === null ? '-' : shortInstant(nextDrillAt),
    ];
  });
  const document = { runbooks: list.map(planDocument), open: open.map(({ runId }) => runId) };
  context.output.answer(document, () => [
    ...table(
      ['runbook', 'steps', 'rto', 'last run', 'last drill', 'next drill'],
      rows,
      'The fleet file in force has no runbooks.',
    ),
    ...open.map(
      ({ runId, plan: { mode, runbook } }) =>
        `${mode} ${shortId(runId)} of ${runbook} has not ended: lastgood runbooks status ${shortId(runId)}`,
    ),
  ]);
  return EXIT_STATUS.done.status;
}

export interface ResumeOptions {
  readonly retry?: readonly string[];
  readonly alternative?: readonly string[];
  readonly skip?: readonly string[];
  readonly reason?: string;
  readonly approve?: readonly string[];
  readonly acceptSkew?: readonly string[];
  readonly detach?: boolean;
}

function decisionsOf(options: ResumeOptions): StepDecision[] {
  const { retry = [], alternative = [], skip = [], approve = [], acceptSkew: accepted = [], reason } = options;
  if (skip.length > 0 && reason === undefined)
    throw new Failure('BAD_INPUT', 'skipping a step needs a reason', { remedy: 'Add --reason TEXT.' });
  return [
    ...approve.map((step) => ({ type: 'approve' as const, step })),
    ...skip.map((step) => ({ type: 'skip' as const, step, reason: reason ?? '' })),
    ...alternative.map((step) => ({ type: 'alternative' as const, step, acceptedSkew: [...accepted] })),
    ...retry.map((step) => ({ type: 'retry' as const, step })),
  ];
}

/** Carries out what a person has decided about steps, then follows the run. Without a decision it only follows. */
export async function resume(context: CommandContext, wanted: string, options: ResumeOptions): Promise<number> {
  const client = await context.client();
  const decisions = decisionsOf(options);
  const runId = await runIdOf(client, wanted);
  for (const decision of decisions) await client.resumeRunbook.mutate({ runId, decision });
  return options.detach === true
    ? show(context, await client.runbookRun.query({ runId }))
    : await follow(context, runId);
}

export async function abort(context: CommandContext, wanted: string, { reason }: { reason: string }): Promise<number> {
  const client = await context.client();
  const runId = await runIdOf(client, wanted);
  await client.abortRunbook.mutate({ runId, reason });
  const view = await followRun(context, runId);
  context.output.answer(runDocument(view), () => runLines(view, Date.now()));
  return EXIT_STATUS.done.status;
}
