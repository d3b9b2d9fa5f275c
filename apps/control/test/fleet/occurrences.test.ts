import { occurrenceIdOf } from '@lastgood/core/schedules';
import { expect, test } from 'vitest';
import { AgentSocket, until } from '../support/agent-socket.ts';
import type { ControlHarness } from '../support/control-harness.ts';
import {
  advance,
  apply,
  beat,
  DAY,
  entryNamed,
  FIRST_DUE,
  FLEET,
  HOUR,
  MINUTE,
  nextSet,
  occurrenceJob,
  occurrencesOf,
  report,
  startPlanning,
  untilTicked,
} from './support.ts';

async function scheduled() {
  const bench = await startPlanning();
  const identity = await bench.enroll();
  const agent = await AgentSocket.connect(bench, identity);
  await agent.announce('shop');
  await apply(bench.admin());
  const set = await nextSet(agent);
  return { bench, agent, identity, set, backup: entryNamed(set, 'backup-logical'), rotate: entryNamed(set, 'rotate') };
}
const states = async (bench: ControlHarness, schedule = 'backup-logical') =>
  (await occurrencesOf(bench.admin(), schedule)).map(({ dueAt, state }) => [(dueAt - FIRST_DUE) / DAY, state]);
const untilStates = async (bench: ControlHarness, expected: unknown[], schedule?: string): Promise<void> =>
  void (await until(`the occurrences ${JSON.stringify(expected)}`, async () =>
    JSON.stringify(await states(bench, schedule)) === JSON.stringify(expected) ? true : undefined,
  ));

test('the occurrences of the next 48 hours exist before they run', async () => {
  const { bench } = await scheduled();
  await using _ = bench;
  await untilStates(bench, [
    [0, 'expected'],
    [1, 'expected'],
  ]);
  bench.clock.advance(DAY);
  await until('a third day', async () => ((await states(bench)).length === 3 ? true : undefined));
});

test('an occurrence follows the reports of its job', async () => {
  const { bench, agent, backup, rotate } = await scheduled();
  await using _ = bench;
  await advance(bench, agent, FIRST_DUE + MINUTE);
  const job = occurrenceJob(backup, occurrenceIdOf(backup.scheduleId, FIRST_DUE), FIRST_DUE);
  await report(agent, job, ['accepted', 'running']);
  expect((await states(bench))[0]).toEqual([0, 'running']);
  await report(agent, job, ['accepted', 'running', 'failed'], {
    error: { code: 'NO_SPACE', message: 'no space left', remedy: 'free some' },
  });
  expect((await occurrencesOf(bench.admin(), 'backup-logical'))[0]).toMatchObject({
    ...{ state: 'failed', code: 'NO_SPACE', occurrenceId: job.jobId, target: 'shop', host: 'db-1' },
  });
  const rotateDue = FIRST_DUE + 6 * HOUR;
  await advance(bench, agent, rotateDue);
  await report(agent, occurrenceJob(rotate, occurrenceIdOf(rotate.scheduleId, rotateDue), rotateDue), ['accepted']);
  expect((await states(bench, 'rotate'))[0]).toEqual([0.25, 'waiting']);
});

test('a run that the agent skipped counts as skipped, with the reason', async () => {
  const { bench, agent, backup } = await scheduled();
  await using _ = bench;
  await advance(bench, agent, FIRST_DUE);
  const job = occurrenceJob(backup, occurrenceIdOf(backup.scheduleId, FIRST_DUE), FIRST_DUE);
  const error = { code: 'OCCURRENCE_SKIPPED', message: 'the run before it had not ended', remedy: 'none' } as const;
  await report(agent, job, ['rejected'], { error });
  expect((await occurrencesOf(bench.admin(), 'backup-logical'))[0]).toMatchObject({
    ...{ state: 'skipped', code: 'OCCURRENCE_SKIPPED' },
  });
});

test('a run without a report counts as missed after its window and grace', async () => {
  const { bench, agent } = await scheduled();
  await using _ = bench;
  await untilTicked(bench);
  await advance(bench, agent, FIRST_DUE + HOUR + 14 * MINUTE);
  await untilTicked(bench);
  expect((await states(bench))[0]).toEqual([0, 'expected']);
  await advance(bench, agent, FIRST_DUE + HOUR + 15 * MINUTE);
  await untilTicked(bench);
  expect((await states(bench))[0]).toEqual([0, 'missed']);
});

test('the runs of a host that is offline are missed as well', async () => {
  const { bench, agent } = await scheduled();
  await using _ = bench;
  await untilTicked(bench);
  await agent.end();
  // The jump of the clock counts as an outage of the control plane, after which the agent has the grace to return.
  await advance(bench, null, FIRST_DUE + 2 * HOUR);
  await untilTicked(bench);
  expect((await states(bench))[0]).toEqual([0, 'expected']);
  for (let minutes = 0; minutes < 16; minutes += 2) {
    bench.clock.advance(2 * MINUTE);
    await untilTicked(bench);
  }
  expect((await states(bench))[0]).toEqual([0, 'missed']);
});

test('after an outage of the control plane nothing is missed until the agent has reported', async () => {
  const { bench, identity, backup, set } = await scheduled();
  await using _ = bench;
  await untilStates(bench, [
    [0, 'expected'],
    [1, 'expected'],
  ]);
  await bench.close();
  bench.clock.advance(FIRST_DUE + 3 * HOUR - bench.clock.now());
  await bench.open();
  const back = await AgentSocket.connect(bench, identity, { lastSeq: 1, schedules: set.revision });
  // It has not reported all of it yet.
  await beat(bench, back, 3);
  await untilTicked(bench);
  expect((await states(bench))[0]).toEqual([0, 'expected']);
  const job = occurrenceJob(backup, occurrenceIdOf(backup.scheduleId, FIRST_DUE), FIRST_DUE);
  await report(back, job, ['accepted', 'running', 'canceled']);
  await beat(bench, back, 0);
  await untilTicked(bench);
  expect((await states(bench))[0]).toEqual([0, 'failed']);
});

test('H7: a changed schedule withdraws what it no longer has, and what was due stays', async () => {
  const { bench, agent } = await scheduled();
  await using _ = bench;
  await untilStates(bench, [
    [0, 'expected'],
    [1, 'expected'],
  ]);
  await advance(bench, agent, FIRST_DUE + MINUTE);
  await apply(bench.admin(), FLEET.replace('"0 2 * * *"', '"0 3 * * *"'), true);
  await until('the new occurrences', async () => {
    const found = await occurrencesOf(bench.admin(), 'backup-logical');
    const hours = found.map(({ dueAt }) => (dueAt - FIRST_DUE) / HOUR);
    return JSON.stringify(hours) === JSON.stringify([0, 1, 25]) ? true : undefined;
  });
});
