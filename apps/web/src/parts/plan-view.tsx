import { bytes, duration } from '@lastgood/core/format';
import type { RestorePlanSummary, RestoreScope } from '@lastgood/protocol';
import { DetailValue } from './detail-value.tsx';
import { FindingList } from './findings.tsx';
import { Instant } from './instant.tsx';

function scopeText(scope: RestoreScope): string {
  switch (scope.kind) {
    case 'server':
      return 'the whole server';
    case 'database':
      return `database “${scope.database}”`;
    case 'tables':
      return `${scope.tables.join(', ')} of database “${scope.database}”`;
  }
}

/** Everything a person must know before they consent to a restore. */
export function PlanView({ plan }: { readonly plan: RestorePlanSummary }) {
  const { request, hash } = plan;
  const isSwap = request.into.way === 'swap';
  return (
    <section className="panel plan" aria-labelledby="plan">
      <h2 id="plan">
        Plan <code title={hash}>{hash.slice(0, 12)}</code>
      </h2>
      <p>
        Restore {scopeText(request.scope)} of <Instant at={plan.recoveryPoint} /> into <code>{plan.into}</code>.
      </p>
      <dl className="facts">
        <div>
          <dt>Reads</dt>
          <dd>
            {bytes(plan.readBytes)} of {plan.method} backup <code>{plan.backupId.slice(-12)}</code>
          </dd>
        </div>
        <div>
          <dt>{isSwap ? 'Sets aside' : 'Overwrites'}</dt>
          <dd>
            {plan.replaces.length === 0 ? (
              'nothing'
            ) : (
              <b className={isSwap ? 'warn' : 'bad'}>{plan.replaces.join(', ')}</b>
            )}
            {isSwap && plan.replaces.length > 0 && '; undo brings it back'}
          </dd>
        </div>
        <div>
          <dt>Missing at the destination</dt>
          <dd>{plan.missing.map(({ kind, name }) => `${kind} ${name}`).join(', ') || 'nothing'}</dd>
        </div>
        <div>
          <dt>Space</dt>
          <dd>
            needs {bytes(plan.needBytes)},{' '}
            {plan.freeBytes === null ? 'free space unknown' : `${bytes(plan.freeBytes)} free`}
          </dd>
        </div>
        <div>
          <dt>Duration</dt>
          <dd>
            {plan.estimatedMs === null
              ? 'not known: nothing comparable was measured'
              : `about ${duration(plan.estimatedMs)}`}
          </dd>
        </div>
        {plan.details.map((detail) => (
          <div key={detail.label}>
            <dt>{detail.label}</dt>
            <dd>
              <DetailValue detail={detail} />
            </dd>
          </div>
        ))}
      </dl>
      {plan.refusals.length > 0 && (
        <FindingList findings={plan.refusals.map((refusal) => ({ ...refusal, severity: 'error' }))} />
      )}
      {plan.warnings.length > 0 && <FindingList findings={plan.warnings} />}
    </section>
  );
}
