import { duration } from '@lastgood/core/format';
import type { RunbookView } from '@lastgood/protocol';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { runbookRunsQuery, runbooksQuery } from '../data/queries.ts';
import { DataTable } from '../parts/data-table.tsx';
import { FailureNotice, Loading } from '../parts/failure-notice.tsx';
import { Ago } from '../parts/instant.tsx';

/** How the RTO compares with the last drill. */
const RTO_REMARK: Readonly<Record<RunbookView['rto'], string>> = {
  none: '',
  'never-drilled': 'never measured: no drill has ended',
  'drill-failed': 'not measured: the last drill failed',
  met: 'met by the last drill',
  missed: 'missed by the last drill',
};

function LastRun({ last }: { readonly last: RunbookView['lastRun'] }) {
  if (last === null) return <span className="muted">never</span>;
  const tone = last.state === 'succeeded' ? 'ok' : last.endedAt === null ? '' : 'bad';
  return (
    <Link to="/runs/$runId" params={{ runId: last.runId }}>
      <span className={tone}>{last.state}</span>, <Ago at={last.startedAt} />
      {last.durationMs !== null && `, in ${duration(last.durationMs)}`}
    </Link>
  );
}

function Card({ runbook }: { readonly runbook: RunbookView }) {
  const { name, description, steps, rtoMs, rto, lastRun, lastDrill, drillOverdueSince } = runbook;
  return (
    <section className="panel" aria-labelledby={`runbook-${name}`}>
      <div className="page-head">
        <h2 id={`runbook-${name}`}>{name}</h2>
        <div className="actions">
          <Link to="/runbooks/$runbook/$mode" params={{ runbook: name, mode: 'drill' }} className="button">
            Drill …
          </Link>
          <Link to="/runbooks/$runbook/$mode" params={{ runbook: name, mode: 'run' }} className="button primary">
            Run …
          </Link>
        </div>
      </div>
      {description !== null && <p>{description}</p>}
      <dl className="facts">
        <div>
          <dt>Steps</dt>
          <dd>{steps}</dd>
        </div>
        <div>
          <dt>RTO</dt>
          <dd>
            {rtoMs === null ? 'none is set' : duration(rtoMs)}
            {RTO_REMARK[rto] !== '' && <span className={rto === 'met' ? 'ok' : 'bad'}> ({RTO_REMARK[rto]})</span>}
          </dd>
        </div>
        <div>
          <dt>Last drill</dt>
          <dd>
            <LastRun last={lastDrill} />
            {drillOverdueSince !== null && (
              <span className="bad">
                {' '}
                overdue since <Ago at={drillOverdueSince} />
              </span>
            )}
          </dd>
        </div>
        <div>
          <dt>Last real run</dt>
          <dd>
            <LastRun last={lastRun} />
          </dd>
        </div>
      </dl>
    </section>
  );
}

function Runs() {
  const { data = [] } = useQuery(runbookRunsQuery);
  if (data.length === 0) return null;
  return (
    <section aria-labelledby="runs">
      <h2 id="runs">Runs</h2>
      <DataTable label="Runs of all runbooks" columns={['Run', 'Kind', 'State', 'Started', 'By']}>
        {data.map(({ runId, plan, state, startedAt, startedBy }) => (
          <tr key={runId}>
            <th scope="row">
              <Link to="/runs/$runId" params={{ runId }}>
                {plan.runbook}
              </Link>{' '}
              <code className="muted">{runId.slice(-8)}</code>
            </th>
            <td>{plan.mode === 'drill' ? 'drill' : 'real'}</td>
            <td className={state === 'succeeded' ? 'ok' : state === 'failed' ? 'bad' : ''}>{state}</td>
            <td>
              <Ago at={startedAt} />
            </td>
            <td>{startedBy}</td>
          </tr>
        ))}
      </DataTable>
    </section>
  );
}

/** The runbooks of the fleet file, with their last drill, and every run. */
export function Runbooks() {
  const { data, error, isPending } = useQuery(runbooksQuery);
  if (isPending) return <Loading what="runbooks" />;
  if (data === undefined) return <FailureNotice error={error} title="The runbooks cannot be shown" />;
  return (
    <>
      <h1>Runbooks</h1>
      {data.length === 0 && (
        <p className="empty">
          There are no runbooks. They are part of the fleet file: <code>lastgood apply -f fleet.yaml</code>
        </p>
      )}
      {data.map((runbook) => (
        <Card key={runbook.name} runbook={runbook} />
      ))}
      <Runs />
    </>
  );
}
