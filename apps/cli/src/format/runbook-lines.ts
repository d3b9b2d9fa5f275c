import { duration, instant } from '@lastgood/core/format';
import { actionsText, actionText, chosenActions, failedSteps, situationOf, stepMs } from '@lastgood/core/runbooks';
import {
  type Finding,
  formatFinding,
  type PlannedStep,
  type RunbookPlan,
  type RunbookRun,
  type RunbookRunView,
  type RunStep,
  remedyOfFinding,
} from '@lastgood/protocol';
import { shortId } from './ids.ts';
import { progressLine } from './job-lines.ts';
import { shellWord } from './safe-text.ts';
import { table } from './table.ts';

function findingLines(kind: string, findings: readonly Finding[]): string[] {
  return findings.flatMap((finding) => {
    const remedy = remedyOfFinding(finding);
    return [`${kind}: ${formatFinding(finding)}`, ...(remedy === null ? [] : [`  what to do: ${remedy}`])];
  });
}

export const contactLines = ({ contacts }: RunbookPlan): string[] =>
  contacts.length === 0
    ? []
    : [
        'contacts:',
        ...contacts.map(({ name, description, email, channels }) => {
          const ways = [...email, ...channels.map((channel) => `channel ${channel}`)].join(', ');
          return `  ${name}: ${ways}${description === null ? '' : ` (${description})`}`;
        }),
      ];

function timeLine({ rtoMs, estimatedMs, mode }: RunbookPlan): string {
  const objective = rtoMs === null ? 'no objective (RTO)' : `objective (RTO) ${duration(rtoMs)}`;
  const estimate = estimatedMs === null ? 'not every restore was measured yet' : `estimated ${duration(estimatedMs)}`;
  return `time: ${objective}; ${mode === 'drill' ? 'measured step by step' : estimate}`;
}

const lag = (ms: number): string => (ms === 0 ? 'newest' : `${duration(ms)} earlier`);

function setLines({ set }: RunbookPlan): string[] {
  if (set.members.length === 0) return [];
  const rows = set.members.map(({ target, point, lagMs }) => [
    target,
    instant(point.at),
    lag(lagMs),
    point.basis === 'log' ? 'log stream' : `backup ${shortId(point.backupId ?? '')}`,
  ]);
  const asked = set.instant === null ? 'the newest of each target' : `everything as of ${instant(set.instant)}`;
  return [
    `recovery set: ${asked}; ${set.skewMs === 0 ? 'no skew' : `${duration(set.skewMs)} between the oldest and the newest point`}`,
    ...table(['target', 'goes back to', 'against the newest', 'from'], rows, '').map((line) => `  ${line}`),
  ];
}

/** What a person types to start the plan. */
function startLine({ runbook, mode, hash, set, steps }: RunbookPlan): string {
  const short = hash.slice(0, 12);
  if (mode === 'drill') return `start it with: lastgood runbooks drill ${runbook} --plan ${short}`;
  const at = set.instant === null ? '' : ` --at ${set.instant}`;
  const skew = set.lagging.map((target) => ` --accept-skew ${target}`).join('');
  const other = steps.filter(({ choice }) => choice === 'alternative').map(({ name }) => ` --alternative ${name}`);
  return `start it with: lastgood runbooks run ${runbook}${at}${other.join('')} --plan ${short} --confirm ${runbook}${skew}`;
}

/** A plan as a person reads it before consenting. */
export function planLines(plan: RunbookPlan): string[] {
  const { runbook, mode, revision, hash, steps, refusals, warnings } = plan;
  const rows = steps.map((step, index) => [
    String(index + 1),
    step.name,
    step.title,
    step.after.join(', '),
    `${step.choice === 'alternative' ? 'alternative: ' : ''}${actionsText(chosenActions(step))}`,
  ]);
  return [
    `${mode} of runbook ${runbook}, plan ${hash.slice(0, 12)} (fleet file revision ${revision})`,
    ...table(['', 'step', 'title', 'after', 'what it does'], rows, '').map((line) => `  ${line}`),
    ...setLines(plan),
    timeLine(plan),
    ...findingLines('warning', warnings),
    ...findingLines('REFUSED', refusals),
    ...contactLines(plan),
    ...(refusals.length === 0 ? [startLine(plan)] : []),
  ];
}

const STATE_WORD: Record<RunStep['status']['state'], string> = {
  pending: '-',
  running: 'RUNNING',
  waiting: 'waiting',
  asking: 'APPROVAL',
  succeeded: 'done',
  failed: 'FAILED',
  skipped: 'skipped',
  'left-out': 'left out',
  canceled: 'canceled',
};

/** What a person should know about a step now. */
function remarkOf({ run, activity }: RunbookRunView, step: RunStep, planned: PlannedStep): string {
  const { status, results } = step;
  switch (status.state) {
    case 'pending': {
      const open = planned.after.filter((name) =>
        run.steps.some(
          (each) => each.name === name && !['succeeded', 'skipped', 'left-out'].includes(each.status.state),
        ),
      );
      return open.length === 0 ? '' : `after ${open.join(', ')}`;
    }
    case 'running': {
      const job = activity.find((each) => each.step === step.name);
      const actions = status.choice === 'main' ? planned.main : (planned.alternative ?? []);
      const action = actions[status.index];
      const what = `${status.choice === 'alternative' ? 'alternative: ' : ''}${action === undefined ? '' : actionText(action)}`;
      if (job?.hostOnline === false) return `${what}; its host is OFFLINE`;
      if (job?.state === 'lost') return `${what}; its host has not reported for a while`;
      return job?.progress == null ? what : `${what}; ${progressLine(job.progress)}`;
    }
    case 'waiting':
      return `until ${instant(status.until)}`;
    case 'asking':
      return 'waits for a person';
    case 'succeeded': {
      if (status.by !== null) return `approved by ${status.by}`;
      const last = results.at(-1);
      if (last?.reached != null) return `goes back to ${instant(last.reached)}`;
      if (last?.level != null) return `restore-tested at level ${last.level}`;
      return (last?.details ?? []).map(({ label, value }) => `${label} ${value}`).join(', ');
    }
    case 'failed':
      return status.error.code;
    case 'skipped':
      return `by ${status.by}: ${status.reason}`;
    case 'left-out':
      return 'not part of a drill';
    case 'canceled':
      return '';
  }
}

/** What a person can do about a failed step. */
function failureLines(run: RunbookRun, { name, status }: RunStep): string[] {
  if (status.state !== 'failed') return [];
  const { error, findings } = status;
  const id = shortId(run.runId);
  const hasAlternative = run.plan.steps.some((step) => step.name === name && step.alternative !== null);
  const decisions =
    run.endedAt !== null
      ? []
      : [
          `  try it again:         lastgood runbooks resume ${id} --retry ${name}`,
          ...(hasAlternative ? [`  take the alternative: lastgood runbooks resume ${id} --alternative ${name}`] : []),
          `  go on without it:     lastgood runbooks resume ${id} --skip ${name} --reason ${shellWord('WHY')}`,
          `  stop the run:         lastgood runbooks abort ${id} --reason ${shellWord('WHY')}`,
        ];
  return [
    `step ${name} FAILED: ${error.code}: ${error.message}`,
    ...findings.map((finding) => `  ${formatFinding(finding)}`),
    `  what to do: ${error.remedy}`,
    ...decisions,
  ];
}

const approvalLines = (run: RunbookRun): string[] =>
  run.steps
    .filter(({ status }) => status.state === 'asking' && run.endedAt === null)
    .flatMap(({ name }) => {
      const planned = run.plan.steps.find((step) => step.name === name);
      const [action] = planned?.main ?? [];
      const note = action?.kind === 'approve' && action.note !== null ? [`  ${action.note}`] : [];
      const by = action?.kind === 'approve' && action.by === 'another' ? ' (by another person than the starter)' : '';
      return [
        `step ${name} waits for an approval${by}: ${planned?.title ?? ''}`,
        ...note,
        `  lastgood runbooks resume ${shortId(run.runId)} --approve ${name}`,
      ];
    });

function headline(run: RunbookRun, now: number): string {
  const { plan, runId, state, startedBy, startedAt, endedAt, steps } = run;
  const spent = duration((endedAt ?? now) - startedAt);
  const open = steps.filter(({ status }) => status.state === 'succeeded' || status.state === 'skipped').length;
  const situation = situationOf(run);
  const word =
    situation === 'stopped' ? 'STOPPED, a step has failed' : situation === 'asking' ? 'waits for an approval' : state;
  const objective = plan.rtoMs === null ? '' : ` of ${duration(plan.rtoMs)} (RTO)`;
  return `${plan.mode} ${shortId(runId)} of runbook ${plan.runbook}: ${word}; ${open} of ${steps.length} steps, ${spent}${objective}; started by ${startedBy} at ${instant(startedAt)}`;
}

/** The checklist of a run: every step, what has failed and why, what to do next, and whom to call. */
export function runLines(view: RunbookRunView, now: number): string[] {
  const { run } = view;
  const rows = run.steps.flatMap((step) => {
    const planned = run.plan.steps.find(({ name }) => name === step.name);
    if (planned === undefined) return [];
    const spent = stepMs(step, now);
    return [
      [
        STATE_WORD[step.status.state],
        step.name,
        planned.title,
        spent === null || step.status.state === 'left-out' ? '' : duration(spent),
        remarkOf(view, step, planned),
      ],
    ];
  });
  return [
    headline(run, now),
    ...table(['state', 'step', 'title', 'time', 'remark'], rows, '').map((line) => `  ${line}`),
    ...failedSteps(run).flatMap((step) => failureLines(run, step)),
    ...approvalLines(run),
    ...contactLines(run.plan),
  ];
}
