import { randomUUID } from 'node:crypto';
import { occurrenceIdOf } from '@lastgood/core/schedules';
import type { ScheduleEntry } from '@lastgood/protocol';
import { headerOf, SmtpInbox } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { type NotifyConfig, notifyConfigSchema } from '../../src/notify/notify-config.ts';
import { AgentSocket, until } from '../support/agent-socket.ts';
import { summary } from '../support/backup-summary.ts';
import type { ControlHarness } from '../support/control-harness.ts';
import {
  advance,
  apply,
  entryNamed,
  FIRST_DUE,
  MINUTE,
  nextSet,
  occurrenceJob,
  report,
  startPlanning,
  untilTicked,
} from './support.ts';

const mailTo = ({ port }: SmtpInbox): NotifyConfig =>
  notifyConfigSchema.parse({ smtp: { host: '127.0.0.1', port, tls: 'none', from: 'lastgood@example.org' } });
const NO_SPACE = { code: 'NO_SPACE', message: 'secret words of a tool', remedy: 'free some space' } as const;

async function failBackup(bench: ControlHarness, agent: AgentSocket, entry: ScheduleEntry): Promise<void> {
  await advance(bench, agent, FIRST_DUE + MINUTE);
  const job = occurrenceJob(entry, occurrenceIdOf(entry.scheduleId, FIRST_DUE), FIRST_DUE);
  await report(agent, job, ['accepted', 'running', 'failed'], { error: NO_SPACE });
  // A tick of this instant may have been before the report: the time of the alert decides when its message is sent.
  await until('the alert', async () =>
    (await bench.admin().alerts.query({})).find(({ code }) => code === 'backup_failed'),
  );
}
const firing = async (bench: ControlHarness, code: string) =>
  (await bench.admin().alerts.query({})).find((alert) => alert.code === code && alert.state !== 'pending');

test('a failed backup is reported by e-mail, and once more when it is resolved', async () => {
  await using inbox = await SmtpInbox.open();
  await using bench = await startPlanning({ notify: mailTo(inbox) });
  const agent = await AgentSocket.connect(bench, await bench.enroll());
  await agent.announce('shop');
  await apply(bench.admin());
  const entry = entryNamed(await nextSet(agent), 'backup-logical');
  await failBackup(bench, agent, entry);
  expect(await firing(bench, 'backup_failed')).toMatchObject({
    ...{ state: 'firing', severity: 'critical', subject: 'test/db-1/shop', params: { cause: 'NO_SPACE' } },
  });
  // What fails together is reported together: the first message waits.
  await advance(bench, agent, FIRST_DUE + 2 * MINUTE);
  const [mail] = await until('the mail', () => (inbox.received.length > 0 ? inbox.received : undefined));
  expect(mail).toMatchObject({ to: ['dba@example.org'], from: 'lastgood@example.org' });
  expect(mail && headerOf(mail, 'Subject')).toContain('last backup failed');
  expect(mail?.raw).not.toContain('secret words');
  await advance(bench, agent, FIRST_DUE + 10 * MINUTE);
  const finishedAt = new Date(bench.clock.now() + 1_000).toISOString();
  const backup = summary(randomUUID(), { startedAt: finishedAt, recoveryPoint: finishedAt, finishedAt });
  const again = { ...occurrenceJob(entry, randomUUID(), bench.clock.now()), createdAt: bench.clock.now() };
  await report(agent, again, ['accepted', 'running', 'succeeded'], {
    result: { command: 'backup', backup, durationMs: 1 },
  });
  await untilTicked(bench);
  await advance(bench, agent, FIRST_DUE + 12 * MINUTE);
  const [, second] = await until('the second mail', () => (inbox.received.length > 1 ? inbox.received : undefined));
  expect(second && headerOf(second, 'Subject')).toContain('resolved');
  expect(await bench.admin().alerts.query({})).toEqual([]);
  expect(await bench.admin().alerts.query({ all: true })).toMatchObject([{ code: 'backup_failed', state: 'resolved' }]);
});

test('an acknowledged alert keeps the name of the person, also after a restart', async () => {
  await using bench = await startPlanning();
  const identity = await bench.enroll();
  const agent = await AgentSocket.connect(bench, identity);
  await agent.announce('shop');
  await apply(bench.admin());
  await failBackup(bench, agent, entryNamed(await nextSet(agent), 'backup-logical'));
  const { alertId } = (await firing(bench, 'backup_failed')) ?? { alertId: '' };
  const taken = await bench.admin().acknowledgeAlert.mutate({ alertId, note: 'disk ordered' });
  expect(taken).toMatchObject({ state: 'acknowledged', acknowledged: { by: 'admin', note: 'disk ordered' } });
  await bench.close();
  await bench.open();
  await untilTicked(bench);
  expect(await firing(bench, 'backup_failed')).toEqual(taken);
  const unknown = await bench.call('mutation', 'acknowledgeAlert', { alertId: randomUUID() }, bench.adminToken);
  expect({ status: unknown.status, code: unknown.failure?.code }).toEqual({ status: 404, code: 'NOT_FOUND' });
});

test('a message that could not be delivered before a restart is delivered after it, once', async () => {
  await using inbox = await SmtpInbox.open();
  await using bench = await startPlanning();
  const identity = await bench.enroll();
  const agent = await AgentSocket.connect(bench, identity);
  await agent.announce('shop');
  await apply(bench.admin());
  await failBackup(bench, agent, entryNamed(await nextSet(agent), 'backup-logical'));
  await advance(bench, agent, FIRST_DUE + 2 * MINUTE);
  await until('a failed delivery', () =>
    bench.logged.find(({ message }) => message === 'notification not delivered') === undefined ? undefined : true,
  );
  await bench.close();
  bench.clock.advance(2 * MINUTE);
  await bench.open({ notify: mailTo(inbox) });
  await until('the mail', () => (inbox.received.length > 0 ? true : undefined));
  await untilTicked(bench);
  expect(inbox.received).toHaveLength(1);
});

test('a host that is offline raises an alert, after the control plane itself was up long enough', async () => {
  await using bench = await startPlanning();
  const agent = await AgentSocket.connect(bench, await bench.enroll());
  await agent.announce('shop');
  await apply(bench.admin());
  await untilTicked(bench);
  await agent.end();
  for (let minutes = 0; minutes < 6; minutes += 2) {
    expect(await firing(bench, 'agent_offline')).toBeUndefined();
    bench.clock.advance(2 * MINUTE);
    await untilTicked(bench);
  }
  expect(await firing(bench, 'agent_offline')).toMatchObject({ subject: 'test/db-1', severity: 'critical' });
});

test('C6: an agent that another control plane from the same copy has served raises an alert', async () => {
  await using bench = await startPlanning({});
  const identity = await bench.enroll();
  const first = await AgentSocket.open(bench, identity);
  const { epoch, incarnation } = await first.hello(bench.clock.now());
  await AgentSocket.connect(bench, identity, { incarnation, newestEpoch: epoch });
  await advance(bench, null, bench.clock.now() + MINUTE);
  await untilTicked(bench);
  expect(await firing(bench, 'catalog_forked')).toBeUndefined();
  await AgentSocket.connect(bench, await bench.enroll('db-2'), { incarnation, newestEpoch: 1 });
  expect(await until('the alert', () => firing(bench, 'catalog_forked'))).toMatchObject({ severity: 'critical' });
});
