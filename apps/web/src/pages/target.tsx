import { duration } from '@lastgood/core/format';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { fleetRowOf } from '../data/fleet-row.ts';
import { type TargetData, targetQuery } from '../data/queries.ts';
import { FailureNotice, Loading } from '../parts/failure-notice.tsx';
import { Findings } from '../parts/findings.tsx';
import { Ago, Instant } from '../parts/instant.tsx';
import { JobButton } from '../parts/job-button.tsx';
import { JobTable } from '../parts/job-table.tsx';
import { RecoverySection } from '../parts/recovery-section.tsx';
import { StateMark } from '../parts/state-mark.tsx';
import { BackupTable, DatabaseTable } from '../parts/target-tables.tsx';

const route = getRouteApi('/app/targets/$environment/$host/$target');

/** A value against its objective: over 80 % of it is a risk. */
function toneOf(valueMs: number | null, objectiveMs: number | null): 'ok' | 'warn' | 'bad' {
  if (valueMs === null) return 'bad';
  if (objectiveMs === null) return 'ok';
  return valueMs > objectiveMs ? 'bad' : valueMs > 0.8 * objectiveMs ? 'warn' : 'ok';
}

/** The three questions of the product, answered for one target. */
function Answers({ data }: { readonly data: TargetData }) {
  if (data.status === undefined) return null;
  const row = fleetRowOf(data.status);
  return (
    <dl className="answers">
      <div className={`answer is-${toneOf(row.exposureMs, row.rpoMs)}`}>
        <dt>If it died now</dt>
        {row.exposureMs === null || row.recoveryPointAt === null ? (
          <dd>
            <b>everything would be lost</b>
            <small>There is no recovery point for at least one database.</small>
          </dd>
        ) : (
          <dd>
            <b>{duration(row.exposureMs)} would be lost</b>
            <small>
              back to <Instant at={row.recoveryPointAt} />
              {row.rpoMs === null ? '; no RPO is set' : `; RPO ${duration(row.rpoMs)}`}
              {row.isSilent && '; as last reported'}
            </small>
          </dd>
        )}
      </div>
      <div className={`answer is-${row.restoreTime === null ? 'warn' : toneOf(row.restoreTime.ms, row.rtoMs)}`}>
        <dt>Restore time</dt>
        <dd>
          <b>{row.restoreTime === null ? 'not measured' : duration(row.restoreTime.ms)}</b>
          <small>
            {row.restoreTime === null
              ? 'A restore or a restore test measures it'
              : row.restoreTime.isEstimated
                ? 'estimated from other restores'
                : 'measured, slowest database'}
            {row.rtoMs === null ? '; no RTO is set' : `; RTO ${duration(row.rtoMs)}`}
          </small>
        </dd>
      </div>
      <div className={`answer is-${row.restoreTest === null ? 'warn' : 'ok'}`}>
        <dt>Last restore test</dt>
        {row.restoreTest === null ? (
          <dd>
            <b>never</b>
            <small>At least one database was never loaded into a server as a test.</small>
          </dd>
        ) : (
          <dd>
            <b>
              <Ago at={row.restoreTest.at} />
            </b>
            <small>
              level {row.restoreTest.level}, <Instant at={row.restoreTest.at} />
              {row.restoreTest.isOfRecoveryPoint ? '' : '; of an older backup'}
            </small>
          </dd>
        )}
      </div>
    </dl>
  );
}

function SetAside({ data }: { readonly data: TargetData }) {
  if (data.setAside.length === 0) return null;
  return (
    <section aria-labelledby="set-aside">
      <h2 id="set-aside">Set-aside data</h2>
      <ul className="plain">
        {data.setAside.map(({ name, of, at, restoreJobId }) => (
          <li key={name}>
            <code>{name}</code>
            {of !== null && ` was ${of}`}
            {at !== null && (
              <>
                , set aside <Ago at={at} />
              </>
            )}
            {restoreJobId !== null && (
              <>
                {' '}
                <Link to="/jobs/$jobId" params={{ jobId: restoreJobId }}>
                  by this restore
                </Link>
              </>
            )}
          </li>
        ))}
      </ul>
    </section>
  );
}

/** One target: the three answers, the timeline of what can be restored, its databases, backups and jobs. */
export function Target() {
  const params = route.useParams();
  const name = `${params.environment}/${params.host}/${params.target}`;
  const { data, error, isPending } = useQuery(targetQuery(name));
  if (isPending) return <Loading what={name} />;
  if (data?.status === undefined || data.target === undefined)
    return <FailureNotice error={error} title={`${name} cannot be shown`} />;
  const { status, target } = data;
  return (
    <>
      <div className="page-head">
        <h1>
          {params.target} <StateMark state={status.state} />
          <small>
            {params.environment}/{params.host} · {target.engine} {target.version ?? ''} · host {status.hostState}
          </small>
        </h1>
        <div className="actions">
          <JobButton
            target={name}
            spec={{ command: 'backup', target: params.target, method: null, contents: null, options: {} }}
            needs="operate"
          >
            Back up now
          </JobButton>
          <JobButton
            target={name}
            spec={{ command: 'verify', target: params.target, backupId: null, level: 4 }}
            needs="operate"
            impossible={target.lastGood === null ? 'There is no good backup to test.' : null}
          >
            Restore test
          </JobButton>
          <Link to="/targets/$environment/$host/$target/restore" params={params} className="button primary">
            Restore …
          </Link>
        </div>
      </div>
      <Answers data={data} />
      <RecoverySection data={data} params={params} />
      <Findings status={status} />
      <DatabaseTable status={status} />
      <BackupTable backups={data.backups} />
      <section aria-labelledby="jobs">
        <h2 id="jobs">Jobs</h2>
        <JobTable jobs={data.jobs} label="Jobs of this target" isOfOneTarget />
      </section>
      <SetAside data={data} />
    </>
  );
}
