import { LIMITS } from '@lastgood/protocol';
import { expect, test } from 'vitest';
import {
  type FleetFile,
  fleetFileSchema,
  jobSpecOf,
  type MatchTarget,
  makeScheduleSet,
  scheduleEntriesOf,
  unsupportedRules,
} from '../../src/fleet-file/index.ts';

const target = (name: string): MatchTarget => ({
  ...{ environment: 'prod', host: 'db-1', target: name },
  ...{ engine: 'postgres', labels: {} },
});
const fleet = (policy: object): FleetFile => fleetFileSchema.parse({ policies: { all: { select: {}, ...policy } } });
const DAILY = fleet({ backup: [{ method: 'logical', cron: '0 2 * * *', options: { digests: true } }] });
const none = (): string[] => [];

test('a backup job has the method, contents and options of its schedule', () => {
  const [entry] = scheduleEntriesOf(DAILY, [target('shop')], none);
  expect(entry).toMatchObject({
    name: 'backup-logical',
    spec: { command: 'backup', target: 'shop', method: 'logical', contents: null, options: { digests: true } },
  });
});

test('the revision follows the content: the order of targets changes nothing, a hold does', () => {
  const file = fleet({ retention: { keepLast: 3 }, rotate: [{ cron: '0 8 * * *' }] });
  const revision = (names: string[], holds: string[] = []): string =>
    makeScheduleSet(
      'prod/db-1',
      scheduleEntriesOf(file, names.map(target), () => holds),
    ).revision;
  expect(revision(['shop', 'crm'])).toBe(revision(['crm', 'shop']));
  expect(revision(['shop'])).not.toBe(revision(['crm', 'shop']));
  expect(revision(['shop'], ['11111111-1111-4111-8111-111111111111'])).not.toBe(revision(['shop']));
});

test('a rotation keeps all holds, and does not exist without rules or with one that is not carried out', () => {
  const held = ['22222222-2222-4222-8222-222222222222', '11111111-1111-4111-8111-111111111111'];
  const spec = (retention: Parameters<typeof jobSpecOf>[2]['retention']) =>
    jobSpecOf({ command: 'rotate' }, 'shop', { retention, holds: held });
  expect(spec({ keepWithin: 7 * 86_400_000, minimum: 3 })).toEqual({
    ...{ command: 'rotate', target: 'shop', dryRun: false, holds: held.toSorted() },
    retention: { keepWithinHours: 168, minimum: 3 },
  });
  expect(spec(null)).toBeNull();
  expect(spec({ keepLast: 3, weekly: 4 })).toBeNull();
  expect(unsupportedRules({ keepLast: 3, weekly: 4, window: 1 })).toEqual(['weekly', 'window']);
});

test('schedules that do not fit into one message are refused with both numbers', () => {
  const targets = Array.from({ length: LIMITS.schedules + 1 }, (_, index) => target(`t${index}`));
  expect(() => makeScheduleSet('prod/db-1', scheduleEntriesOf(DAILY, targets, none))).toThrow(
    /1025 schedules of prod\/db-1 have \d+ bytes; the limits are 1024 and 131072 bytes/,
  );
});
