import type { ControlJob, ControlLedger } from '@lastgood/protocol';
import { type Faults, ordinary, rollbacks, zombies } from './faults.ts';
import { changeJobs, type Mutation, real, reduceWith, withoutDuty } from './mutated-reducers.ts';

const scheduled: Faults = { ...ordinary, name: 'ordinary, with schedules', schedules: 1 };
/** Few things fail, so that jobs end and are due again. */
const calm = {
  ...{ schedules: 1, agents: 1, steps: 600, crash: 0.002, innerCrash: 0, cut: 0.002, loss: 0, hold: 0, redial: 0 },
  clock: 0,
};
/** An agent that soon forgets what has ended. */
const forgetful: Faults = { ...ordinary, ...calm, name: 'forgetful', forget: 2, forgetAfterMs: 0 };
const command = { kind: 'command', by: 'a person' } as const;

/** Lets a reducer see the occurrences of schedules as jobs that only the control plane creates. */
function asCommands(ledger: ControlLedger, reduce: (ledger: ControlLedger) => ControlLedger): ControlLedger {
  const origins = new Map([...ledger.jobs.values()].map(({ jobId, origin }) => [jobId, origin]));
  const bare = changeJobs(ledger, (job): ControlJob => ({ ...job, origin: command }));
  return changeJobs(reduce(bare), (job) => ({ ...job, origin: origins.get(job.jobId) ?? job.origin }));
}

/** Catalog and host go back at the same time, and little else fails: rotations end, and are due again. */
const bothSetBack: Faults = {
  ...zombies,
  ...calm,
  name: 'host and catalog set back together',
  ...{ rollback: 0, restore: 0, calamity: 0.02 },
};
const setBack: Faults = { ...rollbacks, name: 'rollbacks, with schedules', schedules: 1 };

/** The rules for jobs that an agent creates itself, removed one at a time. */
export const localJobMutations: readonly Mutation[] = [
  {
    rule: 'R2',
    without: 'an occurrence that was forgotten is created again',
    faults: forgetful,
    protocol: reduceWith({
      handleOccurrences: (ledger, ...rest) => {
        const next = real.handleOccurrences({ ...ledger, mintedIds: new Map() }, ...rest);
        return { ...next, mintedIds: new Map([...ledger.mintedIds, ...next.mintedIds]) };
      },
    }),
  },
  {
    rule: 'R12',
    without: 'the cancel of an occurrence that was not sent is local',
    faults: scheduled,
    protocol: reduceWith({
      requestCancel: (ledger, jobId, now) => asCommands(ledger, (bare) => real.requestCancel(bare, jobId, now)),
    }),
  },
  {
    rule: 'R12',
    without: 'an occurrence that was not sent expires at the control plane',
    faults: scheduled,
    protocol: reduceWith({ expireLeases: (ledger, now) => asCommands(ledger, (bare) => real.expireLeases(bare, now)) }),
  },
  {
    rule: 'R17',
    without: 'the report of a job that only the agent knows is confirmed and dropped',
    faults: scheduled,
    protocol: reduceWith({
      receiveReport: (ledger, { events }, now, leaseMs) =>
        real.receiveReport(ledger, { events, jobs: [] }, now, leaseMs),
    }),
  },
  {
    rule: 'R18',
    without: 'an occurrence from the lost days of a catalog may start',
    faults: bothSetBack,
    protocol: reduceWith({
      receiveHello: (...input) => {
        const received = real.receiveHello(...input);
        return { ...received, ledger: { ...received.ledger, completeSince: null } };
      },
    }),
  },
  {
    rule: 'R8',
    without: 'a host that was set back keeps its old schedules',
    faults: setBack,
    protocol: reduceWith({
      receiveHello: (ledger, input, ...rest) => {
        const schedules = ledger.schedules?.revision ?? null;
        return real.receiveHello(ledger, { ...input, schedules }, ...rest);
      },
    }),
  },
  {
    rule: 'R1',
    without: 'an instant is journaled as handled before its job',
    faults: scheduled,
    protocol: withoutDuty('journalOccurrencesWhole'),
  },
];
