import { expect, test } from 'vitest';
import { until } from '../support/agent-socket.ts';
import type { ControlHarness } from '../support/control-harness.ts';
import { apply, DAY, FIRST_DUE, HOUR, MINUTE, startPlanning, untilTicked } from './support.ts';

const START = Date.UTC(2026, 0, 15, 12);
const HARMLESS = 'steps: { pause: { wait: 1h } }';
const IMPOSSIBLE = 'steps: { a: { restore: { target: test/db-1/shop, into: swap } } }';
const fleetOf = (steps: string, more = ''): string =>
  `runbooks:\n  r:\n    drill: { cron: "0 2 * * *"${more} }\n    ${steps}\n`;

const drills = async (bench: ControlHarness) => (await bench.admin().runbookRuns.query({})).toReversed();
const untilDrills = async (bench: ControlHarness, count: number) =>
  await until(`${count} drills`, async () => {
    const found = await drills(bench);
    return found.length === count && found.every(({ endedAt }) => endedAt !== null) ? found : undefined;
  });
const goTo = async (bench: ControlHarness, instant: number): Promise<void> => {
  bench.clock.advance(instant - bench.clock.now());
  await untilTicked(bench);
};

test('a drill starts when it is due, once, also across restarts, and leaves evidence', async () => {
  await using bench = await startPlanning();
  await apply(bench.admin(), fleetOf(HARMLESS));
  expect(await bench.admin().runbooks.query({})).toMatchObject([
    { name: 'r', lastDrill: null, nextDrillAt: FIRST_DUE },
  ]);
  await goTo(bench, FIRST_DUE - 1);
  expect(await drills(bench)).toEqual([]);
  await goTo(bench, FIRST_DUE + MINUTE);
  const [first] = await untilDrills(bench, 1);
  expect(first).toMatchObject({ state: 'succeeded', startedBy: 'schedule', plan: { mode: 'drill' } });
  await bench.close();
  await bench.open();
  await goTo(bench, FIRST_DUE + DAY);
  await untilDrills(bench, 2);
  const evidence = await bench.admin().evidence.query({});
  expect(evidence.map(({ sequence, mode }) => [sequence, mode])).toEqual([
    [2, 'drill'],
    [1, 'drill'],
  ]);
});

test('a drill whose plan is refused has failed, with the reason in its evidence', async () => {
  await using bench = await startPlanning();
  await apply(bench.admin(), fleetOf(IMPOSSIBLE));
  await goTo(bench, FIRST_DUE);
  const [drill] = await untilDrills(bench, 1);
  expect(drill).toMatchObject({ state: 'failed' });
  const { text } = await bench.admin().evidenceReport.query({ sequence: 1 });
  expect(JSON.parse(text)).toMatchObject({
    state: 'failed',
    events: [{ what: 'started' }, { detail: 'RUNBOOK_TARGET_UNKNOWN' }],
  });
});

test('raises an alert for a drill that failed, and shows why the RTO was not measured', async () => {
  await using bench = await startPlanning();
  await apply(bench.admin(), fleetOf(`objectives: { rto: 4h }\n    ${IMPOSSIBLE}`));
  expect(await bench.admin().runbooks.query({})).toMatchObject([{ rto: 'never-drilled', drillOverdueSince: null }]);
  await goTo(bench, FIRST_DUE);
  await untilDrills(bench, 1);
  await goTo(bench, FIRST_DUE + MINUTE);
  expect(await bench.admin().runbooks.query({})).toMatchObject([{ rto: 'drill-failed', targets: ['test/db-1/shop'] }]);
  const alerts = await bench.admin().alerts.query({});
  expect(alerts).toContainEqual(expect.objectContaining({ code: 'drill_failed', state: 'firing' }));
});

test('a drill that did not start within its window is overdue', async () => {
  await using bench = await startPlanning();
  await apply(bench.admin(), fleetOf(HARMLESS, ', catchUp: none, window: 1h'));
  await bench.close();
  bench.clock.advance(FIRST_DUE + 5 * HOUR - START);
  await bench.open();
  await untilTicked(bench);
  expect(await bench.admin().runbooks.query({})).toMatchObject([{ drillOverdueSince: FIRST_DUE }]);
  await goTo(bench, FIRST_DUE + 6 * HOUR);
  const alerts = await bench.admin().alerts.query({});
  expect(alerts).toContainEqual(expect.objectContaining({ code: 'drill_overdue', state: 'firing' }));
});

test.each([
  ['is caught up', '', 1],
  ['is not made up for when the schedule says so', ', catchUp: none', 0],
])('a drill that was due while the control plane was down %s', async (_, more, count) => {
  await using bench = await startPlanning();
  await apply(bench.admin(), fleetOf(HARMLESS, more));
  await bench.close();
  bench.clock.advance(FIRST_DUE + 5 * HOUR - START);
  await bench.open();
  await untilDrills(bench, count);
  // The next one runs in any case; one that was made up for wrongly would be one too many.
  await goTo(bench, FIRST_DUE + DAY);
  await untilDrills(bench, count + 1);
});

test('runs of a catalog that was restored from a copy are aborted', async () => {
  await using bench = await startPlanning();
  await apply(bench.admin(), fleetOf(HARMLESS));
  const order = { runbook: 'r', mode: 'run' } as const;
  const { hash: planHash } = await bench.admin().planRunbook.query(order);
  const consent = { planHash, confirm: 'r', idempotencyKey: 'one of a test' };
  const { run } = await bench.admin().startRunbook.mutate({ ...order, ...consent });
  expect(run.state).toBe('running');
  // The same call again is the same run.
  expect((await bench.admin().startRunbook.mutate({ ...order, ...consent })).run.runId).toBe(run.runId);
  await bench.close();
  await bench.open({ restored: true });
  const [aborted] = await untilDrills(bench, 1);
  expect(aborted).toMatchObject({ runId: run.runId, state: 'aborted' });
});
