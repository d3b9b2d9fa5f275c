import type { JobSpec } from '@lastgood/protocol';
import { useMutation, useQuery } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { type ReactNode, useId } from 'react';
import { api, failureOf } from '../data/client.ts';
import { newIdempotencyKey } from '../data/idempotency-key.ts';
import { useStreamState } from '../data/live.ts';
import { missingScope, type Scope, sessionQuery } from '../data/session.ts';

/** Why nothing may be started now: the scope of the person, or a page that is not current. Null when it may. */
export function useObstacle(needs: Scope): string | null {
  const { data: session } = useQuery(sessionQuery);
  const stream = useStreamState();
  if (stream.kind === 'lost') return 'The control plane does not respond, so nothing can be started.';
  return missingScope(session?.user?.scope ?? 'read', needs);
}

/** Creates a job. A second call with the same key returns the same job, so a retry never makes two. */
export const createJob = (target: string, spec: JobSpec, idempotencyKey: string) =>
  api.createJob.mutate({ target, spec, idempotencyKey });

/** A button that is disabled says why. */
export function ReasonedButton({
  reason,
  onClick,
  className,
  children,
}: {
  readonly reason: string | null;
  readonly onClick: () => void;
  readonly className?: string;
  readonly children: ReactNode;
}) {
  const id = useId();
  return (
    <span className="reasoned">
      <button
        type="button"
        className={className}
        aria-disabled={reason !== null}
        aria-describedby={reason === null ? undefined : id}
        title={reason ?? undefined}
        onClick={() => reason === null && onClick()}
      >
        {children}
      </button>
      {reason !== null && (
        <span id={id} className="visually-hidden">
          {reason}
        </span>
      )}
    </span>
  );
}

/** Starts a job and opens its page. */
export function JobButton({
  target,
  spec,
  needs,
  impossible = null,
  children,
}: {
  readonly target: string;
  readonly spec: JobSpec;
  readonly needs: Scope;
  readonly impossible?: string | null;
  readonly children: ReactNode;
}) {
  const navigate = useNavigate();
  const obstacle = useObstacle(needs);
  const start = useMutation({
    mutationFn: () => createJob(target, spec, newIdempotencyKey()),
    onSuccess: ({ jobId }) => navigate({ to: '/jobs/$jobId', params: { jobId } }),
  });
  const reason = obstacle ?? impossible ?? (start.isPending ? 'The job is being created.' : null);
  return (
    <>
      <ReasonedButton reason={reason} onClick={() => start.mutate()}>
        {children}
      </ReasonedButton>
      {start.error !== null && (
        <span role="alert" className="bad">
          {failureOf(start.error).message}
        </span>
      )}
    </>
  );
}
