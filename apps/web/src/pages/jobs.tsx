import { useQuery } from '@tanstack/react-query';
import { jobsQuery } from '../data/queries.ts';
import { FailureNotice, Loading } from '../parts/failure-notice.tsx';
import { JobTable } from '../parts/job-table.tsx';

/** The newest jobs of the fleet. */
export function Jobs() {
  const { data, error, isPending } = useQuery(jobsQuery);
  if (isPending) return <Loading what="jobs" />;
  if (data === undefined) return <FailureNotice error={error} title="The jobs cannot be shown" />;
  return (
    <>
      <h1>Jobs</h1>
      <JobTable jobs={data} label="Newest jobs of the fleet" />
    </>
  );
}
