import type { JobView } from '@lastgood/protocol';
import { useMutation } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { failureOf } from '../data/client.ts';
import { newIdempotencyKey } from '../data/idempotency-key.ts';
import { Consent } from './consent.tsx';
import { createJob, useObstacle } from './job-button.tsx';

/** Takes a restore back that has set data aside. */
export function UndoPanel({ job }: { readonly job: JobView }) {
  const navigate = useNavigate();
  const obstacle = useObstacle('destroy');
  const [isOpen, setOpen] = useState(false);
  const full = `${job.environment}/${job.host}/${job.target}`;
  const undo = useMutation({
    mutationFn: () =>
      createJob(full, { command: 'undo', target: job.target, restoreJobId: job.jobId }, newIdempotencyKey()),
    onSuccess: ({ jobId }) => navigate({ to: '/jobs/$jobId', params: { jobId } }),
  });
  if (job.result?.command !== 'restore' || job.result.setAsideAs === null) return null;
  const { into, setAsideAs } = job.result;
  return (
    <section className="panel" aria-labelledby="undo">
      <h2 id="undo">Undo</h2>
      {isOpen ? (
        <Consent name={into} obstacle={obstacle} act={() => undo.mutate()} label="Undo this restore">
          Undo disconnects the clients of <code>{into}</code> and brings back <code>{setAsideAs}</code>. What is there
          now, with all that was written since the restore, is set aside.
        </Consent>
      ) : (
        <p>
          The data from before the restore is still there as <code>{setAsideAs}</code>.{' '}
          <button type="button" onClick={() => setOpen(true)}>
            Undo …
          </button>
        </p>
      )}
      {undo.error !== null && (
        <p role="alert" className="bad">
          {failureOf(undo.error).message}
        </p>
      )}
    </section>
  );
}
