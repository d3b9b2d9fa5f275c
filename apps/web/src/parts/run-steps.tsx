import { bytes, duration } from '@lastgood/core/format';
import { actionsText, chosenActions, stepMs } from '@lastgood/core/runbooks';
import type { PlannedStep, RunbookRunView, RunStep, StepDecision } from '@lastgood/protocol';
import { useMutation } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';
import { api, failureOf } from '../data/client.ts';
import { runQuery } from '../data/queries.ts';
import { queryClient } from '../data/query-client.ts';
import { FindingList } from './findings.tsx';
import { useNow } from './instant.tsx';
import { ReasonedButton, useObstacle } from './job-button.tsx';
import { RichText } from './rich-text.tsx';
import { STEP_STATES } from './runbook-texts.ts';

/** The decisions that a step asks for: approve, try again, the alternative, or skip with a reason. */
function Decisions({
  runId,
  step,
  planned,
}: {
  readonly runId: string;
  readonly step: RunStep;
  readonly planned: PlannedStep;
}) {
  const obstacle = useObstacle('destroy');
  const [reason, setReason] = useState('');
  const decide = useMutation({
    mutationFn: (decision: StepDecision) => api.resumeRunbook.mutate({ runId, decision }),
    onSuccess: (view) => queryClient.setQueryData(runQuery(runId).queryKey, view),
  });
  const { state } = step.status;
  if (state !== 'failed' && state !== 'asking') return null;
  const blocked = obstacle ?? (decide.isPending ? 'The decision is being recorded.' : null);
  const give = (decision: StepDecision) => () => decide.mutate(decision);
  return (
    <div className="decisions">
      {state === 'asking' ? (
        <ReasonedButton reason={blocked} onClick={give({ type: 'approve', step: step.name })} className="primary">
          Approve
        </ReasonedButton>
      ) : (
        <>
          <ReasonedButton reason={blocked} onClick={give({ type: 'retry', step: step.name })} className="primary">
            Try again
          </ReasonedButton>
          {planned.alternative !== null && (
            <ReasonedButton reason={blocked} onClick={give({ type: 'alternative', step: step.name, acceptedSkew: [] })}>
              Alternative: {actionsText(planned.alternative)}
            </ReasonedButton>
          )}
          <input
            aria-label={`Reason to skip ${planned.title}`}
            placeholder="Reason to skip"
            value={reason}
            onChange={({ target }) => setReason(target.value)}
          />
          <ReasonedButton
            reason={blocked ?? (reason.trim() === '' ? 'Give a reason to skip this step.' : null)}
            onClick={give({ type: 'skip', step: step.name, reason })}
          >
            Skip
          </ReasonedButton>
        </>
      )}
      {decide.error !== null && (
        <span role="alert" className="bad">
          {failureOf(decide.error).message}
        </span>
      )}
    </div>
  );
}

/** What a step does or has met: its job, its failure, the reason of its skip. */
function Remark({ view, step }: { readonly view: RunbookRunView; readonly step: RunStep }) {
  const { status } = step;
  if (status.state === 'failed')
    return (
      <>
        <p className="bad">
          {status.error.message} <code>{status.error.code}</code>
        </p>
        <p className="remedy">
          <RichText text={status.error.remedy} />
        </p>
        {status.findings.length > 0 && <FindingList findings={status.findings} />}
      </>
    );
  if (status.state === 'skipped') return <p className="muted">{`skipped by ${status.by}: ${status.reason}`}</p>;
  if (status.state !== 'running') return null;
  const activity = view.activity.find((each) => each.step === step.name);
  const progress = activity?.progress ?? null;
  return (
    <p className="muted">
      {status.phase === 'plan' ? 'its host plans the restore' : (progress?.phase ?? activity?.state ?? 'being sent')}
      {progress !== null && progress.doneBytes > 0 && `, ${bytes(progress.doneBytes)}`}
      {activity?.hostOnline === false && <span className="warn">, the host is not connected</span>}
    </p>
  );
}

function Step({
  view,
  step,
  planned,
}: {
  readonly view: RunbookRunView;
  readonly step: RunStep;
  readonly planned: PlannedStep;
}) {
  const { sign, word, tone } = STEP_STATES[step.status.state];
  const ms = stepMs(step, useNow());
  const [job] = step.results.slice(-1);
  const jobId = step.status.state === 'running' ? step.status.jobId : (job?.jobId ?? null);
  return (
    <li className={`run-step is-${step.status.state}`}>
      <div>
        <b>{planned.title}</b>
        <small>{actionsText(chosenActions(planned))}</small>
      </div>
      <div>
        <span className={tone}>
          <span aria-hidden="true">{sign} </span>
          {word}
        </span>
        <Remark view={view} step={step} />
        <Decisions runId={view.run.runId} step={step} planned={planned} />
      </div>
      <div className="muted">
        {ms !== null && duration(Math.max(0, ms))}{' '}
        {jobId !== null && (
          <Link to="/jobs/$jobId" params={{ jobId }}>
            job
          </Link>
        )}
      </div>
    </li>
  );
}

/** The steps of a run in their order, each with what it needs from a person. */
export function RunSteps({ view }: { readonly view: RunbookRunView }) {
  const plans = new Map(view.run.plan.steps.map((step) => [step.name, step]));
  return (
    <section aria-labelledby="run-steps">
      <h2 id="run-steps">Steps</h2>
      <ol className="run-steps">
        {view.run.steps.map((step) => {
          const planned = plans.get(step.name);
          return planned === undefined ? null : <Step key={step.name} view={view} step={step} planned={planned} />;
        })}
      </ol>
    </section>
  );
}
