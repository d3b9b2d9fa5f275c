import type { AlertView } from '@lastgood/protocol';
import { useMutation, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, failureOf } from '../data/client.ts';
import { alertsQuery } from '../data/queries.ts';
import { queryClient } from '../data/query-client.ts';
import { FailureNotice, Loading } from '../parts/failure-notice.tsx';
import { Ago } from '../parts/instant.tsx';
import { ReasonedButton, useObstacle } from '../parts/job-button.tsx';

/** Open alerts before resolved ones, critical before warning, the newest first. */
const compareAlerts = (a: AlertView, b: AlertView): number =>
  Number(a.resolvedAt !== null) - Number(b.resolvedAt !== null) ||
  Number(a.severity !== 'critical') - Number(b.severity !== 'critical') ||
  b.openedAt - a.openedAt;

function Acknowledge({ alert }: { readonly alert: AlertView }) {
  const obstacle = useObstacle('operate');
  const [note, setNote] = useState('');
  const acknowledge = useMutation({
    mutationFn: () => api.acknowledgeAlert.mutate({ alertId: alert.alertId, note: note === '' ? null : note }),
    onSuccess: () => queryClient.invalidateQueries({ queryKey: alertsQuery.queryKey }),
  });
  if (alert.acknowledged !== null)
    return (
      <>
        acknowledged by {alert.acknowledged.by}, <Ago at={alert.acknowledged.at} />
        {alert.acknowledged.note !== null && `: ${alert.acknowledged.note}`}
      </>
    );
  if (alert.resolvedAt !== null || alert.state === 'pending') return null;
  return (
    <span className="inline">
      <input
        aria-label={`Note on ${alert.code} of ${alert.subject}`}
        placeholder="Note"
        value={note}
        onChange={({ target }) => setNote(target.value)}
      />
      <ReasonedButton reason={obstacle} onClick={() => acknowledge.mutate()}>
        Acknowledge
      </ReasonedButton>
      {acknowledge.error !== null && <span className="bad">{failureOf(acknowledge.error).message}</span>}
    </span>
  );
}

/** The alerts of the fleet, open ones first. */
export function Alerts() {
  const { data, error, isPending } = useQuery(alertsQuery);
  if (isPending) return <Loading what="alerts" />;
  if (data === undefined) return <FailureNotice error={error} title="The alerts cannot be shown" />;
  const open = data.filter(({ resolvedAt }) => resolvedAt === null).length;
  return (
    <>
      <h1>{open === 0 ? 'No open alerts' : open === 1 ? '1 open alert' : `${open} open alerts`}</h1>
      {data.length === 0 ? (
        <p className="empty">
          Alerts follow from the objectives of the fleet file. Channels are named in the notification file.
        </p>
      ) : (
        <ul className="findings">
          {data.toSorted(compareAlerts).map((alert) => (
            <li
              key={alert.alertId}
              className={`finding severity-${alert.severity === 'critical' ? 'error' : 'warning'}`}
            >
              <span className="severity">{alert.resolvedAt === null ? alert.severity : 'resolved'}</span>
              <div>
                {alert.text}
                <p className="remedy">
                  {alert.subject}, since <Ago at={alert.openedAt} />
                  {alert.resolvedAt !== null && (
                    <>
                      , resolved <Ago at={alert.resolvedAt} />
                    </>
                  )}
                </p>
                <Acknowledge alert={alert} />
              </div>
              <code>{alert.code}</code>
            </li>
          ))}
        </ul>
      )}
    </>
  );
}
