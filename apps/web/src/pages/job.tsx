import { bytes, duration } from '@lastgood/core/format';
import { classOf, type JobView } from '@lastgood/protocol';
import { useMutation, useQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { api, failureOf } from '../data/client.ts';
import { useStreamState } from '../data/live.ts';
import { jobQuery } from '../data/queries.ts';
import { queryClient } from '../data/query-client.ts';
import { FailureNotice, Loading } from '../parts/failure-notice.tsx';
import { Ago, Instant, useNow } from '../parts/instant.tsx';
import { ReasonedButton, useObstacle } from '../parts/job-button.tsx';
import { JobResultPanel } from '../parts/job-result.tsx';
import { jobStateText, jobTone } from '../parts/job-table.tsx';
import { PhaseRail, phaseName } from '../parts/phase-rail.tsx';
import { RichText } from '../parts/rich-text.tsx';
import { UndoPanel } from '../parts/undo-panel.tsx';

const route = getRouteApi('/app/jobs/$jobId');

/** What remains when the job is canceled now. */
function cancelConsequence({ command }: JobView): string {
  switch (command) {
    case 'restore':
    case 'undo':
      return 'Until the new data takes its place, canceling leaves everything as it was.';
    case 'backup':
      return 'What was written so far is removed. Earlier backups stay.';
    default:
      return 'Nothing that exists is changed.';
  }
}

function Cancel({ job }: { readonly job: JobView }) {
  const obstacle = useObstacle(classOf(job.spec) === 'destructive' ? 'destroy' : 'operate');
  const cancel = useMutation({
    mutationFn: () => api.cancelJob.mutate({ jobId: job.jobId }),
    onSuccess: (view) => queryClient.setQueryData(jobQuery(job.jobId).queryKey, view),
  });
  if (job.endedAt !== null) return null;
  const reason = obstacle ?? (job.cancelRequested ? 'Canceling was requested already.' : null);
  return (
    <div className="cancel">
      <ReasonedButton reason={reason} onClick={() => cancel.mutate()}>
        Cancel job
      </ReasonedButton>
      <small>{cancelConsequence(job)}</small>
      {cancel.error !== null && (
        <span role="alert" className="bad">
          {failureOf(cancel.error).message}
        </span>
      )}
    </div>
  );
}

/** Rate and rest of a phase, as far as they are known. */
function paceText({ bytesPerSecond, doneBytes, totalBytes }: NonNullable<JobView['progress']>): string {
  if (bytesPerSecond <= 0) return '';
  const rate = ` · ${bytes(bytesPerSecond)}/s`;
  if (totalBytes === null || totalBytes <= doneBytes) return rate;
  return `${rate} · about ${duration(((totalBytes - doneBytes) / bytesPerSecond) * 1000)} left`;
}

function Progress({ job }: { readonly job: JobView }) {
  const stream = useStreamState();
  const now = useNow();
  if (job.endedAt !== null) return null;
  const { progress, startedAt } = job;
  const total = progress?.totalBytes ?? null;
  const items = progress?.totalItems === undefined ? '' : ` · ${progress.doneItems ?? 0} of ${progress.totalItems}`;
  return (
    <section className="panel progress" aria-label="Progress">
      <p className="phase">
        <b>{progress === null ? jobStateText(job) : phaseName(progress.phase)}</b>
        {startedAt !== null && <span className="muted">{duration(Math.max(0, now - startedAt))}</span>}
      </p>
      <PhaseRail phase={progress?.phase ?? null} />
      {/* Without a value it moves, unless the page is stale or the person wants less motion. */}
      <progress
        aria-label="Progress of this phase"
        max={1}
        {...(progress !== null && total !== null && total > 0
          ? { value: Math.min(1, progress.doneBytes / total) }
          : {})}
      />
      {progress !== null && (
        <p className="muted">
          {bytes(progress.doneBytes)}
          {total !== null && total > 0 && ` of about ${bytes(total)}`}
          {paceText(progress)}
          {items} · reported <Ago at={progress.at} />
        </p>
      )}
      <p className="muted">
        {job.hostOnline ? (
          'The host is connected.'
        ) : (
          <span className="warn">The host is not connected; the job continues there and reports when it is back.</span>
        )}
        {stream.kind === 'lost' && ' This page is not current.'}
      </p>
    </section>
  );
}

function Waiting({ job }: { readonly job: JobView }) {
  if (job.waitingFor.length === 0) return null;
  return (
    <p>
      Waits for{' '}
      {job.waitingFor.map(({ jobId, command, target }) => (
        <Link key={jobId} to="/jobs/$jobId" params={{ jobId }}>
          {command} of {target}
        </Link>
      ))}
    </p>
  );
}

function Facts({ job }: { readonly job: JobView }) {
  const { environment, host, target, createdBy, attempt, createdAt, startedAt, endedAt } = job;
  return (
    <dl className="facts">
      <div>
        <dt>Target</dt>
        <dd>
          <Link to="/targets/$environment/$host/$target" params={{ environment, host, target }}>
            {environment}/{host}/{target}
          </Link>
        </dd>
      </div>
      <div>
        <dt>Created</dt>
        <dd>
          <Instant at={createdAt} /> by {createdBy}
        </dd>
      </div>
      <div>
        <dt>Started</dt>
        <dd>{startedAt === null ? 'not yet' : <Instant at={startedAt} />}</dd>
      </div>
      <div>
        <dt>Ended</dt>
        <dd>
          {endedAt === null ? (
            'not yet'
          ) : (
            <>
              <Instant at={endedAt} /> (<Ago at={endedAt} />)
            </>
          )}
        </dd>
      </div>
      <div>
        <dt>Attempt</dt>
        <dd>{attempt}</dd>
      </div>
    </dl>
  );
}

/** One job, live until its end; then its result and the next step. */
export function Job() {
  const { jobId } = route.useParams();
  const { data: job, error, isPending } = useQuery(jobQuery(jobId));
  if (isPending) return <Loading what="the job" />;
  if (job === undefined) return <FailureNotice error={error} title="The job cannot be shown" />;
  return (
    <>
      <div className="page-head">
        <h1>
          <span className="capitalized">
            {job.command} of {job.target}
          </span>
          <span className={`badge ${jobTone(job)}`} role="status">
            {jobStateText(job)}
          </span>
          <small>
            job <code>{job.jobId}</code>
          </small>
        </h1>
        <Cancel job={job} />
      </div>
      <Progress job={job} />
      <Waiting job={job} />
      {job.error !== null && (
        <section className="notice notice-bad" aria-label="Failure">
          <h2>
            <code>{job.error.code}</code>
          </h2>
          <p>{job.error.message}</p>
          <p className="remedy">
            <RichText text={job.error.remedy} />
          </p>
        </section>
      )}
      {job.result !== null && <JobResultPanel result={job.result} />}
      <UndoPanel job={job} />
      <Facts job={job} />
      <p className="cli">
        On a terminal: <code>lastgood jobs watch {job.jobId}</code>
      </p>
    </>
  );
}
