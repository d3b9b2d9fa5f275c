import { instant } from '@lastgood/core/format';
import type { RestorePlanSummary } from '@lastgood/protocol';
import { useMutation, useQuery } from '@tanstack/react-query';
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router';
import { useEffect, useState } from 'react';
import { api, failureOf } from '../data/client.ts';
import { newIdempotencyKey } from '../data/idempotency-key.ts';
import { type TargetData, targetQuery } from '../data/queries.ts';
import { commandLineOf, type PreparedRestore, prepareRestore, type RestoreChoice } from '../data/restore-request.ts';
import { Consent } from '../parts/consent.tsx';
import { FailureNotice, Loading } from '../parts/failure-notice.tsx';
import { createJob, ReasonedButton, useObstacle } from '../parts/job-button.tsx';
import { PlanView } from '../parts/plan-view.tsx';
import { WhenStep, WhereStep } from '../parts/restore-steps.tsx';
import { RichText } from '../parts/rich-text.tsx';

const route = getRouteApi('/app/targets/$environment/$host/$target/restore');
const POLL_MS = 300;

const OFFSET = /(?:[zZ]|[+-]\d\d:\d\d)$/;

/** Why the choice cannot be planned yet; null when it can. */
function missingOf({ at, way, name }: RestoreChoice): string | null {
  if (at !== null && (Number.isNaN(Date.parse(at)) || !OFFSET.test(at)))
    return 'The instant needs a date, a time and an offset, such as 2026-11-30T14:03:20+01:00.';
  if (way === 'new' && name === '') return 'The new database needs a name.';
  if (way === 'folder' && name === '') return 'Name a restore folder of the agent file.';
  return null;
}

/** Runs a plan job and returns it when it has ended. */
async function makePlan(choice: RestoreChoice, data: TargetData): Promise<PreparedRestore & { planJobId: string }> {
  if (data.target === undefined) return await Promise.reject(new TypeError('the target is not known'));
  const prepared = await prepareRestore(choice, data.target);
  const { name } = data.target;
  const job = await createJob(
    choice.target,
    { command: 'plan', target: name, request: prepared.request },
    newIdempotencyKey(),
  );
  return { ...prepared, planJobId: job.jobId };
}

/** The plan of a choice, and whether it is being made. Another choice needs another plan. */
function usePlan(choice: RestoreChoice, data: TargetData) {
  const key = JSON.stringify(choice);
  const [planned, setPlanned] = useState<string | null>(null);
  const making = useMutation({ mutationFn: () => makePlan(choice, data), onMutate: () => setPlanned(key) });
  const planJobId = making.data?.planJobId;
  const { data: job } = useQuery({
    queryKey: ['plan', planJobId],
    queryFn: () => api.job.query({ jobId: planJobId ?? '' }),
    enabled: planJobId !== undefined,
    refetchInterval: ({ state }) => (state.data?.endedAt == null ? POLL_MS : false),
  });
  const isCurrent = planned === key;
  const result = isCurrent && job?.jobId === planJobId && job?.result?.command === 'plan' ? job.result.plan : null;
  return {
    make: making.mutate,
    isOutdated: planned !== null && !isCurrent,
    isPending: isCurrent && (making.isPending || (planJobId !== undefined && job?.endedAt == null)),
    failure: !isCurrent ? null : making.error !== null ? failureOf(making.error) : (job?.error ?? null),
    plan: result,
    prepared: isCurrent ? (making.data ?? null) : null,
  };
}

type Planning = ReturnType<typeof usePlan>;

/** Step 3: what the host would read, replace and miss. */
function PlanStep({ planning, missing }: { readonly planning: Planning; readonly missing: string | null }) {
  const obstacle = useObstacle('operate');
  const reason = obstacle ?? missing ?? (planning.isPending ? 'The host is making the plan.' : null);
  return (
    <section className="step" aria-labelledby="step-plan">
      <h2 id="step-plan">3 Plan</h2>
      {planning.plan === null && (
        <p>
          <ReasonedButton reason={reason} onClick={() => planning.make()} className="primary">
            {planning.isPending ? 'Planning …' : 'Make the plan'}
          </ReasonedButton>{' '}
          <small className="muted">
            {reason ?? 'The host checks what the restore would read, replace and miss. Nothing is changed.'}
          </small>
        </p>
      )}
      {planning.isOutdated && <p className="warn">The choice has changed, so the earlier plan no longer applies.</p>}
      {planning.failure !== null && (
        <div className="notice notice-bad" role="alert">
          <p>
            {planning.failure.message} <code>{planning.failure.code}</code>
          </p>
          <p className="remedy">
            <RichText text={planning.failure.remedy} />
          </p>
        </div>
      )}
      {planning.plan !== null && <PlanView plan={planning.plan} />}
    </section>
  );
}

const touchesData = ({ way }: RestoreChoice): boolean => way === 'swap' || way === 'in-place';

/** Step 4: consent to exactly this plan, then the live job. */
function ConsentStep({
  choice,
  plan,
  prepared,
}: {
  readonly choice: RestoreChoice;
  readonly plan: RestorePlanSummary;
  readonly prepared: NonNullable<Planning['prepared']>;
}) {
  const navigate = useNavigate();
  const obstacle = useObstacle('destroy');
  const run = useMutation({
    mutationFn: async () => {
      const [target = ''] = choice.target.split('/').slice(-1);
      const spec = { command: 'restore', target, request: prepared.request, planHash: plan.hash } as const;
      // The key belongs to this plan, so a second click is the same job.
      return await createJob(choice.target, spec, `restore-${prepared.planJobId}`);
    },
    onSuccess: ({ jobId }) => navigate({ to: '/jobs/$jobId', params: { jobId } }),
  });
  const refusal = plan.refusals.length > 0 ? 'The plan is refused; the reasons are above.' : null;
  return (
    <section className="step" aria-labelledby="step-consent">
      <h2 id="step-consent">4 Consent</h2>
      <Consent
        key={plan.hash}
        name={touchesData(choice) ? plan.confirm : null}
        obstacle={obstacle ?? refusal ?? (run.isPending ? 'The restore is being started.' : null)}
        act={() => run.mutate()}
        label={`Run plan ${plan.hash.slice(0, 12)}`}
      >
        {touchesData(choice) ? (
          <>
            This {choice.way === 'swap' ? 'disconnects the clients of and replaces' : 'overwrites'}{' '}
            <code>{plan.into}</code> on {choice.target}.{' '}
            {choice.way === 'swap' ? 'The old data is set aside, and undo brings it back.' : 'It cannot be undone.'}
          </>
        ) : (
          'Nothing that exists is touched.'
        )}
      </Consent>
      {run.error !== null && (
        <p role="alert" className="bad">
          {failureOf(run.error).message}
        </p>
      )}
    </section>
  );
}

function Wizard({ data, initial }: { readonly data: TargetData; readonly initial: RestoreChoice }) {
  const [choice, setChoice] = useState(initial);
  const change = (next: Partial<RestoreChoice>): void => setChoice((before) => ({ ...before, ...next }));
  const planning = usePlan(choice, data);
  const missing = missingOf(choice);
  const { plan, prepared } = planning;
  return (
    <>
      <WhenStep choice={choice} change={change} data={data} />
      <WhereStep choice={choice} change={change} data={data} />
      <PlanStep planning={planning} missing={missing} />
      {plan !== null && prepared !== null && <ConsentStep choice={choice} plan={plan} prepared={prepared} />}
      <p className="cli">
        On a terminal: <code>{commandLineOf(choice, touchesData(choice) ? (plan?.confirm ?? null) : null)}</code>
      </p>
    </>
  );
}

/** Restores a target: point, destination, plan, consent. */
export function Restore() {
  const params = route.useParams();
  const { at } = route.useSearch();
  const name = `${params.environment}/${params.host}/${params.target}`;
  const { data, error, isPending } = useQuery(targetQuery(name));
  useEffect(() => {
    document.title = `Restore ${name} · Lastgood`;
  }, [name]);
  if (isPending) return <Loading what={name} />;
  if (data?.target === undefined) return <FailureNotice error={error} title={`${name} cannot be restored`} />;
  const databases = data.status?.databases.filter(({ recoveryPoint }) => recoveryPoint !== null) ?? [];
  const database = databases.find((each) => each.database === params.target) ?? databases[0];
  const isOfServer = data.backups.every(({ restoreUnit }) => restoreUnit === 'server');
  const initial: RestoreChoice = {
    target: name,
    at: at === undefined ? null : instant(at).replace(' ', 'T'),
    way: isOfServer ? 'folder' : 'new',
    name: isOfServer ? '' : `${database?.database ?? params.target}_restored`,
    database: isOfServer ? null : (database?.database ?? null),
  };
  return (
    <>
      <div className="page-head">
        <h1>
          Restore {params.target}
          <small>
            <Link to="/targets/$environment/$host/$target" params={params}>
              {name}
            </Link>
          </small>
        </h1>
      </div>
      <Wizard data={data} initial={initial} />
    </>
  );
}
