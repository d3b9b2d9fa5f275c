import type { AgentCommand, JobDescription, JobSpec, JournalJob } from '@lastgood/protocol';

const backup: JobSpec = { command: 'backup', target: 'shop', method: null, contents: null, options: {} };

/** A backup of the target `shop` that somebody has ordered; it may start for ten minutes from `now`. */
export const aJobDescription = (
  jobId: string,
  more: Partial<JobDescription> = {},
  now = Date.now(),
): JobDescription => ({
  jobId,
  spec: backup,
  origin: { kind: 'command', by: 'test' },
  createdAt: now,
  startBy: now + 600_000,
  deadlineMs: 600_000,
  ...more,
});

/** The first command to an agent: it starts the first attempt of a job. */
export const aStartCommand = (
  jobId: string,
  more: Partial<Extract<AgentCommand, { type: 'job.start' }>> = {},
): Extract<AgentCommand, { type: 'job.start' }> => ({
  ...aJobDescription(jobId),
  seq: 1,
  type: 'job.start',
  attempt: 1,
  ...more,
});

/** A job as the hello of an agent reports it: accepted, and waiting. */
export const aJournalJob = (jobId: string, more: Partial<JournalJob> = {}): JournalJob => ({
  ...aJobDescription(jobId),
  attempt: 1,
  eventNumber: 1,
  lastEventId: 'e1',
  lastType: 'accepted',
  open: true,
  running: false,
  startedAt: null,
  endedAt: null,
  error: null,
  result: null,
  ...more,
});
