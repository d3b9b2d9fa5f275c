import {
  type AgentCommand,
  type AgentLedger,
  acceptCommand,
  type ControlJob,
  type ControlLedger,
  createJob,
  dispatch,
  type EventFactory,
  emptyAgentLedger,
  emptyControlLedger,
  type HelloAnswer,
  type HelloInput,
  helloOf,
  type JobEvent,
  type JobOrigin,
  type JobReport,
  type JobSpec,
  receiveHello,
} from '@lastgood/protocol';

export const NOW = 1_000_000;
export const LEASE = 90_000;
export const backup: JobSpec = {
  command: 'backup',
  target: 'shop',
  method: null,
  contents: null,
  options: { digests: true },
};
export const restore: JobSpec = {
  command: 'restore',
  target: 'shop',
  request: {
    scope: { kind: 'database', database: 'shop' },
    point: { kind: 'backup', backupId: '00000000-0000-4000-8000-0000000000b1' },
    into: { way: 'swap' },
    options: {},
  },
  planHash: '0'.repeat(64),
};
const byTest: JobOrigin = { kind: 'command', by: 'test' };
/** Report of events without jobs of the agent's own. */
export const reportOf = (...events: JobEvent[]): JobReport => ({ events, jobs: [] });
export const jobId = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
export const ONE = jobId(1);
export const TWO = jobId(2);

/** Event ids that count up with a prefix of their own, so that two histories differ. */
export function minting(prefix = 'e'): EventFactory {
  let count = 0;
  return {
    now: NOW,
    eventId: () => {
      count += 1;
      return `${prefix}${count}`;
    },
  };
}
export const start = (seq: number, id: string, spec: JobSpec, attempt = 1): AgentCommand => ({
  seq,
  type: 'job.start',
  jobId: id,
  attempt,
  spec,
  origin: byTest,
  createdAt: NOW,
  startBy: NOW + 60_000,
  deadlineMs: 60_000,
});
export const welcome = () => null;
export const accept = (ledger: AgentLedger, command: AgentCommand, eventFactory: EventFactory): AgentLedger =>
  acceptCommand(ledger, command, eventFactory, welcome).ledger;
/** An agent that has accepted one job. */
export const agentWith = (spec: JobSpec, eventFactory: EventFactory): AgentLedger =>
  accept({ ...emptyAgentLedger, incarnation: 'inc-1' }, start(1, ONE, spec), eventFactory);

export const emptyControl = (): ControlLedger => emptyControlLedger('agent-1', 'inc-1');
export const withJob = (ledger: ControlLedger, spec: JobSpec, id = ONE, origin: JobOrigin = byTest): ControlLedger =>
  createJob(ledger, { jobId: id, spec, origin, createdAt: NOW, startBy: NOW + 60_000, deadlineMs: 60_000 });
/** A control plane that has dispatched one job over. */
export const controlWith = (spec: JobSpec): ControlLedger => dispatch(withJob(emptyControl(), spec), 0, 32).ledger;
export const jobOf = (ledger: ControlLedger, id = ONE): ControlJob => {
  const job = ledger.jobs.get(id);
  if (job === undefined) throw new Error(`no job ${id}`);
  return job;
};

export const helloFrom = (ledger: AgentLedger): HelloInput => ({
  instanceId: jobId(99),
  capabilities: [],
  clock: NOW,
  agentVersion: '0.1.0',
  signingKey: 'ed25519:test',
  newestEpoch: 0,
  protocol: 1,
  ...helloOf(ledger),
});
/** The hello of an agent that knows a catalog and reports these jobs. */
export const helloWith = (jobs: HelloInput['jobs']): HelloInput => ({
  ...helloFrom(emptyAgentLedger),
  incarnation: 'inc-1',
  jobs,
});
export const meet = (control: ControlLedger, agent: AgentLedger) => receiveHello(control, helloFrom(agent), NOW, LEASE);
export const answerOf = (met: ReturnType<typeof meet>): HelloAnswer => ({
  sessionId: 's',
  epoch: met.ledger.epoch,
  incarnation: met.ledger.incarnation,
  protocol: 1,
  controlClock: NOW,
  heartbeatMs: 30_000,
  leaseMs: LEASE,
  spreadMs: 0,
  merged: met.merged,
  reset: met.reset,
});
