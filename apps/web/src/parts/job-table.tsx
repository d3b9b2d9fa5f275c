import { duration } from '@lastgood/core/format';
import type { JobView } from '@lastgood/protocol';
import { Link } from '@tanstack/react-router';
import { Ago, useNow } from './instant.tsx';
import { Scroll } from './scroll.tsx';

/** The state of a job in a word or two. */
export function jobStateText(job: JobView): string {
  if (job.state === 'queued' && !job.hostOnline) return 'queued (host is offline)';
  if (job.cancelRequested && job.endedAt === null) return `${job.state} (cancel requested)`;
  const [first] = job.waitingFor;
  if (first !== undefined) return `${job.state}, waiting for ${first.command} of ${first.target}`;
  return job.error === null ? job.state : `${job.state} (${job.error.code})`;
}

export const jobTone = ({ state }: JobView): string =>
  state === 'succeeded' ? 'ok' : ['failed', 'expired', 'rejected', 'lost'].includes(state) ? 'bad' : '';

function Duration({ job }: { readonly job: JobView }) {
  const now = useNow();
  return job.startedAt === null ? '–' : duration(Math.max(0, (job.endedAt ?? now) - job.startedAt));
}

export function JobTable({
  jobs,
  label,
  isOfOneTarget = false,
}: {
  readonly jobs: readonly JobView[];
  readonly label: string;
  readonly isOfOneTarget?: boolean;
}) {
  if (jobs.length === 0) return <p className="empty">There are no jobs yet.</p>;
  return (
    <Scroll label="Jobs">
      <table aria-label={label}>
        <thead>
          <tr>
            {['Job', ...(isOfOneTarget ? [] : ['Target']), 'State', 'Created', 'Duration', 'By'].map((name) => (
              <th scope="col" key={name}>
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {jobs.map((job) => (
            <tr key={job.jobId}>
              <th scope="row">
                <Link to="/jobs/$jobId" params={{ jobId: job.jobId }}>
                  {job.command}
                </Link>{' '}
                <code className="muted">{job.jobId.slice(-8)}</code>
              </th>
              {!isOfOneTarget && (
                <td>
                  {job.environment}/{job.host}/{job.target}
                </td>
              )}
              <td className={jobTone(job)}>{jobStateText(job)}</td>
              <td>
                <Ago at={job.createdAt} />
              </td>
              <td className="nowrap">
                <Duration job={job} />
              </td>
              <td>{job.createdBy}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}
