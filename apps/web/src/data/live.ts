import { useEffect, useSyncExternalStore } from 'react';
import { api, isSignedOut } from './client.ts';
import { jobQuery } from './queries.ts';
import { queryClient } from './query-client.ts';
import { sessionQuery } from './session.ts';

/** Without a sign of life for this long the stream is lost: three times the interval of the control plane. */
const SILENT_MS = 6_000;
const RETRY_MS = 1_000;

export type StreamState =
  | { readonly kind: 'connecting' }
  | { readonly kind: 'live'; readonly atMs: number }
  /** What the page shows is as old as `sinceMs`; null when the stream never began. */
  | { readonly kind: 'lost'; readonly sinceMs: number | null };

let state: StreamState = { kind: 'connecting' };
const listeners = new Set<() => void>();
function publish(next: StreamState): void {
  state = next;
  for (const listener of listeners) listener();
}
const subscribe = (listener: () => void): (() => void) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};

/** Whether the page shows what the control plane knows now. */
export const useStreamState = (): StreamState => useSyncExternalStore(subscribe, () => state);

const aliveAt = (): number | null =>
  state.kind === 'live' ? state.atMs : state.kind === 'lost' ? state.sinceMs : null;

function receiveAlive(): void {
  const wasLost = state.kind === 'lost';
  publish({ kind: 'live', atMs: Date.now() });
  // What was missed meanwhile is read at once; a plan that a person consents to stays the one they have read.
  const kept: unknown[] = ['session', 'runbook-plan'];
  if (wasLost) void queryClient.invalidateQueries({ predicate: ({ queryKey }) => !kept.includes(queryKey[0]) });
}

/** A job as the API serves it. */
type ServedJob = Awaited<ReturnType<typeof api.job.query>>;

function receiveJob(job: ServedJob): void {
  const { queryKey } = jobQuery(job.jobId);
  const before = queryClient.getQueryData(queryKey);
  queryClient.setQueryData(queryKey, job);
  if (before?.endedAt === null && job.endedAt !== null)
    void queryClient.invalidateQueries({ predicate: ({ queryKey: [kind] }) => kind !== 'session' && kind !== 'job' });
}

/** Watches until the returned function is called; begins again after every end and every loss. */
function watch(jobId: string | undefined): () => void {
  let stopped = false;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let silence: ReturnType<typeof setTimeout> | undefined;
  let unsubscribe = (): void => undefined;
  const lose = (): void => publish({ kind: 'lost', sinceMs: aliveAt() });
  const expectLife = (): void => {
    clearTimeout(silence);
    silence = setTimeout(lose, SILENT_MS);
  };
  const begin = (): void => {
    if (stopped) return;
    const again = (): void => {
      clearTimeout(retry);
      retry = setTimeout(begin, RETRY_MS);
    };
    ({ unsubscribe } = api.watch.subscribe(jobId === undefined ? {} : { jobId }, {
      onData: (event) => {
        expectLife();
        if (event.kind === 'alive') receiveAlive();
        else receiveJob(event.job);
      },
      onConnectionStateChange: ({ state: connection, error }) => {
        if (connection === 'connecting' && error !== null) lose();
      },
      onError: (error) => {
        if (isSignedOut(error)) queryClient.setQueryData(sessionQuery.queryKey, { user: null, version: '' });
        else lose();
        again();
      },
      onComplete: () => begin(),
    }));
  };
  expectLife();
  begin();
  return () => {
    stopped = true;
    clearTimeout(retry);
    clearTimeout(silence);
    unsubscribe();
  };
}

/** Keeps the stream of the page open; with a job, its newest state arrives in the query of that job. */
export function useLiveStream(jobId: string | undefined): void {
  useEffect(() => watch(jobId), [jobId]);
}
