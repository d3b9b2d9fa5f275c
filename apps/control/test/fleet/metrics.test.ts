import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { findPromtool } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { AgentSocket } from '../support/agent-socket.ts';
import { summary } from '../support/backup-summary.ts';
import { apply, beat, HOUR, scrape, startPlanning, untilTicked } from './support.ts';

const FOUNDING = ['backup_age_hours', 'backup_size_bytes', 'backup_duration_seconds', 'backup_success'];
const LABELS = '{environment="test",host="db-1",target="shop",engine="postgres"}';

test('the four founding metrics and those of the product are served for each target', async () => {
  await using bench = await startPlanning();
  const agent = await AgentSocket.connect(bench, await bench.enroll());
  const at = (ms: number) => new Date(bench.clock.now() - ms).toISOString();
  const times = { startedAt: at(6 * HOUR + 30_000), recoveryPoint: at(6 * HOUR + 30_000), finishedAt: at(6 * HOUR) };
  await agent.sendInventory(['shop'], [summary(randomUUID(), { ...times, producedBytes: 4096 })]);
  await apply(bench.admin());
  await beat(bench, agent);
  await untilTicked(bench);
  const text = await scrape(bench);
  expect(text).toContain(`\nbackup_age_hours${LABELS} 6\n`);
  expect(text).toContain(`\nbackup_size_bytes${LABELS} 4096\n`);
  expect(text).toContain(`\nbackup_duration_seconds${LABELS} 30\n`);
  expect(text).toContain(`\nbackup_success${LABELS} 1\n`);
  expect(text).toContain(`\nlastgood_rpo_seconds${LABELS} ${26 * 3600}\n`);
  expect(text).toContain('\nlastgood_agent_connected{environment="test",host="db-1"} 1\n');
  expect(text).toContain('\nlastgood_occurrences{state="missed"} 0\n');
});

test('promtool accepts the metrics; of the founding names it rejects the unit of hours', async ({ skip }) => {
  const promtool = findPromtool();
  if (promtool === undefined)
    return skip('promtool is not installed; npm test fetches it with apt-get download prometheus');
  await using bench = await startPlanning();
  const agent = await AgentSocket.connect(bench, await bench.enroll());
  await agent.sendInventory(['shop'], [summary(randomUUID())]);
  await apply(bench.admin());
  await untilTicked(bench);
  const lines = (await scrape(bench)).split('\n');
  const isFounding = (line: string): boolean =>
    FOUNDING.some(
      (name) => line.startsWith(name) || line.startsWith(`# HELP ${name} `) || line.startsWith(`# TYPE ${name} `),
    );
  const check = (input: string) => spawnSync(promtool, ['check', 'metrics'], { input, encoding: 'utf8' });
  const ours = check(lines.filter((line) => !isFounding(line)).join('\n'));
  expect({ status: ours.status, text: `${ours.stdout}${ours.stderr}` }).toEqual({ status: 0, text: '' });
  expect(check(lines.join('\n')).stderr).toContain('backup_age_hours');
});

test('metrics need a token: the names of hosts and targets are not public', async () => {
  await using bench = await startPlanning();
  for (const headers of [{}, { authorization: 'Bearer nothing' }]) {
    const response = await fetch(`${bench.url}/metrics`, { headers });
    expect(response.status).toBe(401);
    expect(await response.text()).not.toContain('lastgood_');
  }
  const read = { authorization: `Bearer ${await bench.tokenOf('read')}` };
  const response = await fetch(`${bench.url}/metrics`, { headers: read });
  expect([response.status, response.headers.get('content-type')]).toEqual([
    200,
    'text/plain; version=0.0.4; charset=utf-8',
  ]);
});

test('status has the objectives of each target as data', async () => {
  await using bench = await startPlanning();
  const agent = await AgentSocket.connect(bench, await bench.enroll());
  const at = new Date(bench.clock.now() - 27 * HOUR).toISOString();
  const times = { startedAt: at, recoveryPoint: at, finishedAt: at };
  await agent.sendInventory(['shop'], [summary(randomUUID(), times)]);
  expect((await bench.admin().status.query({}))[0]?.objectives).toBeNull();
  await apply(bench.admin());
  await beat(bench, agent);
  await untilTicked(bench);
  expect((await bench.admin().status.query({}))[0]?.objectives).toMatchObject({
    ...{ state: 'missed', rpoMs: 26 * HOUR, rtoMs: 4 * HOUR, exposureMs: 27 * HOUR, restoreTest: null },
    reasons: [{ code: 'rpo_missed' }, { code: 'never_restore_tested' }],
  });
});
