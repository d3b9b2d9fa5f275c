import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { AgentSocket } from '../support/agent-socket.ts';
import { summary } from '../support/backup-summary.ts';
import { apply, entryNamed, FLEET, nextSet, startPlanning } from './support.ts';

test('an applied file gives each agent the schedules of its targets', async () => {
  await using bench = await startPlanning();
  const agent = await AgentSocket.connect(bench, await bench.enroll());
  await agent.announce('shop', 'crm');
  expect(await apply(bench.admin())).toMatchObject({ revision: 1, unprotected: [] });
  const set = await nextSet(agent);
  expect(set.entries.map(({ name, spec }) => `${spec.target} ${name}`).toSorted()).toEqual([
    ...['crm backup-logical', 'crm rotate', 'crm verify-l1'],
    ...['shop backup-logical', 'shop rotate', 'shop verify-l1'],
  ]);
  const shop = { ...set, entries: set.entries.filter(({ spec }) => spec.target === 'shop') };
  expect(entryNamed(shop, 'backup-logical')).toMatchObject({
    ...{ cron: '0 2 * * *', timezone: 'UTC' },
    spec: { command: 'backup', target: 'shop', method: 'logical', contents: null, options: {} },
  });
  expect(entryNamed(shop, 'verify-l1').spec).toEqual({
    ...{ command: 'verify', target: 'shop', backupId: null, level: 1 },
  });
  expect(entryNamed(shop, 'rotate').spec).toMatchObject({ retention: { keepLast: 7, minimum: 1 }, dryRun: false });
});

test('the same file again differs in nothing, and the export reads as an equal file', async () => {
  await using bench = await startPlanning();
  const admin = bench.admin();
  const input = { text: FLEET, file: 'fleet.yaml' };
  expect((await admin.fleetDiff.mutate(input)).changes.map(({ path }) => path.join('.'))).toEqual([
    ...['environments.test', 'contacts.dba', 'policies.critical'],
  ]);
  await apply(admin);
  expect(await admin.fleetDiff.mutate(input)).toMatchObject({ revision: 1, changes: [] });
  expect(await apply(admin)).toMatchObject({ revision: 1 });
  const { text } = await admin.exportFleet.query({});
  expect((await admin.fleetDiff.mutate({ text, file: 'export' })).changes).toEqual([]);
  await bench.close();
  await bench.open();
  expect(await bench.admin().exportFleet.query({})).toEqual({ revision: 1, text });
});

test('an invalid file is refused with the place of every problem, and nothing changes', async () => {
  await using bench = await startPlanning();
  const text = `${FLEET}  other:\n    select: {}\n    backup: [{ method: logical, cron: "61 * * * *" }]\n    alerts: { contacts: [nobody] }\n`;
  const { status, failure } = await bench.call('mutation', 'applyFleet', { text, file: 'f.yaml' }, bench.adminToken);
  expect({ status, code: failure?.code }).toEqual({ status: 400, code: 'CONFIG_INVALID' });
  expect(failure?.message).toMatch(/f\.yaml:16:\d+ policies\.other\.backup\.0\.cron/);
  expect(await bench.admin().exportFleet.query({})).toMatchObject({ revision: 0 });
});

test('what loses protection needs consent', async () => {
  await using bench = await startPlanning();
  const agent = await AgentSocket.connect(bench, await bench.enroll());
  await agent.announce('shop');
  await apply(bench.admin());
  const weaker = FLEET.replace('keepLast: 7', 'keepLast: 3');
  const input = { text: weaker, file: 'fleet.yaml' };
  const { status, failure } = await bench.call('mutation', 'applyFleet', input, bench.adminToken);
  expect({ status, code: failure?.code }).toEqual({ status: 412, code: 'NOT_CONFIRMED' });
  expect(failure?.message).toContain('policies.critical.retention.keepLast (retention_shortened)');
  expect(await apply(bench.admin(), weaker, true)).toMatchObject({ revision: 2 });
  expect(entryNamed(await nextSet(agent, 1), 'rotate').spec).toMatchObject({ retention: { keepLast: 3 } });
  const audit = await bench.admin().audit.query({});
  expect(audit.find(({ action }) => action === 'fleet.apply')).toMatchObject({ actor: 'admin', subject: 'revision 2' });
});

test('rotation does not run with a rule that it cannot carry out: it would remove too much', async () => {
  await using bench = await startPlanning();
  const agent = await AgentSocket.connect(bench, await bench.enroll());
  await agent.announce('shop');
  const { warnings } = await apply(bench.admin(), FLEET.replace('keepLast: 7', 'keepLast: 7, window: 7d'));
  expect(warnings.map(({ message }) => message).join()).toContain('"window"');
  expect((await nextSet(agent)).entries.map(({ name }) => name).toSorted()).toEqual(['backup-logical', 'verify-l1']);
});

test('a hold reaches the rotations of the agent', async () => {
  await using bench = await startPlanning();
  const agent = await AgentSocket.connect(bench, await bench.enroll());
  const held = summary(randomUUID());
  await agent.sendInventory(['shop'], [held]);
  await apply(bench.admin());
  expect(entryNamed(await nextSet(agent), 'rotate').spec).toMatchObject({ holds: [] });
  await bench.admin().createJob.mutate({
    target: 'shop',
    spec: { command: 'hold', target: 'shop', backupId: held.backupId, reason: 'audit' },
    idempotencyKey: randomUUID(),
  });
  expect(entryNamed(await nextSet(agent, 1), 'rotate').spec).toMatchObject({ holds: [held.backupId] });
});

test('an agent that lost its schedules gets them again, and one that has them does not', async () => {
  await using bench = await startPlanning();
  const identity = await bench.enroll();
  const agent = await AgentSocket.connect(bench, identity);
  await agent.announce('shop');
  await apply(bench.admin());
  const set = await nextSet(agent);
  await agent.end();
  const lastSeq = agent.commands.at(-1)?.seq ?? 0;
  const current = await AgentSocket.connect(bench, identity, { lastSeq, schedules: set.revision });
  await current.end();
  expect(current.commands).toEqual([]);
  const reset = await AgentSocket.connect(bench, identity, { lastSeq, schedules: null });
  expect(await nextSet(reset)).toEqual(set);
});

test('without a fleet file the schedules of an agent are left alone: the catalog may have been lost', async () => {
  await using bench = await startPlanning();
  const agent = await AgentSocket.connect(bench, await bench.enroll(), { schedules: randomUUID() });
  await agent.announce('shop');
  await apply(bench.admin());
  // The first set it is sent is that of the file.
  expect((await nextSet(agent)).entries).toHaveLength(3);
});
