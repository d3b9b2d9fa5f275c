import type { OccurrenceView } from '@lastgood/protocol';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { occurrencesQuery } from '../data/queries.ts';
import { DataTable } from '../parts/data-table.tsx';
import { FailureNotice, Loading } from '../parts/failure-notice.tsx';
import { Instant, useNow } from '../parts/instant.tsx';

const TONES: Readonly<Record<OccurrenceView['state'], string>> = {
  expected: 'muted',
  waiting: 'warn',
  running: '',
  succeeded: 'ok',
  failed: 'bad',
  missed: 'bad',
  skipped: 'warn',
};

function Runs({ title, runs }: { readonly title: string; readonly runs: readonly OccurrenceView[] }) {
  const id = title.replaceAll(' ', '-').toLowerCase();
  return (
    <section aria-labelledby={id}>
      <h2 id={id}>{title}</h2>
      {runs.length === 0 ? (
        <p className="empty">None.</p>
      ) : (
        <DataTable label={title} columns={['Due', 'Target', 'Schedule', 'Command', 'State']}>
          {runs.map(({ occurrenceId, dueAt, environment, host, target, schedule, command, state, code }) => (
            <tr key={occurrenceId}>
              <th scope="row">
                <Instant at={dueAt} />
              </th>
              <td>
                <Link to="/targets/$environment/$host/$target" params={{ environment, host, target }}>
                  {environment}/{host}/{target}
                </Link>
              </td>
              <td>{schedule}</td>
              <td>{command}</td>
              <td className={TONES[state]}>
                {state} {code !== null && <code>{code}</code>}
              </td>
            </tr>
          ))}
        </DataTable>
      )}
    </section>
  );
}

/** The due runs of the last and the next day. A run exists before it begins, so a missed one is shown. */
export function Schedules() {
  const { data, error, isPending } = useQuery(occurrencesQuery);
  const now = useNow();
  if (isPending) return <Loading what="schedules" />;
  if (data === undefined) return <FailureNotice error={error} title="The schedules cannot be shown" />;
  const isProblem = ({ state }: OccurrenceView): boolean => state === 'missed' || state === 'failed';
  const problems = data.filter(isProblem);
  return (
    <>
      <h1>Schedules</h1>
      {data.length === 0 ? (
        <p className="empty">
          No runs are planned. Schedules are part of the fleet file: <code>lastgood apply -f fleet.yaml</code>
        </p>
      ) : (
        <>
          {problems.length > 0 && <Runs title="Missed or failed in the last 24 hours" runs={problems} />}
          <Runs title="Due in the next 24 hours" runs={data.filter(({ dueAt }) => dueAt >= now).toReversed()} />
          <Runs title="Last 24 hours" runs={data.filter((run) => run.dueAt < now && !isProblem(run))} />
        </>
      )}
    </>
  );
}
