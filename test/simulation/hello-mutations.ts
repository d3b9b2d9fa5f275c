import { type ControlJob, type JournalJob, TERMINAL_STATES } from '@lastgood/protocol';
import { type Reducers, realProtocol } from './protocol-under-test.ts';

/** Makes what the agent tells agree with the catalog, so that only some of the differences are seen. */
export const helloWith =
  (change: (told: JournalJob, job: ControlJob) => Partial<JournalJob>, addMissing: boolean): Reducers['receiveHello'] =>
  (ledger, input, now, leaseMs, resetBytes) => {
    if (ledger.mergedIncarnation !== ledger.incarnation)
      return realProtocol.reduce.receiveHello(ledger, input, now, leaseMs, resetBytes);
    const jobs = input.jobs.map((told) => {
      const job = ledger.jobs.get(told.jobId);
      return job === undefined || job.attempt !== told.attempt ? told : { ...told, ...change(told, job) };
    });
    for (const job of addMissing ? ledger.jobs.values() : []) {
      if (jobs.some(({ jobId }) => jobId === job.jobId)) continue;
      const { attempt, lastEventNumber: eventNumber, lastEventId, error, result } = job;
      const history = { eventNumber, lastEventId, lastType: null, open: false, running: false };
      const { jobId, spec, origin, createdAt, startBy, deadlineMs, startedAt, endedAt } = job;
      const described = { jobId, spec, origin, createdAt, startBy, deadlineMs };
      jobs.push({ ...described, attempt, ...history, startedAt, endedAt, error, result });
    }
    return realProtocol.reduce.receiveHello(ledger, { ...input, jobs }, now, leaseMs, resetBytes);
  };
export const asKnown = (told: JournalJob, job: ControlJob): Partial<JournalJob> => {
  if (TERMINAL_STATES.has(job.state)) return { eventNumber: job.lastEventNumber, lastEventId: job.lastEventId };
  return told.eventNumber > job.lastEventNumber
    ? {}
    : { eventNumber: job.lastEventNumber, lastEventId: job.lastEventId };
};
