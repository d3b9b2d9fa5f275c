import { randomUUID } from 'node:crypto';
import { type BackupSummary, type JobSpec, makeFinding } from '@lastgood/protocol';
import { aBackupSummary, someDatabases } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { reconcileBackup } from '../src/catalog/reconcile-backup.ts';
import { AgentSocket, until } from './support/agent-socket.ts';
import { ControlHarness } from './support/control-harness.ts';

const first = aBackupSummary({
  sequence: 7,
  manifestSha256: 'a'.repeat(64),
  warnings: [makeFinding('ROLE_PASSWORDS_LEFT_OUT', null)],
});
const other: BackupSummary = {
  ...first,
  manifestSha256: 'b'.repeat(64),
  contents: someDatabases('shop', 'more'),
  sequence: 9,
  warnings: [],
};
const passed = { level: 6, at: '2026-01-16T12:00:00Z', passed: true };
const mark = makeFinding('MANIFEST_CHANGED', { kind: 'backup', name: first.backupId });
const changed: BackupSummary = { ...first, state: 'bad', warnings: [...first.warnings, mark] };

test.for([
  { what: 'one that is new', known: undefined, told: first, kept: first },
  { what: 'the same', known: first, told: first, kept: first },
  {
    what: 'the same with a verdict',
    known: first,
    told: { ...first, verified: passed },
    kept: { ...first, verified: passed },
  },
  { what: 'one with another manifest', known: first, told: other, kept: changed },
  { what: 'one with another manifest, again', known: changed, told: other, kept: changed },
  { what: 'the first again', known: changed, told: first, kept: first },
  {
    what: 'a verdict on the changed one',
    known: changed,
    told: { ...changed, state: 'good' as const, verified: passed },
    kept: { ...changed, verified: passed },
  },
  {
    what: 'the loss of the changed one',
    known: changed,
    told: { ...changed, state: 'missing' as const },
    kept: { ...changed, state: 'missing' as const },
  },
])('B12: of $what the catalog keeps what it may adoptAgentHistory', ({ known, told, kept }) => {
  expect(reconcileBackup(known, told)).toEqual(kept);
});

test('B12: a scan or a report that announces a known backup with another manifest makes it bad, with the first hash', async () => {
  await using bench = await ControlHarness.start();
  const agent = await AgentSocket.connect(bench, await bench.enroll());
  const admin = bench.admin();
  const shown = async () => (await admin.backups.query({}))[0];
  await agent.sendInventory(['shop'], [first]);
  expect(await shown()).toMatchObject(first);
  await agent.sendInventory(['shop'], [other]);
  expect(await shown()).toMatchObject(changed);
  expect((await admin.targets.query({}))[0]?.lastGood).toBeNull();
  await agent.sendInventory(['shop'], [first]);
  expect(await shown()).toMatchObject(first);
  const spec: JobSpec = { command: 'backup', target: 'shop', method: null, contents: null, options: {} };
  const { jobId } = await admin.createJob.mutate({ target: 'shop', spec, idempotencyKey: randomUUID() });
  await until('the command', () => agent.commands[0]);
  const result = { command: 'backup', backup: other, durationMs: 1 };
  const event = {
    id: randomUUID(),
    previousEventId: null,
    jobId,
    attempt: 1,
    eventNumber: 1,
    type: 'succeeded',
    at: 0,
    error: null,
    result,
  };
  await agent.call('report', agent.session({ events: [event] }));
  expect(await shown()).toMatchObject(changed);
});

test('a report of a job takes back nothing that is known of its backup already', async () => {
  await using bench = await ControlHarness.start();
  const agent = await AgentSocket.connect(bench, await bench.enroll());
  const spec: JobSpec = { command: 'backup', target: 'shop', method: null, contents: null, options: {} };
  await agent.announce('shop');
  const { jobId } = await bench.admin().createJob.mutate({ target: 'shop', spec, idempotencyKey: randomUUID() });
  await until('the command', () => agent.commands[0]);
  const failed = { ...passed, passed: false };
  await agent.sendInventory(['shop'], [{ ...first, state: 'bad', verified: failed }]);
  const result = { command: 'backup', backup: first, durationMs: 1 };
  const event = {
    id: randomUUID(),
    previousEventId: null,
    jobId,
    attempt: 1,
    eventNumber: 1,
    type: 'succeeded',
    at: 0,
    error: null,
    result,
  };
  await agent.call('report', agent.session({ events: [event] }));
  expect((await bench.admin().backups.query({}))[0]).toMatchObject({ state: 'bad', verified: failed });
});
