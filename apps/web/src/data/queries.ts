import { keepPreviousData, queryOptions } from '@tanstack/react-query';
import { api } from './client.ts';

/** How often a page that is open asks for the newest data. */
const REFRESH_MS = 5_000;
const DAY_MS = 86_400_000;
/** How far the timeline of a target reaches back and ahead. */
export const TIMELINE_PAST_MS = 7 * DAY_MS;
export const TIMELINE_AHEAD_MS = DAY_MS;

export const fleetQuery = queryOptions({
  queryKey: ['fleet'],
  queryFn: ({ signal }) => api.status.query({}, { signal }),
  refetchInterval: REFRESH_MS,
});

/** Everything about one target, by its full name. One request carries all of it. */
export const targetQuery = (target: string) =>
  queryOptions({
    queryKey: ['target', target],
    queryFn: async ({ signal }) => {
      const nowMs = Date.now();
      const [statuses, targets, backups, jobs, setAside, occurrences] = await Promise.all([
        api.status.query({ target }, { signal }),
        api.targets.query({ target }, { signal }),
        api.backups.query({ target, limit: 1000 }, { signal }),
        api.jobs.query({ target, limit: 20 }, { signal }),
        api.setAside.query({ target }, { signal }),
        api.occurrences.query(
          { target, limit: 1000, fromMs: nowMs - TIMELINE_PAST_MS, untilMs: nowMs + TIMELINE_AHEAD_MS },
          { signal },
        ),
      ]);
      return { status: statuses[0], target: targets[0], backups, jobs, setAside, occurrences, readAt: nowMs };
    },
    refetchInterval: REFRESH_MS,
    placeholderData: keepPreviousData,
  });
export type TargetData = Awaited<ReturnType<NonNullable<ReturnType<typeof targetQuery>['queryFn']>>>;

export const jobsQuery = queryOptions({
  queryKey: ['jobs'],
  queryFn: ({ signal }) => api.jobs.query({ limit: 200 }, { signal }),
  refetchInterval: REFRESH_MS,
});

export const jobQuery = (jobId: string) =>
  queryOptions({ queryKey: ['job', jobId], queryFn: ({ signal }) => api.job.query({ jobId }, { signal }) });

export const alertsQuery = queryOptions({
  queryKey: ['alerts'],
  queryFn: ({ signal }) => api.alerts.query({ all: true, limit: 200 }, { signal }),
  refetchInterval: REFRESH_MS,
});

export const hostsQuery = queryOptions({
  queryKey: ['hosts'],
  queryFn: ({ signal }) => api.hosts.query({}, { signal }),
  refetchInterval: REFRESH_MS,
});

export const occurrencesQuery = queryOptions({
  queryKey: ['occurrences'],
  queryFn: ({ signal }) => {
    const nowMs = Date.now();
    const span = { fromMs: nowMs - TIMELINE_AHEAD_MS, untilMs: nowMs + TIMELINE_AHEAD_MS };
    return api.occurrences.query({ limit: 1000, ...span }, { signal });
  },
  refetchInterval: REFRESH_MS,
});

export const runbooksQuery = queryOptions({
  queryKey: ['runbooks'],
  queryFn: ({ signal }) => api.runbooks.query({}, { signal }),
  refetchInterval: REFRESH_MS,
});

export const runbookRunsQuery = queryOptions({
  queryKey: ['runs'],
  queryFn: ({ signal }) => api.runbookRuns.query({ limit: 50 }, { signal }),
  refetchInterval: REFRESH_MS,
});

/** A plan is read once: consent is bound to the one that was shown. */
export const runbookPlanQuery = (runbook: string, mode: 'run' | 'drill') =>
  queryOptions({
    queryKey: ['runbook-plan', runbook, mode],
    queryFn: ({ signal }) => api.planRunbook.query({ runbook, mode }, { signal }),
    staleTime: Number.POSITIVE_INFINITY,
    refetchOnWindowFocus: false,
  });

/** A run that has not ended is read every second. */
export const runQuery = (runId: string) =>
  queryOptions({
    queryKey: ['run', runId],
    queryFn: ({ signal }) => api.runbookRun.query({ runId }, { signal }),
    refetchInterval: ({ state }) => (state.data?.run.endedAt == null ? 1_000 : false),
  });
