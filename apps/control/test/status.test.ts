import { randomUUID } from 'node:crypto';
import {
  type ErrorCode,
  type Finding,
  findingOfError,
  makeFinding,
  type TargetInventory,
  type TargetStatus,
} from '@lastgood/protocol';
import { expect, test } from 'vitest';
import { AgentSocket, until } from './support/agent-socket.ts';
import { summary } from './support/backup-summary.ts';
import { ControlHarness } from './support/control-harness.ts';

const ok: TargetInventory = {
  ...{ name: 'shop', engine: 'postgres', labels: {}, repository: 'local', state: 'ok', version: '15.18' },
  ...{ systemId: null, sizeBytes: 1, databases: [{ name: 'shop', sizeBytes: 1 }], findings: [] },
};
/** A backup that was restore-tested. */
const tested = () => summary(randomUUID(), { verified: { level: 6, at: '2026-01-15T12:00:00Z', passed: true } });
const statusOf = async (bench: ControlHarness): Promise<TargetStatus[]> => await bench.admin().status.query({});
const host = (name: string) => ({ kind: 'host', name: `test/${name}` }) as const;
const target = { kind: 'target', name: 'shop' } as const;
const bare = {
  target: null,
  state: 'unknown',
  serverState: null,
  findings: [],
  databases: [],
  environment: 'test',
  objectives: null,
};
const silence = makeFinding('HOST_WITHOUT_TARGETS', host('db-1'));
const never = makeFinding('HOST_NEVER_CONNECTED', host('db-1'));

test('N5: a host that was enrolled and has never connected is in the status, and unknown', async () => {
  await using bench = await ControlHarness.start();
  expect(await statusOf(bench)).toEqual([]);
  await bench.enroll('db-1');
  const [only, ...others] = await statusOf(bench);
  expect(others).toEqual([]);
  expect(only).toEqual({ ...bare, host: 'db-1', hostState: 'never', reasons: [never, silence] });
});

test('N5: a host that has reported no target is in the status, and unknown', async () => {
  await using bench = await ControlHarness.start();
  const agent = await AgentSocket.connect(bench, await bench.enroll('db-1'));
  await agent.announce();
  const online = { ...bare, host: 'db-1', hostState: 'online', reasons: [silence] };
  expect(await statusOf(bench)).toEqual([online]);
  await agent.announce('shop');
  expect(await statusOf(bench)).toMatchObject([{ target: 'shop', hostState: 'online' }]);
  await bench.enroll('db-2');
  expect((await statusOf(bench)).map(({ host, target, state }) => [host, target, state])).toEqual([
    ['db-1', 'shop', 'none'],
    ['db-2', null, 'unknown'],
  ]);
  // A selector leaves out the hosts without targets.
  expect(await bench.admin().status.query({ target: 'shop' })).toHaveLength(1);
  await agent.end();
  const gone = await until('the end', async () =>
    (await statusOf(bench)).find(({ hostState }) => hostState === 'offline'),
  );
  expect(gone.reasons).toContainEqual(
    expect.objectContaining({ code: 'HOST_OFFLINE', params: { since: expect.stringContaining('2026-01-15T12:') } }),
  );
});

const failed = (code: ErrorCode): Finding => findingOfError({ code, message: 'x', remedy: 'y' }, null);
const setAside = makeFinding('SET_ASIDE_DATABASE', { kind: 'database', name: 'x' }, { size: '1 MB' });
const unmounted = failed('REPOSITORY_NOT_MOUNTED');
test.for<[string, Partial<TargetInventory>, Finding[]]>([
  ['all is well', {}, []],
  ['something is only good to know', { findings: [setAside] }, []],
  ['its repository cannot be read', { findings: [unmounted, setAside] }, [unmounted]],
  ["its backups are another server's", { findings: [failed('REPOSITORY_FOREIGN')] }, [failed('REPOSITORY_FOREIGN')]],
  ['its agent file is refused', { findings: [failed('CONFIG_INVALID')] }, [failed('CONFIG_INVALID')]],
  [
    'a newer agent found what is not known here',
    { findings: [{ code: 'OF_TOMORROW', severity: 'error', subject: null, params: {} }] },
    [{ code: 'OF_TOMORROW', severity: 'error', subject: null, params: {} }],
  ],
  ['its server does not answer', { state: 'unreachable' }, [makeFinding('SERVER_UNREACHABLE', target)]],
  ['its server refuses the agent', { state: 'refused' }, [makeFinding('SERVER_REFUSED', target)]],
])('B5: a target is protected, or at risk with the reasons: %s', async ([, reported, reasons]) => {
  await using bench = await ControlHarness.start();
  const agent = await AgentSocket.connect(bench, await bench.enroll('db-1'));
  const facts = { hash: randomUUID(), targets: [{ ...ok, ...reported }], backups: [tested()], complete: true };
  await agent.call('inventory', agent.session(facts));
  const state = reasons.length === 0 ? 'protected' : 'at_risk';
  expect(await statusOf(bench)).toMatchObject([{ target: 'shop', hostState: 'online', state, reasons }]);
});

test('a target without a known database and without a good backup has no recovery point', async () => {
  await using bench = await ControlHarness.start();
  const agent = await AgentSocket.connect(bench, await bench.enroll('db-1'));
  const announce = async (backups: object[]): Promise<void> => {
    const facts = { hash: randomUUID(), targets: [{ ...ok, databases: [] }], backups, complete: true };
    await agent.call('inventory', agent.session(facts));
  };
  await announce([summary(randomUUID(), { state: 'bad' })]);
  const reasons = [makeFinding('DATABASES_UNKNOWN', target)];
  expect(await statusOf(bench)).toMatchObject([{ databases: [], state: 'none', reasons }]);
  await announce([{ ...tested(), sequence: 2 }]);
  const gone = [makeFinding('NO_DATABASE_TO_PROTECT', target)];
  expect(await statusOf(bench)).toMatchObject([{ databases: [{ database: 'shop' }], state: 'at_risk', reasons: gone }]);
});
