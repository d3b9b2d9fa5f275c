import { duration } from '@lastgood/core/format';
import { situationOf } from '@lastgood/core/runbooks';
import type { RunbookRun, RunbookRunView } from '@lastgood/protocol';
import { useMutation, useQuery } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { useState } from 'react';
import { api, failureOf } from '../data/client.ts';
import { runQuery } from '../data/queries.ts';
import { queryClient } from '../data/query-client.ts';
import { Contacts } from '../parts/contacts.tsx';
import { FailureNotice, Loading } from '../parts/failure-notice.tsx';
import { Instant, useNow } from '../parts/instant.tsx';
import { ReasonedButton, useObstacle } from '../parts/job-button.tsx';
import { ModeBand } from '../parts/mode-band.tsx';
import { RunSteps } from '../parts/run-steps.tsx';
import { countDone } from '../parts/runbook-texts.ts';

const route = getRouteApi('/app/runs/$runId');

const SITUATIONS = {
  working: 'in progress',
  stopped: 'stopped: a step has failed and needs a decision',
  asking: 'waits for an approval',
} as const;

function stateText(run: RunbookRun): string {
  const situation = situationOf(run);
  if (situation === 'ended') return run.state;
  return run.state === 'aborting' ? 'aborting' : SITUATIONS[situation];
}

/** How long the run has taken, against its objective. */
function Elapsed({ run }: { readonly run: RunbookRun }) {
  const now = useNow();
  const ms = Math.max(0, (run.endedAt ?? now) - run.startedAt);
  const { rtoMs } = run.plan;
  return (
    <div className={`answer ${rtoMs !== null && ms > rtoMs ? 'is-bad' : ''}`}>
      <dt>{run.endedAt === null ? 'Elapsed' : 'Duration'}</dt>
      <dd>
        <b>{duration(ms)}</b>
        <small>{rtoMs === null ? 'no RTO is set' : `of ${duration(rtoMs)} allowed`}</small>
      </dd>
    </div>
  );
}

function Abort({ run }: { readonly run: RunbookRun }) {
  const obstacle = useObstacle('destroy');
  const [reason, setReason] = useState('');
  const abort = useMutation({
    mutationFn: () => api.abortRunbook.mutate({ runId: run.runId, reason }),
    onSuccess: (view) => queryClient.setQueryData(runQuery(run.runId).queryKey, view),
  });
  if (run.endedAt !== null) return null;
  const why = obstacle ?? (reason.trim() === '' ? 'Give a reason to abort.' : null);
  return (
    <section className="step" aria-labelledby="abort">
      <h2 id="abort">Abort</h2>
      <p className="muted">Steps that are done stay done. Running steps are canceled; later steps do not begin.</p>
      <span className="inline">
        <input
          aria-label="Reason to abort"
          placeholder="Reason"
          value={reason}
          onChange={({ target }) => setReason(target.value)}
        />
        <ReasonedButton reason={why} onClick={() => abort.mutate()}>
          Abort this run
        </ReasonedButton>
        {why !== null && <small className="muted">{why}</small>}
      </span>
      {abort.error !== null && (
        <p role="alert" className="bad">
          {failureOf(abort.error).message}
        </p>
      )}
    </section>
  );
}

function Events({ run }: { readonly run: RunbookRun }) {
  return (
    <section aria-labelledby="events">
      <h2 id="events">Record</h2>
      <ol className="plain events">
        {run.events.toReversed().map((event) => (
          <li key={`${event.at}${event.what}${event.step}`}>
            <Instant at={event.at} /> {event.step !== null && <b>{event.step}</b>} {event.what.replaceAll('-', ' ')}
            {event.by !== null && ` by ${event.by}`}
            {event.detail !== null && `: ${event.detail}`}
          </li>
        ))}
      </ol>
    </section>
  );
}

function RunPage({ view }: { readonly view: RunbookRunView }) {
  const { run } = view;
  return (
    <>
      <ModeBand mode={run.plan.mode} />
      <h1>
        {run.plan.runbook}
        <span
          className={`badge ${run.state === 'succeeded' ? 'ok' : run.state === 'failed' ? 'bad' : ''}`}
          role="status"
        >
          {stateText(run)}
        </span>
        <small>
          started by {run.startedBy}, <Instant at={run.startedAt} /> · plan <code>{run.plan.hash.slice(0, 12)}</code>
        </small>
      </h1>
      <dl className="answers">
        <Elapsed run={run} />
        <div className="answer">
          <dt>Steps</dt>
          <dd>
            <b>
              {countDone(run.steps)} of {run.steps.length} done
            </b>
          </dd>
        </div>
      </dl>
      <RunSteps view={view} />
      <Contacts plan={run.plan} />
      <Abort run={run} />
      <Events run={run} />
      <p className="cli">
        On a terminal: <code>lastgood runbooks status {run.runId}</code>
      </p>
    </>
  );
}

/** One run of a runbook: its state is on the control plane, so a reload and another device show the same. */
export function Run() {
  const { runId } = route.useParams();
  const { data, error, isPending } = useQuery(runQuery(runId));
  if (isPending) return <Loading what="the run" />;
  if (data === undefined) return <FailureNotice error={error} title="The run cannot be shown" />;
  return <RunPage view={data} />;
}
