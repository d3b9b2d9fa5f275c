import { randomUUID } from 'node:crypto';
import type { BackupSummary, JobSpec } from '@lastgood/protocol';
import { aBackupSummary } from '@lastgood/testkit';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { AgentSocket } from './support/agent-socket.ts';
import { ControlHarness } from './support/control-harness.ts';

let bench: ControlHarness;
let agent: AgentSocket;
beforeEach(async () => {
  bench = await ControlHarness.start();
  agent = await AgentSocket.connect(bench, await bench.enroll());
});
afterEach(() => bench[Symbol.asyncDispose]());

const id = (n: number): string => `00000000-0000-7000-8000-00000000000${n}`;
const backup = (n: number, target = 'shop'): BackupSummary => aBackupSummary({ backupId: id(n), target, sequence: n });
const inventory = (name: string): object => ({
  name,
  engine: 'postgres',
  labels: {},
  repository: 'local',
  state: 'ok',
  version: '15.18',
  systemId: null,
  sizeBytes: 1,
  databases: [],
  findings: [],
});
/** Facts of the target `shop`, and of `crm`, as an agent sends them now. */
async function tell(backups: readonly BackupSummary[], more: object = {}): Promise<void> {
  const targets = ['shop', 'crm'].map(inventory);
  const facts = {
    hash: JSON.stringify([backups.map(({ backupId }) => backupId), more]),
    targets,
    backups,
    complete: true,
  };
  const reply = await agent.call('inventory', agent.session({ ...facts, ...more }));
  expect(reply?.error).toBeUndefined();
}
const known = async (): Promise<string> =>
  (await bench.admin().backups.query({}))
    .map(({ sequence, state }) => `${sequence}:${state}`)
    .toSorted()
    .join(' ');
async function report(spec: JobSpec, ...ends: [string, object | null][]): Promise<void> {
  const { jobId } = await bench.admin().createJob.mutate({ target: 'shop', spec, idempotencyKey: randomUUID() });
  const events = ends.map(([type, result], index) => ({
    id: `${jobId}-${index + 1}`,
    previousEventId: index === 0 ? null : `${jobId}-${index}`,
    jobId,
    attempt: 1,
    eventNumber: index + 1,
    type,
    at: bench.clock.now(),
    error: null,
    result,
  }));
  await agent.call('report', agent.session({ events }));
}

test('D9: what a rotation removed leaves the catalog, whether it lived to report or not', async () => {
  await tell([backup(1), backup(2), backup(3)]);
  await tell([backup(2), backup(3)], { removed: [id(1)] });
  expect(await known()).toBe('2:good 3:good');
});

test('D9: a backup that an earlier reading missed leaves the catalog as well, once it is reported as removed', async () => {
  await tell([backup(1), backup(2)]);
  await tell([backup(2)]);
  expect(await known()).toBe('1:missing 2:good');
  await tell([backup(2)], { removed: [id(1)] });
  expect(await known()).toBe('2:good');
});

test('an agent removes no backup that another one has announced', async () => {
  await tell([backup(1)]);
  agent = await AgentSocket.connect(bench, await bench.enroll('db-2'));
  await tell([], { removed: [id(1)] });
  expect(await known()).toBe('1:good');
});

test('B4: of a target whose repository could not be read nothing is said, and nothing becomes missing', async () => {
  await tell([backup(1), backup(2, 'crm')]);
  await tell([], { scanned: ['shop'] });
  expect(await known()).toBe('1:missing 2:good');
  await tell([], { scanned: [] });
  expect(await known()).toBe('1:missing 2:good');
});

test('B11: a backup that is not seen is missing, as an older agent says it, and one that comes back is what it is', async () => {
  await tell([backup(1)]);
  await tell([]);
  expect(await known()).toBe('1:missing');
  await tell([backup(1)]);
  expect(await known()).toBe('1:good');
});

test('of what is older than the newest that fit into a frame nothing is said', async () => {
  await tell([backup(1), backup(3), backup(4)]);
  await tell([backup(4)], { complete: false });
  expect(await known()).toBe('1:good 3:good 4:good');
  await tell([backup(3)], { complete: false });
  expect(await known()).toBe('1:good 3:good 4:missing');
});

test('the same facts count again after a report has changed the catalog', async () => {
  await tell([]);
  const result = { command: 'backup', backup: backup(1), durationMs: 1 };
  const spec: JobSpec = { command: 'backup', target: 'shop', method: null, contents: null, options: {} };
  await report(spec, ['accepted', null], ['running', null], ['succeeded', result]);
  expect(await known()).toBe('1:good');
  await tell([]);
  expect(await known()).toBe('1:missing');
});
