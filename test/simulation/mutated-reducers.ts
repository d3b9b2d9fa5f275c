import {
  type AgentLedger,
  type ControlJob,
  type ControlLedger,
  type JobEvent,
  jobKey,
  TERMINAL_STATES,
} from '@lastgood/protocol';
import type { Faults } from './faults.ts';
import { type Duties, type Protocol, type Reducers, realProtocol } from './protocol-under-test.ts';

/** One rule of the delivery and the protocol without it. */
export interface Mutation {
  readonly rule: string;
  readonly without: string;
  readonly faults: Faults;
  readonly protocol: Protocol;
  /** What protects as well, so that the simulation does not notice the loss of this rule alone. */
  readonly backedBy?: string;
}

export const real = realProtocol.reduce;
export const reduceWith = (changes: Partial<Reducers>): Protocol => ({
  ...realProtocol,
  reduce: { ...real, ...changes },
});
export const withoutDuty = (duty: keyof Duties): Protocol => ({
  ...realProtocol,
  duties: { ...realProtocol.duties, [duty]: false },
});
export const changeJobs = (ledger: ControlLedger, change: (job: ControlJob) => ControlJob): ControlLedger => ({
  ...ledger,
  jobs: new Map([...ledger.jobs].map(([id, job]) => [id, change(job)])),
});
export const merged = (ledger: ControlLedger): ControlLedger => ({ ...ledger, mergedIncarnation: ledger.incarnation });
export const unmergedAgain = (before: ControlLedger, after: ControlLedger): ControlLedger => ({
  ...after,
  mergedIncarnation: before.mergedIncarnation,
});

/** R2: a command that was taken before is taken again. */
export const acceptCommand: Reducers['acceptCommand'] = (ledger, command, eventFactory, refuse) => {
  if (command.seq > ledger.lastSeq || command.type !== 'job.start') {
    return real.acceptCommand(ledger, command, eventFactory, refuse);
  }
  const jobs = new Map(ledger.jobs);
  jobs.delete(jobKey(command.jobId, command.attempt));
  const again = { ...command, seq: ledger.lastSeq + 1 };
  const taken = real.acceptCommand({ ...ledger, jobs }, again, eventFactory, refuse);
  return { ...taken, ledger: { ...taken.ledger, lastSeq: ledger.lastSeq } };
};

/** Makes events look like the next ones of the job, whatever they are. */
export const asNext = (ledger: ControlLedger, event: JobEvent, number: boolean): JobEvent => {
  const job = ledger.jobs.get(event.jobId);
  if (job === undefined || event.attempt !== job.attempt || TERMINAL_STATES.has(job.state)) return event;
  return {
    ...event,
    eventNumber: number ? job.lastEventNumber + 1 : event.eventNumber,
    previousEventId: job.lastEventId,
  };
};
/** Applies events one by one after `change`; the agent gets its own ids back. */
export const reportWith =
  (change: (ledger: ControlLedger, event: JobEvent) => JobEvent): Reducers['receiveReport'] =>
  (ledger, { events, jobs }, now, leaseMs) => {
    let next = ledger;
    const acceptedIds: string[] = [];
    for (const event of events) {
      const received = real.receiveReport(next, { events: [change(next, event)], jobs }, now, leaseMs);
      next = received.ledger;
      if (received.diverged) return { ...received, acceptedIds };
      acceptedIds.push(event.id);
    }
    return { ledger: next, acceptedIds, diverged: false };
  };

/** R5: what ran when the agent died is simply begun again. */
export const recoverAfterCrash: Reducers['recoverAfterCrash'] = (ledger) => ({
  ...ledger,
  jobs: new Map(
    [...ledger.jobs].map(([key, job]) => [key, job.state === 'running' ? { ...job, state: 'accepted' } : job]),
  ),
});

/** R9: a job without a report is sent again. */
export const expireLeases: Reducers['expireLeases'] = (ledger, now) => {
  let next = real.expireLeases(ledger, now);
  for (const job of next.jobs.values()) {
    if (job.state !== 'lost') continue;
    const { jobId, spec, origin, createdAt, startBy, deadlineMs } = job;
    const attempt = job.attempt + 1;
    const seq = next.commandSeq + 1;
    const fresh = {
      state: 'queued',
      attempt,
      lastEventNumber: 0,
      lastEventId: null,
      grantedNonce: null,
      dispatched: false,
    } as const;
    const jobs = new Map(next.jobs).set(jobId, { ...job, ...fresh });
    const start = { seq, type: 'job.start', jobId, attempt, spec, origin, createdAt, startBy, deadlineMs } as const;
    next = { ...next, jobs, commandSeq: seq, outbox: [...next.outbox, start] };
  }
  return next;
};

/** R12: what is canceled before it was sent is taken out of the sequence. */
export const requestCancel: Reducers['requestCancel'] = (ledger, jobId, now) => {
  const next = real.requestCancel(ledger, jobId, now);
  const gone = next.outbox.filter(
    ({ seq, type }) => type !== 'noop' || ledger.outbox.some((o) => o.seq === seq && o.type === type),
  );
  return { ...next, outbox: gone };
};

/** R12: what has ended stays in the outbox as it was sent. */
export const receiveReportWithoutTombstones: Reducers['receiveReport'] = (ledger, report, now, leaseMs) => {
  const received = real.receiveReport(ledger, report, now, leaseMs);
  const outbox = received.ledger.outbox.map(
    (command) => ledger.outbox.find(({ seq }) => seq === command.seq) ?? command,
  );
  return { ...received, ledger: { ...received.ledger, outbox } };
};

export const severalPerTarget: Reducers['startableJobs'] = (ledger: AgentLedger) =>
  [...ledger.jobs.values()].filter((job) => job.state === 'accepted');

/** Every rule, taken away one at a time. */
