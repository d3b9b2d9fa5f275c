import { duration } from '@lastgood/core/format';
import { actionsText, chosenActions } from '@lastgood/core/runbooks';
import type { RunbookPlan } from '@lastgood/protocol';
import { useMutation, useQuery } from '@tanstack/react-query';
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { api, failureOf } from '../data/client.ts';
import { newIdempotencyKey } from '../data/idempotency-key.ts';
import { runbookPlanQuery } from '../data/queries.ts';
import { Consent } from '../parts/consent.tsx';
import { Contacts } from '../parts/contacts.tsx';
import { FailureNotice, Loading } from '../parts/failure-notice.tsx';
import { FindingList } from '../parts/findings.tsx';
import { Instant } from '../parts/instant.tsx';
import { useObstacle } from '../parts/job-button.tsx';
import { ModeBand } from '../parts/mode-band.tsx';

const route = getRouteApi('/app/runbooks/$runbook/$mode');

function Steps({ plan }: { readonly plan: RunbookPlan }) {
  return (
    <section aria-labelledby="steps">
      <h2 id="steps">Steps</h2>
      <ol className="run-steps">
        {plan.steps.map((step) => (
          <li key={step.name} className="run-step">
            <div>
              <b>{step.title}</b>
              <small>
                {step.name}
                {step.after.length > 0 && `, after ${step.after.join(', ')}`}
              </small>
            </div>
            <div>
              {actionsText(chosenActions(step))}
              {step.alternative !== null && step.choice === 'main' && (
                <small>alternative: {actionsText(step.alternative)}</small>
              )}
            </div>
            <div className="muted">{step.estimatedMs === null ? '' : `about ${duration(step.estimatedMs)}`}</div>
          </li>
        ))}
      </ol>
    </section>
  );
}

function RecoveryPoints({ set }: { readonly set: RunbookPlan['set'] }) {
  if (set.members.length === 0) return null;
  return (
    <section aria-labelledby="points">
      <h2 id="points">Recovery points</h2>
      <p className="muted">
        {set.skewMs === 0
          ? 'All targets go back to the same instant.'
          : `${duration(set.skewMs)} lie between the oldest and the newest; ${duration(set.allowedSkewMs)} are allowed.`}
      </p>
      <dl className="facts">
        {set.members.map(({ step, target, point, lagMs }) => (
          <div key={step}>
            <dt>{target}</dt>
            <dd className={set.lagging.includes(target) ? 'bad' : ''}>
              <Instant at={point.at} />
              {lagMs > 0 && `, ${duration(lagMs)} earlier than the newest`}
            </dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

/** Targets that lag behind the newest recovery point are accepted one by one. */
function AcceptSkew({
  lagging,
  accepted,
  accept,
}: {
  readonly lagging: readonly string[];
  readonly accepted: readonly string[];
  readonly accept: (targets: readonly string[]) => void;
}) {
  return lagging.map((target) => (
    <label key={target}>
      <input
        type="checkbox"
        checked={accepted.includes(target)}
        onChange={({ target: { checked } }) =>
          accept(checked ? [...accepted, target] : accepted.filter((each) => each !== target))
        }
      />{' '}
      accept that {target} goes back further than the others
    </label>
  ));
}

function Start({ plan }: { readonly plan: RunbookPlan }) {
  const navigate = useNavigate();
  const isReal = plan.mode === 'run';
  const obstacle = useObstacle(isReal ? 'destroy' : 'operate');
  const [accepted, setAccepted] = useState<readonly string[]>([]);
  const [idempotencyKey] = useState(newIdempotencyKey);
  const start = useMutation({
    mutationFn: () =>
      api.startRunbook.mutate({
        runbook: plan.runbook,
        mode: plan.mode,
        planHash: plan.hash,
        confirm: isReal ? plan.runbook : null,
        acceptedSkew: [...accepted],
        idempotencyKey,
      }),
    onSuccess: ({ run }) => navigate({ to: '/runs/$runId', params: { runId: run.runId } }),
  });
  const refusal = plan.refusals.length > 0 ? 'The plan is refused; the reasons are above.' : null;
  const missing = isReal ? plan.set.lagging.filter((target) => !accepted.includes(target)) : [];
  const skew = missing.length > 0 ? `Accept the earlier recovery point of ${missing.join(', ')}.` : null;
  return (
    <section className="step" aria-labelledby="start">
      <h2 id="start">{isReal ? 'Start for real' : 'Start the drill'}</h2>
      {isReal && <AcceptSkew lagging={plan.set.lagging} accepted={accepted} accept={setAccepted} />}
      <Consent
        name={isReal ? plan.runbook : null}
        obstacle={obstacle ?? refusal ?? skew ?? (start.isPending ? 'The run is being started.' : null)}
        act={() => start.mutate()}
        label={`${isReal ? 'Run' : 'Drill'} plan ${plan.hash.slice(0, 12)}`}
      >
        {isReal
          ? `This run replaces live data of ${plan.set.members.map(({ target }) => target).join(', ') || 'no target'}.`
          : 'A drill restores into scratch servers. It touches nothing that is live.'}
      </Consent>
      {start.error !== null && (
        <p role="alert" className="bad">
          {failureOf(start.error).message}
        </p>
      )}
    </section>
  );
}

/** The plan of a runbook, for real or as a drill, and the consent to exactly this plan. */
export function RunbookPlanPage() {
  const { runbook, mode } = route.useParams();
  const { data: plan, error, isPending } = useQuery(runbookPlanQuery(runbook, mode === 'run' ? 'run' : 'drill'));
  if (isPending) return <Loading what="the plan" />;
  if (plan === undefined) return <FailureNotice error={error} title={`${runbook} cannot be planned`} />;
  return (
    <>
      <ModeBand mode={plan.mode} />
      <div className="page-head">
        <h1>
          {plan.runbook}
          <small>
            plan <code>{plan.hash.slice(0, 12)}</code> · RTO {plan.rtoMs === null ? 'none' : duration(plan.rtoMs)} ·{' '}
            {plan.estimatedMs === null
              ? 'duration not known: not every restore was measured'
              : `about ${duration(plan.estimatedMs)}`}
          </small>
        </h1>
        <Link to="/runbooks">All runbooks</Link>
      </div>
      {plan.refusals.length > 0 && <FindingList findings={plan.refusals} />}
      {plan.warnings.length > 0 && <FindingList findings={plan.warnings} />}
      <Steps plan={plan} />
      <RecoveryPoints set={plan.set} />
      <Contacts plan={plan} />
      <Start key={plan.hash} plan={plan} />
      <p className="cli">
        On a terminal:{' '}
        <code>
          lastgood runbooks {plan.mode} {plan.runbook} --plan {plan.hash.slice(0, 12)}
          {plan.mode === 'run' && ` --confirm ${plan.runbook}`}
        </code>
      </p>
    </>
  );
}
