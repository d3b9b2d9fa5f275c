import { randomUUID } from 'node:crypto';
import {
  type BackupSummary,
  inventoryInputSchema,
  LIMITS,
  makeFinding,
  sizeOf,
  type TargetInventory,
} from '@lastgood/protocol';
import { aBackupSummary, someDatabases } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { InProcessFleet } from '../../../test/support/in-process-fleet.ts';
import { parseAgentConfig } from '../src/config/agent-config.ts';
import { boundedInventory, type HostInventory } from '../src/inventory/bounded-inventory.ts';

const times = <T>(count: number, make: (n: number) => T): T[] => Array.from({ length: count }, (_, n) => make(n));
const inventory = (n: number, databases: number, more: Partial<TargetInventory> = {}): TargetInventory => ({
  name: `target-${n}`,
  engine: 'postgres',
  labels: {},
  repository: 'local',
  state: 'ok',
  version: '15.18',
  systemId: '7300000000000000000',
  sizeBytes: 1,
  databases: times(databases, (k) => ({ name: `customer_database_${n}_${k}`, sizeBytes: 123_456_789 })),
  findings: [],
  ...more,
});
const backup = (n: number, target: string, databases: string[] = ['shop']): BackupSummary =>
  aBackupSummary({
    backupId: `01a20b1a-0000-7000-8000-${String(n).padStart(12, '0')}`,
    target,
    sequence: n,
    contents: someDatabases(...databases),
  });
const factsOf = (targets: TargetInventory[], more: Partial<HostInventory> = {}): HostInventory => ({
  targets,
  backups: [],
  removed: [],
  checks: [],
  hooks: [],
  scanned: targets.map(({ name }) => name),
  overtaken: () => new Set(),
  ...more,
});
const huge = { note: 'x'.repeat(255), role: 'y'.repeat(255), owner: 'é'.repeat(255) };
const wordy = times(40, () =>
  makeFinding('BACKUP_UNREADABLE', null, { error: 'IO_ERROR', reason: 'something at great length '.repeat(12) }),
);

test.for<[string, HostInventory]>([
  ['25 targets of 200 databases', factsOf(times(25, (n) => inventory(n, 200)))],
  ['256 targets with long labels', factsOf(times(256, (n) => inventory(n, 3, { labels: huge })))],
  ['256 targets with many findings', factsOf(times(256, (n) => inventory(n, 200, { findings: wordy, labels: huge })))],
  [
    'names as long as they may be',
    factsOf(
      times(256, (n) =>
        inventory(n, 9, { name: `${n}`.padEnd(63, 'n'), repository: 'r'.repeat(63), version: 'v'.repeat(900) }),
      ),
    ),
  ],
  [
    '10,000 backups and removed ones',
    factsOf([inventory(1, 200)], {
      backups: times(9_999, (n) => backup(n, 'target-1')),
      removed: times(9_999, () => randomUUID()),
    }),
  ],
  [
    'backups of 1,000 databases',
    factsOf(
      times(256, (n) => inventory(n, 50)),
      {
        backups: times(50, (n) =>
          backup(
            n,
            'target-1',
            times(1_000, (k) => `${k}`.padEnd(63, 'd')),
          ),
        ),
      },
    ),
  ],
])('an inventory fits into a frame and reports every target: %s', ([, facts]) => {
  const told = inventoryInputSchema.parse({ sessionId: randomUUID(), ...boundedInventory(facts) });
  expect(sizeOf(told)).toBeLessThan(LIMITS.frameBytes - 16 * 1024);
  expect(told.targets.map(({ name, state }) => [name, state])).toEqual(facts.targets.map(({ name }) => [name, 'ok']));
  if (facts.backups.length > 0) expect(told.backups.at(-1)?.backupId).toBe(facts.backups.at(-1)?.backupId);
  for (const [index, target] of told.targets.entries()) {
    const whole = sizeOf(facts.targets[index]) === sizeOf(target);
    expect(whole || target.findings.some(({ code }) => code === 'INVENTORY_TRUNCATED')).toBe(true);
  }
  expect(told.complete).toBe(
    told.backups.length === facts.backups.length && told.removed.length === facts.removed.length,
  );
});

test('an inventory that fits is reported unchanged', () => {
  const facts = factsOf([inventory(1, 200, { labels: huge, findings: [makeFinding('SERVER_REFUSED', null)] })], {
    backups: [backup(1, 'target-1')],
  });
  expect(boundedInventory(facts)).toMatchObject({ targets: facts.targets, backups: facts.backups, complete: true });
});

test('one backup that is larger than its share is cut in its lists and leaves no other one out', () => {
  const large = backup(
    2,
    'target-1',
    times(20_000, (k) => `database_${k}`),
  );
  const told = boundedInventory(factsOf([inventory(1, 1)], { backups: [backup(1, 'target-1'), large] }));
  expect(told.backups.map(({ sequence }) => sequence)).toEqual([1, 2]);
  expect(told.backups[1]?.contents.length).toBeGreaterThan(1_000);
});

test('a host with 257 targets is refused in its file', () => {
  const target = { engine: 'postgres', repository: 'local', connection: { host: '127.0.0.1', user: 'nobody' } };
  const file = (count: number): string =>
    JSON.stringify({
      environment: 'test',
      host: 'db-1',
      control: { url: 'http://127.0.0.1:7400' },
      repositories: { local: { type: 'folder', path: '/nowhere' } },
      targets: Object.fromEntries(times(count, (n) => [`t${n}`, target])),
    });
  expect(Object.keys(parseAgentConfig(file(256), 'agent.yaml').targets)).toHaveLength(256);
  expect(() => parseAgentConfig(file(257), 'agent.yaml')).toThrow('a host has at most 256 targets');
});

test('K5: a host with as many and as wordy targets as there may be has one session that lasts', async () => {
  await using both = await InProcessFleet.open((config) => {
    const shop = config.targets['shop'] ?? {};
    config.targets = Object.fromEntries(times(256, (n) => [`t${n}`, { ...shop, labels: huge }]));
  });
  const sessions: string[] = [];
  const log = {
    info: (_fields: object, message: string) => void sessions.push(message),
    warn: (_fields: object, message: string) => void sessions.push(message),
  };
  await both.startAgent({ log: log as never });
  await both.announced(256);
  expect(sessions.filter((message) => message.includes('connect'))).toEqual(['connected to the control plane']);
});
