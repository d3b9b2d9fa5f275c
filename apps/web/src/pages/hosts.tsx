import { duration } from '@lastgood/core/format';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { hostsQuery } from '../data/queries.ts';
import { DataTable } from '../parts/data-table.tsx';
import { FailureNotice, Loading } from '../parts/failure-notice.tsx';
import { Ago } from '../parts/instant.tsx';

const ORDER = ['quarantined', 'never', 'offline', 'online'] as const;

/** The hosts of the fleet; those that do not report come first. */
export function Hosts() {
  const { data, error, isPending } = useQuery(hostsQuery);
  if (isPending) return <Loading what="hosts" />;
  if (data === undefined) return <FailureNotice error={error} title="The hosts cannot be shown" />;
  const hosts = data.toSorted(
    (a, b) =>
      ORDER.indexOf(a.state) - ORDER.indexOf(b.state) ||
      (`${a.environment}/${a.host}` < `${b.environment}/${b.host}` ? -1 : 1),
  );
  return (
    <>
      <h1>Hosts</h1>
      <DataTable
        label="Hosts"
        columns={['Host', 'State', 'Last change', 'Agent', 'Clock difference', 'Unreported events', 'Targets']}
      >
        {hosts.map(({ agentId, environment, host, state, since, agentVersion, clockSkewMs, outboxDepth, targets }) => (
          <tr key={agentId}>
            <th scope="row">
              {environment}/{host}
            </th>
            <td className={state === 'online' ? 'ok' : 'bad'}>{state}</td>
            <td>
              <Ago at={since} />
            </td>
            <td>{agentVersion ?? 'unknown'}</td>
            <td>{clockSkewMs === null ? 'unknown' : duration(Math.abs(clockSkewMs))}</td>
            <td>{outboxDepth}</td>
            <td>
              {targets.map((target) => (
                <span key={target}>
                  <Link to="/targets/$environment/$host/$target" params={{ environment, host, target }}>
                    {target}
                  </Link>{' '}
                </span>
              ))}
            </td>
          </tr>
        ))}
      </DataTable>
      <p className="cli">
        Enroll a host: <code>lastgood tokens enroll prod db-1</code>
      </p>
    </>
  );
}
