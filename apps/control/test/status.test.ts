import { randomUUID } from 'node:crypto';
import type { TargetInventory, TargetStatus } from '@lastgood/protocol';
import { expect, test } from 'vitest';
import { AgentSocket, until } from './support/agent-socket.ts';
import { summary } from './support/backup-summary.ts';
import { ControlHarness } from './support/control-harness.ts';

const ok: TargetInventory = {
  ...{ name: 'shop', engine: 'postgres', labels: {}, repository: 'local', state: 'ok', version: '15.18' },
  ...{ systemId: null, sizeBytes: 1, databases: [{ name: 'shop', sizeBytes: 1 }], findings: [] },
};
const statusOf = async (bench: ControlHarness): Promise<TargetStatus[]> => await bench.admin().status.query({});
const never = 'the agent of this host was never here';
const bare = { target: null, state: null, findings: [], databases: [], environment: 'test' };
const silence = 'the host has told of no target';

test('N5: a host that was enrolled and never came is in the status, and not in order', async () => {
  await using bench = await ControlHarness.start();
  expect(await statusOf(bench)).toEqual([]);
  await bench.enroll('db-1');
  const [host, ...others] = await statusOf(bench);
  expect(others).toEqual([]);
  expect(host).toEqual({ ...bare, host: 'db-1', online: false, hostState: 'never', problems: [never, silence] });
});

test('N5: a host that tells of no target is in the status, and not in order', async () => {
  await using bench = await ControlHarness.start();
  const agent = await AgentSocket.connect(bench, await bench.enroll('db-1'));
  await agent.announce();
  const online = { ...bare, host: 'db-1', online: true, hostState: 'online', problems: [silence] };
  expect(await statusOf(bench)).toEqual([online]);
  await agent.announce('shop');
  expect(await statusOf(bench)).toMatchObject([{ target: 'shop', hostState: 'online' }]);
  await bench.enroll('db-2');
  expect((await statusOf(bench)).map(({ host, target }) => [host, target])).toEqual([
    ['db-1', 'shop'],
    ['db-2', null],
  ]);
  // Who asks for a target hears of that one.
  expect(await bench.admin().status.query({ target: 'shop' })).toHaveLength(1);
  await agent.end();
  const gone = await until('the end', async () =>
    (await statusOf(bench)).find(({ hostState }) => hostState === 'offline'),
  );
  expect(gone.problems[0]).toMatch(/^the host is offline since 2026-01-15T12:/);
});

test.for<[string, Partial<TargetInventory>, string[]]>([
  ['all is well', {}, []],
  ['something is only good to know', { findings: ['database "x" is kept aside by a restore'] }, []],
  [
    'its repository cannot be read',
    { findings: ['REPOSITORY_NOT_MOUNTED: /backup is not a mount point', 'CAPITALS: no code'] },
    ['REPOSITORY_NOT_MOUNTED: /backup is not a mount point'],
  ],
  ["its backups are another server's", { findings: ['REPOSITORY_FOREIGN: x'] }, ['REPOSITORY_FOREIGN: x']],
  ['its agent file is refused', { findings: ['CONFIG_INVALID: x'] }, ['CONFIG_INVALID: x']],
  ['its server does not answer', { state: 'unreachable' }, ['the database server is unreachable']],
])('B5: a target is in order or says why not: %s', async ([, told, problems]) => {
  await using bench = await ControlHarness.start();
  const agent = await AgentSocket.connect(bench, await bench.enroll('db-1'));
  const facts = { hash: randomUUID(), targets: [{ ...ok, ...told }], backups: [summary(randomUUID())], complete: true };
  await agent.call('inventory', agent.session(facts));
  expect(await statusOf(bench)).toMatchObject([{ target: 'shop', online: true, problems }]);
});

test('a target that knows of no database and has no good backup is not in order', async () => {
  await using bench = await ControlHarness.start();
  const agent = await AgentSocket.connect(bench, await bench.enroll('db-1'));
  const tell = async (backups: object[]): Promise<void> => {
    const facts = { hash: randomUUID(), targets: [{ ...ok, databases: [] }], backups, complete: true };
    await agent.call('inventory', agent.session(facts));
  };
  await tell([summary(randomUUID(), { state: 'bad' })]);
  const problems = ['no database is known, and no good backup'];
  expect(await statusOf(bench)).toMatchObject([{ databases: [], problems }]);
  await tell([summary(randomUUID())]);
  expect(await statusOf(bench)).toMatchObject([{ databases: [{ database: 'shop' }], problems: [] }]);
});
