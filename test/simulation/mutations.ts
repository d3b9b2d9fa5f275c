import { type ControlJob, TERMINAL_STATES } from '@lastgood/protocol';
import { disasters, type Faults, ordinary, rollbacks, zombies } from './faults.ts';
import { asKnown, helloWith } from './hello-mutations.ts';
import { localJobMutations } from './local-job-mutations.ts';
import {
  acceptCommand,
  asNext,
  changeJobs,
  expireLeases,
  type Mutation,
  merged,
  real,
  receiveReportWithoutTombstones,
  recoverAfterCrash,
  reduceWith,
  reportWith,
  requestCancel,
  severalPerTarget,
  unmergedAgain,
  withoutDuty,
} from './mutated-reducers.ts';

/** Long, with many connections that speak up late, and without schedules. */
const oldConnections: Faults = {
  ...zombies,
  name: 'old connections',
  schedules: 0,
  steps: 800,
  redial: 0.05,
  calamity: 0.02,
};
/** Every rule, removed one at a time. */
export const mutations: readonly Mutation[] = [
  {
    rule: 'R1',
    without: 'the agent acknowledges before it journals',
    faults: ordinary,
    protocol: withoutDuty('journalBeforeAck'),
  },
  {
    rule: 'R1',
    without: 'the agent begins before it journals `running`',
    faults: ordinary,
    protocol: withoutDuty('journalBeforeEffect'),
  },
  {
    rule: 'R1',
    without: 'the control plane sends before it commits',
    faults: ordinary,
    protocol: withoutDuty('commitBeforeSend'),
  },
  {
    rule: 'R2',
    without: 'a repeated command is accepted again',
    faults: ordinary,
    protocol: reduceWith({ acceptCommand }),
  },
  {
    rule: 'R3',
    without: 'events are applied regardless of their number',
    faults: ordinary,
    protocol: reduceWith({ receiveReport: reportWith((ledger, event) => asNext(ledger, event, true)) }),
  },
  {
    rule: 'R4',
    without: 'events of an older attempt are applied to the newest',
    faults: ordinary,
    protocol: reduceWith({
      receiveReport: reportWith((ledger, event) => {
        const job = ledger.jobs.get(event.jobId);
        if (job === undefined || event.attempt >= job.attempt || TERMINAL_STATES.has(job.state)) return event;
        return {
          ...event,
          attempt: job.attempt,
          eventNumber: job.lastEventNumber + 1,
          previousEventId: job.lastEventId,
        };
      }),
    }),
  },
  {
    rule: 'R5',
    without: 'an interrupted attempt begins again',
    faults: ordinary,
    protocol: reduceWith({ recoverAfterCrash }),
  },
  {
    rule: 'R6',
    without: 'destructive jobs begin without a grant',
    faults: ordinary,
    protocol: reduceWith({
      nextStep: (ledger, job, when) => real.nextStep(ledger, { ...job, class: 'safe' }, when),
    }),
  },
  { rule: 'R6', without: 'a grant never expires', faults: ordinary, protocol: withoutDuty('endGrants') },
  {
    rule: 'R7',
    without: 'unconfirmed events are lost with the process',
    faults: ordinary,
    protocol: withoutDuty('durableOutbox'),
  },
  {
    rule: 'R8',
    without: 'a session resumes after the last command sent, not the last acknowledged',
    faults: ordinary,
    protocol: withoutDuty('resumeFromAck'),
  },
  { rule: 'R9', without: 'a lost job is sent again', faults: ordinary, protocol: reduceWith({ expireLeases }) },
  {
    rule: 'R10',
    without: 'older sessions stay valid',
    faults: oldConnections,
    protocol: withoutDuty('fenceSessions'),
  },
  {
    rule: 'R10',
    without: 'a delayed hello on an older connection is accepted',
    faults: oldConnections,
    protocol: withoutDuty('refuseOlderLinks'),
  },
  {
    rule: 'R11',
    without: 'jobs begin after their start-by time',
    faults: ordinary,
    protocol: reduceWith({ nextStep: (ledger, job, { grant }) => real.nextStep(ledger, job, { now: 0, grant }) }),
  },
  {
    rule: 'R11',
    without: 'a clock that is set back lets a closed job begin',
    faults: ordinary,
    protocol: reduceWith({
      grantStart: (ledger, ...asked) =>
        real.grantStart(
          changeJobs(ledger, ({ closedAt: _, ...job }) => job),
          ...asked,
        ),
    }),
  },
  {
    rule: 'R12',
    without: 'a canceled command is deleted instead of replaced by a no-op',
    faults: ordinary,
    protocol: reduceWith({ requestCancel }),
  },
  {
    rule: 'R12',
    without: 'the start of a job that has ended stays in the outbox',
    faults: { ...rollbacks, name: 'rollbacks, without schedules', schedules: 0 },
    protocol: reduceWith({ receiveReport: receiveReportWithoutTombstones }),
  },
  {
    rule: 'R13',
    without: 'a host reset is not detected',
    faults: rollbacks,
    protocol: reduceWith({
      receiveHello: (ledger, input, now, leaseMs) => ({
        ...real.receiveHello(ledger, input, now, leaseMs),
        reset: null,
      }),
    }),
  },
  {
    rule: 'R13',
    without: 'only the command number is compared, not the jobs',
    faults: rollbacks,
    protocol: reduceWith({ receiveHello: helloWith(asKnown, true) }),
  },
  {
    rule: 'R13',
    without: 'the response to a hello is compared with the current journal, not with the reported one',
    faults: rollbacks,
    protocol: withoutDuty('keepSentJobs'),
    backedBy: 'R14: nothing moves in a journal that was set back before the answer is there',
  },
  {
    rule: 'R13',
    without: 'jobs that the response to a hello overrules keep running',
    faults: rollbacks,
    protocol: withoutDuty('stopOverruled'),
    backedBy: 'R14: nothing runs yet when a host learns that it was set back',
  },
  {
    rule: 'R13',
    without: 'a cancel that is missing in a restored journal is not sent again',
    faults: rollbacks,
    protocol: reduceWith({
      receiveHello: (ledger, input, now, leaseMs) => {
        const asked = new Set([...ledger.jobs.values()].filter((job) => job.cancelRequested).map(({ jobId }) => jobId));
        const quiet = changeJobs(ledger, (job) => ({ ...job, cancelRequested: false }));
        const received = real.receiveHello(quiet, input, now, leaseMs);
        const back = changeJobs(received.ledger, (job) => ({ ...job, cancelRequested: asked.has(job.jobId) }));
        return { ...received, ledger: back };
      },
    }),
  },
  {
    rule: 'R13',
    without: 'conflicts that exceed the size limit of one response are not in the next',
    faults: rollbacks,
    protocol: reduceWith({
      receiveHello: (...input) => ({ ...real.receiveHello(...input), more: false }),
    }),
  },
  {
    rule: 'R13',
    without: 'conflicting histories may also be reported in a later response',
    faults: rollbacks,
    protocol: reduceWith({
      receiveHello: (...input) => {
        const received = real.receiveHello(...input);
        if (received.reset === null || received.reset.jobs.length < 2) return received;
        return { ...received, reset: { ...received.reset, jobs: received.reset.jobs.slice(-1) }, more: true };
      },
    }),
  },
  {
    rule: 'R14',
    without: 'a restarted agent begins jobs before it receives the response to its hello',
    faults: rollbacks,
    protocol: withoutDuty('waitForHello'),
  },
  {
    rule: 'R15',
    without: 'an attempt may be granted twice',
    faults: rollbacks,
    protocol: reduceWith({
      grantStart: (ledger, jobId, attempt, nonce, now) =>
        real.grantStart(
          changeJobs(ledger, (job) => ({ ...job, grantedNonce: null })),
          jobId,
          attempt,
          nonce,
          now,
        ),
    }),
  },
  {
    rule: 'R16',
    without: 'histories are compared by their length only',
    faults: rollbacks,
    protocol: reduceWith({
      receiveReport: reportWith((ledger, event) => {
        const job = ledger.jobs.get(event.jobId);
        const last = job !== undefined && event.attempt === job.attempt && event.eventNumber === job.lastEventNumber;
        return last && job.lastEventId !== null ? { ...event, id: job.lastEventId } : asNext(ledger, event, false);
      }),
      receiveHello: helloWith(
        (told, job) => (told.eventNumber === job.lastEventNumber ? { lastEventId: job.lastEventId } : {}),
        false,
      ),
    }),
  },
  {
    rule: 'R17',
    without: 'a restored catalog is used without a merge',
    faults: disasters,
    protocol: reduceWith({ afterCatalogRestore: (ledger) => ledger }),
  },
  {
    rule: 'R17',
    without: 'a restored catalog makes decisions before it has received the journal of the agent',
    faults: disasters,
    protocol: reduceWith({
      requestCancel: (ledger, jobId, now) => unmergedAgain(ledger, real.requestCancel(merged(ledger), jobId, now)),
      expireLeases: (ledger, now) => unmergedAgain(ledger, real.expireLeases(merged(ledger), now)),
    }),
  },
  {
    rule: 'R17',
    without: 'jobs that exist only in the journal are not adopted',
    faults: disasters,
    protocol: reduceWith({
      receiveHello: (ledger, input, now, leaseMs) =>
        real.receiveHello(
          ledger,
          { ...input, jobs: input.jobs.filter(({ jobId }) => ledger.jobs.has(jobId)) },
          now,
          leaseMs,
        ),
    }),
  },
  {
    rule: 'R17',
    without: 'an outcome learned from `hello` is not filled in by the later event',
    faults: disasters,
    protocol: reduceWith({
      receiveReport: (ledger, report, now, leaseMs) => {
        const received = real.receiveReport(ledger, report, now, leaseMs);
        const untold = (job: ControlJob): boolean => TERMINAL_STATES.has(job.state) && job.result === null;
        const before = [...ledger.jobs.values()].filter(untold);
        const jobs = new Map(received.ledger.jobs);
        for (const job of before) jobs.set(job.jobId, job);
        return { ...received, ledger: { ...received.ledger, jobs } };
      },
    }),
  },
  {
    rule: 'R18',
    without: 'a catalog restore does not freeze open destructive jobs',
    faults: disasters,
    protocol: reduceWith({
      afterCatalogRestore: (ledger, incarnation) =>
        changeJobs(real.afterCatalogRestore(ledger, incarnation), (job) => ({ ...job, frozen: false })),
      receiveHello: (ledger, input, now, leaseMs) => {
        const received = real.receiveHello(ledger, input, now, leaseMs);
        return { ...received, ledger: changeJobs(received.ledger, (job) => ({ ...job, frozen: false })) };
      },
    }),
  },
  {
    rule: 'lookup',
    without: 'ended jobs that a message names are not looked up in the catalog',
    faults: rollbacks,
    protocol: withoutDuty('lookUpEnded'),
  },
  {
    rule: 'one writer',
    without: 'several jobs of one target run at once',
    faults: ordinary,
    protocol: reduceWith({ startableJobs: severalPerTarget }),
  },
  {
    rule: 'cancel',
    without: 'a grant is issued after a cancel request',
    faults: ordinary,
    protocol: reduceWith({
      grantStart: (ledger, jobId, attempt, nonce, now) => {
        const free = changeJobs(ledger, (job) => ({ ...job, cancelRequested: false }));
        const asked = real.grantStart(free, jobId, attempt, nonce, now);
        const wanted = ledger.jobs.get(jobId)?.cancelRequested ?? false;
        const job = asked.ledger.jobs.get(jobId);
        if (job === undefined) return { ...asked, ledger };
        const jobs = new Map(ledger.jobs).set(jobId, { ...job, cancelRequested: wanted });
        return { ...asked, ledger: { ...ledger, jobs } };
      },
    }),
  },
  ...localJobMutations,
];
