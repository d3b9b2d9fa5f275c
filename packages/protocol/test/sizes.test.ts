import {
  type AgentLedger,
  adoptHelloAnswer,
  boundedValue,
  confirmReported,
  emptyAgentLedger,
  type Finding,
  finishJob,
  helloInputSchema,
  helloOf,
  type JobOutcome,
  type JobSpec,
  jobKey,
  jobResultSchema,
  LIMITS,
  makeFinding,
  makeRefusal,
  markRunning,
  receiveReport,
  reportBatch,
  reportInputSchema,
  sizeOf,
  wireErrorOf,
} from '@lastgood/protocol';
import { expect, test } from 'vitest';
import {
  accept,
  answerOf,
  backup,
  emptyControl,
  helloFrom,
  jobId,
  jobOf,
  LEASE,
  meet,
  minting,
  NOW,
  ONE,
  reportOf,
  restore,
  start,
} from './ledgers.ts';

const FRAME = LIMITS.frameBytes - 1024;
const rotation: JobSpec = { command: 'rotate', target: 'shop', retention: { minimum: 1 }, holds: [], dryRun: true };
const decisionsOf = (count: number) =>
  Array.from({ length: count }, (_, n) => ({
    backupId: jobId(n),
    finishedAt: '2026-01-15T12:00:00.000Z',
    keep: n >= 50,
    reason: { code: 'KEEP_LAST', params: { count: 24, database: 'shop_of_prod' } },
  }));
const rotated = (count: number, removedCount = 50) => ({
  command: 'rotate',
  dryRun: true,
  decisions: decisionsOf(count),
  keptCount: count - removedCount,
  removedCount,
  freedBytes: 0,
});
const texts = (count: number, length: number): string[] =>
  Array.from({ length: count }, (_, n) => `${n}`.repeat(length));
const warnings = (count: number, length: number): Finding[] =>
  texts(count, length).map((reason) => makeFinding('VERDICT_UNREADABLE', null, { reason }));
const summary = {
  backupId: ONE,
  target: 'shop',
  repository: 'local',
  engine: 'postgres',
  method: 'logical',
  sequence: 1,
  jobId: ONE,
  startedAt: '2026-01-15T12:00:00.000Z',
  recoveryPoint: '2026-01-15T12:00:00.000Z',
  finishedAt: '2026-01-15T12:00:00.000Z',
  contents: texts(1_000, 50).map((name) => ({ kind: 'database', name, bytes: 1 })),
  dependsOn: [],
  restoreUnit: 'database',
  restorable: { ok: true },
  producedBytes: 1,
  storedBytes: 1,
  manifestSha256: 'a'.repeat(64),
  state: 'good',
  verified: null,
  hold: null,
  warnings: warnings(500, 400),
};
const plan = {
  hash: 'b'.repeat(64),
  request: {
    scope: { kind: 'database', database: 'shop' },
    point: { kind: 'backup', backupId: ONE },
    into: { way: 'swap' },
    options: {},
  },
  backupId: ONE,
  method: 'logical',
  recoveryPoint: '2026-01-15T12:00:00.000Z',
  into: 'shop',
  confirm: 'shop',
  replaces: texts(300, 20),
  missing: texts(300, 20).map((name) => ({ kind: 'role', name })),
  readBytes: 1,
  needBytes: 1,
  freeBytes: null,
  estimatedMs: null,
  details: texts(300, 20).map((value) => ({ label: 'version', value, unit: 'text' })),
  warnings: warnings(300, 200),
  refusals: [makeRefusal('PREPARED_TRANSACTIONS', null, { transactions: texts(1, 9_000) })],
};
const finding = {
  level: 4,
  object: 'data/0001.dump.zst',
  ...makeFinding('DUMP_REFUSED', null, { reason: 'm'.repeat(3_000) }),
};
const LARGE = {
  backup: { command: 'backup', backup: summary, durationMs: 7 },
  verify: {
    command: 'verify',
    backupId: ONE,
    level: 6,
    reached: 3,
    passed: false,
    findings: Array.from({ length: 20 }, () => finding),
    remarks: [],
    durationMs: 7,
    at: '2026-01-15T12:00:00.000Z',
  },
  rotate: rotated(3_000),
  plan: { command: 'plan', plan },
  restore: {
    command: 'restore',
    backupId: ONE,
    scope: { kind: 'database', database: 'shop' },
    recoveryPoint: '2026-01-15T12:00:00.000Z',
    into: 'shop',
    setAsideAs: 'shop__lastgood_old_1',
    warnings: warnings(300, 300),
    counts: [{ label: 'rows', value: 4, unit: 'count' }],
    durationMs: 7,
  },
} as const;

/** A ledger with one more job that has ended with this and was not reported. */
function ending(ledger: AgentLedger, n: number, outcome: JobOutcome, spec: JobSpec = rotation): AgentLedger {
  const eventFactory = minting(`e${n}-`);
  const key = jobKey(jobId(n), 1);
  const running = markRunning(
    accept(ledger, start(ledger.lastSeq + 1, jobId(n), spec), eventFactory),
    key,
    eventFactory,
  );
  return finishJob(running, key, outcome, { ...eventFactory, now: NOW + n });
}
const succeeded = (result: unknown): JobOutcome => ({ type: 'succeeded', error: null, result: result as never });

test.each(Object.entries(LARGE))(
  'an event holds a %s result of any size, cut in its lists and valid',
  (command, large) => {
    const event = ending(emptyAgentLedger, 1, succeeded(large)).outbox.at(-1);
    const wide = command === 'backup' || command === 'rotate';
    expect(sizeOf(event)).toBeLessThanOrEqual(wide ? LIMITS.largeEventBytes : LIMITS.eventBytes);
    const result = jobResultSchema.parse(event?.result);
    expect(result.truncated).toBe(true);
    expect(jobResultSchema.parse(boundedValue(large as never, 2_048)).truncated).toBe(true);
    const { backupId, reached, passed, setAsideAs, removedCount, keptCount, durationMs } = large as never as Record<
      string,
      unknown
    >;
    const facts = { backupId, reached, passed, setAsideAs, removedCount, keptCount, durationMs };
    for (const [name, value] of Object.entries(facts))
      if (value !== undefined)
        expect({ [name]: (result as never as Record<string, unknown>)[name] }).toEqual({ [name]: value });
  },
);

test('a plan that is cut never looks as if nothing was refused, and a backup keeps all that it is known by', () => {
  const cutPlan = boundedValue(LARGE.plan as never, 8_000) as never as { plan: typeof plan };
  expect(cutPlan.plan.refusals).toHaveLength(1);
  expect(cutPlan.plan.hash).toBe(plan.hash);
  const cutBackup = boundedValue(LARGE.backup as never, 2_048) as never as { backup: typeof summary };
  const { contents: _contents, warnings: _warnings, ...facts } = summary;
  expect(cutBackup.backup).toMatchObject(facts);
});

test('a dry run of a rotation tells a reason for each of 500 backups', () => {
  const event = ending(emptyAgentLedger, 1, succeeded(rotated(500))).outbox.at(-1);
  expect(event?.result).toEqual(rotated(500));
});

test('what fits is not touched', () => {
  const small = rotated(5);
  expect(boundedValue(small, 8_000)).toBe(small);
});

test('a message of a failure in any script fits into its event', () => {
  const error = wireErrorOf('TOOL_FAILED', '火'.repeat(4_096));
  const event = ending(emptyAgentLedger, 1, { type: 'failed', error, result: null }).outbox.at(-1);
  expect(sizeOf(event)).toBeLessThanOrEqual(LIMITS.eventBytes);
  expect(event?.error?.message).toMatch(/^火{1000,}…$/);
});

test('whatever a journal holds, its hello and each of its reports fit into a frame', () => {
  const large = Object.values(LARGE);
  let ledger = emptyAgentLedger;
  for (let n = 1; n <= 120; n += 1) {
    const holds = n % 7 === 0 ? Array.from({ length: 700 }, (_, hold) => jobId(hold)) : [];
    ledger = ending(ledger, n, succeeded(large[n % large.length]), { ...rotation, holds });
  }
  for (let n = 121; n <= 150; n += 1) ledger = accept(ledger, start(n, jobId(n), backup), minting(`o${n}-`));
  // An older version wrote results of any size into its journal.
  const old = ledger.outbox.map((event) => (event.type === 'succeeded' ? { ...event, result: rotated(1_500) } : event));
  ledger = { ...ledger, outbox: old as never };
  const hello = helloFrom(ledger);
  expect(sizeOf(hello)).toBeLessThan(FRAME);
  expect(helloInputSchema.parse(hello).jobs.filter(({ open }) => open)).toHaveLength(30);
  let reports = 0;
  for (let rest = ledger; rest.outbox.length > 0; reports += 1) {
    const { events, jobs } = reportBatch(rest);
    expect(sizeOf(reportInputSchema.parse({ sessionId: 's', events, jobs }))).toBeLessThan(FRAME);
    expect(events.length).toBeGreaterThan(0);
    rest = confirmReported(
      rest,
      events.map(({ id }) => id),
    );
  }
  expect(reports).toBeGreaterThan(10);
});

test('the end that a hello reported without its result is completed by the report, once', () => {
  const agent = ending(emptyAgentLedger, 1, succeeded(rotated(3)));
  const told = helloOf(agent).jobs[0];
  expect([told?.lastType, told?.result]).toEqual(['succeeded', null]);
  const met = meet(emptyControl(), agent).ledger;
  expect(jobOf(met)).toMatchObject({ state: 'succeeded', result: null });
  const heard = receiveReport(met, reportBatch(agent), NOW, LEASE);
  expect(heard.acceptedIds).toHaveLength(3);
  expect(jobOf(heard.ledger)).toMatchObject({ state: 'succeeded', result: rotated(3) });
  const other = reportOf(...reportBatch(agent).events.map((event) => ({ ...event, result: rotated(4) })));
  expect(jobOf(receiveReport(heard.ledger, other, NOW, LEASE).ledger).result).toEqual(rotated(3));
});

test('an unreported job that did not fit into a hello is not treated as forgotten', () => {
  const eventFactory = minting();
  let agent = emptyAgentLedger;
  let control = emptyControl();
  const holds = Array.from({ length: 800 }, (_, hold) => jobId(hold));
  for (let n = 1; n <= 9; n += 1) {
    const spec: JobSpec = { ...rotation, holds };
    agent = ending(agent, n, succeeded(rotated(2)), spec);
    control = {
      ...control,
      commandSeq: n,
      acked: n,
      jobs: new Map(control.jobs).set(jobId(n), {
        ...jobOf(meet(emptyControl(), ending(emptyAgentLedger, n, succeeded(null), spec)).ledger, jobId(n)),
        ...{ state: 'dispatched', lastEventNumber: 0, lastEventId: null, endedAt: null },
      } as never),
    };
  }
  const told = helloOf(agent).jobs;
  expect(told.length).toBeLessThan(9);
  const met = meet(control, agent);
  expect(met.reset?.jobs.length).toBe(9 - told.length);
  const after = adoptHelloAnswer(agent, told, answerOf(met), eventFactory);
  expect(after.outbox).toEqual(agent.outbox);
  let heard = met.ledger;
  for (let rest = after; rest.outbox.length > 0; ) {
    const report = receiveReport(heard, reportBatch(rest), NOW, LEASE);
    heard = report.ledger;
    rest = confirmReported(rest, report.acceptedIds);
  }
  for (let n = 1; n <= 9; n += 1)
    expect(jobOf(heard, jobId(n))).toMatchObject({ state: 'succeeded', lastEventNumber: 3 });
});

test('R13: an open job of which a set-back journal knows nothing is still reported as interrupted', () => {
  const control = meet(emptyControl(), accept(emptyAgentLedger, start(1, ONE, restore), minting())).ledger;
  const met = meet({ ...control, acked: 1, commandSeq: 1 }, emptyAgentLedger);
  const after = adoptHelloAnswer(emptyAgentLedger, [], answerOf(met), minting('x'));
  expect(after.outbox.at(-1)).toMatchObject({ type: 'interrupted', jobId: ONE });
});
