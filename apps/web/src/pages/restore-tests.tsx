import { duration } from '@lastgood/core/format';
import type { DatabaseStatus, TargetStatus } from '@lastgood/protocol';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { fleetQuery } from '../data/queries.ts';
import { DataTable } from '../parts/data-table.tsx';
import { FailureNotice, Loading } from '../parts/failure-notice.tsx';
import { Ago, Instant } from '../parts/instant.tsx';

interface TestRow {
  readonly status: TargetStatus;
  readonly database: DatabaseStatus;
}

/** Never tested first, then the oldest test. */
const compareTests = (a: TestRow, b: TestRow): number =>
  Date.parse(a.database.restoreTest?.at ?? '1970-01-01') - Date.parse(b.database.restoreTest?.at ?? '1970-01-01');

function RestoreTime({ status, database }: TestRow) {
  const { restoreTime } = database;
  const rtoMs = status.objectives?.rtoMs ?? null;
  if (restoreTime.basis === 'unknown') return <span className="muted">not measured</span>;
  return (
    <>
      {duration(restoreTime.ms)} {restoreTime.basis === 'estimated' && '(estimated)'}
      {rtoMs !== null && (
        <>
          {' '}
          of {duration(rtoMs)}{' '}
          <meter
            max={1}
            high={0.8}
            optimum={0}
            value={Math.min(1, restoreTime.ms / rtoMs)}
            aria-label="Share of the RTO"
          />
        </>
      )}
    </>
  );
}

function Row({ status, database }: TestRow) {
  const { environment, host, target } = status;
  const { restoreTest } = database;
  return (
    <tr>
      <th scope="row">
        {database.database}{' '}
        {target !== null && (
          <Link to="/targets/$environment/$host/$target" params={{ environment, host, target }}>
            {environment}/{host}/{target}
          </Link>
        )}
      </th>
      <td>{restoreTest === null ? <b className="warn">never</b> : <Instant at={restoreTest.at} />}</td>
      <td>{restoreTest === null ? '–' : restoreTest.level}</td>
      <td>
        {restoreTest === null ? (
          '–'
        ) : restoreTest.ofRecoveryPoint ? (
          <>
            the newest, <Ago at={restoreTest.at} />
          </>
        ) : (
          <span className="warn">an older one</span>
        )}
      </td>
      <td>
        <RestoreTime status={status} database={database} />
      </td>
    </tr>
  );
}

/** Every database with its last restore test; those that were never tested come first. */
export function RestoreTests() {
  const { data, error, isPending } = useQuery(fleetQuery);
  if (isPending) return <Loading what="restore tests" />;
  if (data === undefined) return <FailureNotice error={error} title="The restore tests cannot be shown" />;
  const rows = data
    .flatMap((status) => status.databases.map((database) => ({ status, database })))
    .filter(({ database: { state, copy } }) => state !== null && copy === null)
    .toSorted(compareTests);
  const never = rows.filter(({ database }) => database.restoreTest === null).length;
  return (
    <>
      <h1>
        Restore tests
        <small>
          {never === 0
            ? `All ${rows.length} databases have been tested`
            : `${never} of ${rows.length} databases were never tested`}
        </small>
      </h1>
      <p className="muted">
        A restore test loads a backup into a server (level 4), runs queries there (level 5) and compares it with its
        source (level 6). Lower levels check stored bytes and are not restore tests.
      </p>
      <DataTable
        label="Restore tests"
        columns={['Database', 'Last restore test', 'Level', 'Of backup', 'Restore time against RTO']}
      >
        {rows.map(({ status, database }) => (
          <Row
            key={`${status.environment}/${status.host}/${status.target}/${database.database}`}
            status={status}
            database={database}
          />
        ))}
      </DataTable>
    </>
  );
}
