import {
  type AgentLedger,
  acknowledge,
  adoptHelloAnswer,
  afterCatalogRestore,
  type ControlLedger,
  dispatch,
  emptyAgentLedger,
  finishJob,
  grantStart,
  helloOf,
  jobKey,
  markRunning,
  receiveReport,
  reportBatch,
  requestCancel,
} from '@lastgood/protocol';
import { expect, test } from 'vitest';
import {
  agentWith,
  answerOf,
  backup,
  controlWith,
  emptyControl,
  jobOf,
  LEASE,
  meet,
  minting,
  NOW,
  ONE,
  restore,
  withJob,
} from './ledgers.ts';

const KEY = jobKey(ONE, 1);
const done = { type: 'succeeded', error: null, result: null } as const;
const told = (control: ControlLedger, agent: AgentLedger) =>
  receiveReport(control, reportBatch(agent), NOW, LEASE).ledger;
const adopt = (agent: AgentLedger, met: ReturnType<typeof meet>) =>
  adoptHelloAnswer(agent, helloOf(agent).jobs, answerOf(met), minting('h'));

/** Both sides, with the job running and everything reported. */
function inStep(spec = backup) {
  const eventFactory = minting();
  const accepted = agentWith(spec, eventFactory);
  const agent = markRunning(accepted, KEY, eventFactory);
  return { eventFactory, accepted, agent, control: acknowledge(told(controlWith(spec), agent), 1) };
}

test('a hello begins a new session, is an acknowledgement and brings a lost job back', () => {
  const { agent, control } = inStep();
  const lost: ControlLedger = { ...control, acked: 0, jobs: new Map([[ONE, { ...jobOf(control), state: 'lost' }]]) };
  const met = meet(lost, agent);
  expect(met).toMatchObject({ merged: null, reset: null, ledger: { epoch: 1, acked: 1, outbox: [] } });
  expect(jobOf(met.ledger)).toMatchObject({ state: 'running', leaseUntil: NOW + LEASE });
  expect(adopt(agent, met)).toEqual({ ...agent, reconciled: true });
});

test('a command that never arrived is sent again, nobody is accused', () => {
  const met = meet(controlWith(restore), { ...emptyAgentLedger, incarnation: 'inc-1' });
  expect(met.reset).toBeNull();
  expect(dispatch(met.ledger, met.ledger.acked, 32).commands).toMatchObject([{ type: 'job.start', seq: 1 }]);
});

test('R13: a host set back before the job was accepted receives it and reports it as interrupted', () => {
  const { control } = inStep();
  const met = meet(control, { ...emptyAgentLedger, incarnation: 'inc-1' });
  expect(met.reset).toMatchObject({
    seq: 1,
    jobs: [{ jobId: ONE, lastEventNumber: 2, terminal: false, dispatched: true }],
  });
  const after = adopt(emptyAgentLedger, met);
  expect(after).toMatchObject({ lastSeq: 1, incarnation: 'inc-1' });
  expect(after.jobs.get(KEY)).toMatchObject({ state: 'finished', eventNumber: 3, lastType: 'interrupted' });
  expect(jobOf(told(met.ledger, after))).toMatchObject({ state: 'queued', attempt: 2 });
});

test('R13: a host set back to before a job ended gives it up without a word', () => {
  const { eventFactory, agent, control } = inStep();
  const ended = told(control, finishJob(agent, KEY, done, eventFactory));
  const met = meet(ended, agent);
  expect(met.reset?.jobs).toMatchObject([{ jobId: ONE, terminal: true }]);
  const ledger = adopt(agent, met);
  expect(ledger.jobs.get(KEY)?.state).toBe('finished');
  expect(ledger.outbox).toEqual([]);
  expect(finishJob(ledger, KEY, done, minting())).toBe(ledger);
  expect(meet(met.ledger, ledger).reset).toBeNull();
});

test('R13: the command number alone reveals a host that was set back', () => {
  const { control } = inStep();
  const behind: ControlLedger = { ...control, commandSeq: 5, acked: 5 };
  const agent: AgentLedger = { ...agentWith(backup, minting()), outbox: [] };
  expect(meet({ ...behind, jobs: new Map() }, agent).reset).toEqual({ seq: 5, jobs: [] });
});

test('R16: two histories of equal length are distinguished', () => {
  const { accepted, control } = inStep();
  const other = markRunning(accepted, KEY, minting('other'));
  expect(meet(control, other).reset?.jobs).toMatchObject([{ jobId: ONE }]);
});

test('R15: a destructive attempt whose grant a set-back host has forgotten is not begun again', () => {
  const eventFactory = minting();
  const accepted = agentWith(restore, eventFactory);
  const control = acknowledge(told(controlWith(restore), accepted), 1);
  const granted = grantStart(control, ONE, 1, 'before', NOW).ledger;
  const met = meet(granted, accepted);
  expect(met.reset).toBeNull();
  expect(grantStart(met.ledger, ONE, 1, 'after', NOW)).toMatchObject({ granted: false, reason: 'used' });
});

test('R13: a cancel that a set-back host has forgotten is said again', () => {
  const { agent, control } = inStep();
  const asked = acknowledge(requestCancel(control, ONE, NOW), 2);
  expect(asked.outbox).toEqual([]);
  const met = meet(asked, agent);
  expect(met.ledger.outbox).toMatchObject([{ seq: 3, type: 'job.cancel', jobId: ONE }]);
});

test('R13: an attempt older than the recorded one is given up', () => {
  const { eventFactory, agent, control } = inStep();
  const second = told(control, finishJob(agent, KEY, { ...done, type: 'failed' }, eventFactory));
  const newer: ControlLedger = {
    ...second,
    jobs: new Map([[ONE, { ...jobOf(control), attempt: 2, lastEventNumber: 0, lastEventId: null }]]),
  };
  const met = meet(newer, agent);
  const ledger = adopt(agent, met);
  expect(ledger.jobs.get(KEY)?.state).toBe('finished');
  expect(ledger.outbox.every(({ attempt }) => attempt === 2)).toBe(true);
});

test('R13: the comparison uses what was reported, even if the journal has changed since', () => {
  const { eventFactory, accepted, agent, control } = inStep();
  const ended = told(control, finishJob(agent, KEY, done, eventFactory));
  const met = meet(ended, accepted);
  const moved = finishJob(markRunning(accepted, KEY, minting('x')), KEY, done, minting('y'));
  const ledger = adoptHelloAnswer(moved, helloOf(accepted).jobs, answerOf(met), minting('h'));
  expect(ledger.outbox).toEqual([]);
});

test('R17: a restored catalog takes the agent at its word and numbers above what it has seen', () => {
  const { eventFactory, agent } = inStep();
  const ended = { ...finishJob(agent, KEY, done, eventFactory), lastSeq: 9, outbox: [] };
  const copy = afterCatalogRestore(withJob(emptyControl(), backup), 'inc-2');
  const met = meet(copy, ended);
  expect(met.merged).toEqual({ baseSeq: 9 });
  expect(jobOf(met.ledger)).toMatchObject({ state: 'succeeded', lastEventNumber: 3 });
  const after = adopt(ended, met);
  expect(after).toMatchObject({ incarnation: 'inc-2', lastSeq: 9 });
  expect(meet(met.ledger, after)).toMatchObject({ merged: null, reset: null });
});

test('R17: a job that only the agent knows is adopted, with its end', () => {
  const { eventFactory, agent } = inStep();
  const met = meet(afterCatalogRestore(emptyControl(), 'inc-2'), finishJob(agent, KEY, done, eventFactory));
  expect(jobOf(met.ledger)).toMatchObject({ state: 'succeeded', spec: backup, dispatched: true });
  expect(jobOf(meet(afterCatalogRestore(emptyControl(), 'inc-2'), agent).ledger).state).toBe('running');
});

test('R17: when the answer to the first hello was lost, the second is answered alike', () => {
  const { agent } = inStep();
  const first = meet(afterCatalogRestore(withJob(emptyControl(), backup, KEY), 'inc-2'), agent);
  const second = meet(first.ledger, agent);
  expect(second.reset).toBeNull();
  expect(second.merged).not.toBeNull();
  expect(second.ledger.outbox).toHaveLength(1);
  expect(second.ledger.outbox[0]?.seq).toBe(second.ledger.acked + 1);
});

test('R17: a safe job that the agent never received is sent', () => {
  const agent = { ...emptyAgentLedger, incarnation: 'inc-1', lastSeq: 4 };
  const met = meet(afterCatalogRestore(withJob(emptyControl(), backup), 'inc-2'), agent);
  expect(met.ledger.outbox).toMatchObject([{ seq: 5, type: 'job.start', jobId: ONE, attempt: 1 }]);
});

test('R18: a frozen job gets no grant, takes the agent verdict, and is over when the agent does not know it', () => {
  const accepted = agentWith(restore, minting());
  const copy = afterCatalogRestore(withJob(emptyControl(), restore), 'inc-2');
  const met = meet(copy, accepted);
  expect(grantStart(met.ledger, ONE, 1, 'a', NOW)).toMatchObject({ granted: false, reason: 'frozen' });
  const ledger = adopt(accepted, met);
  const verdict = finishJob(ledger, KEY, done, minting('v'));
  expect(jobOf(told(met.ledger, verdict)).state).toBe('succeeded');
  const unknown = meet(copy, emptyAgentLedger).ledger;
  expect(jobOf(unknown)).toMatchObject({ state: 'failed', error: { code: 'JOB_INTERRUPTED' } });
  const adopted = meet(afterCatalogRestore(emptyControl(), 'inc-2'), accepted).ledger;
  expect(jobOf(adopted).frozen).toBe(true);
});

test('a catalog that was set back unannounced detects that by the numbers', () => {
  const { agent } = inStep();
  const met = meet(emptyControl(), { ...agent, lastSeq: 7 });
  expect(met.merged).toEqual({ baseSeq: 7 });
  expect(jobOf(met.ledger).state).toBe('running');
});
