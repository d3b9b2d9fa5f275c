import { describe, expect, test } from 'vitest';
import { covers, effectivePolicy, type Selector, selects } from '../../src/fleet-file/index.ts';
import { scheduleIdOf } from '../../src/schedules/index.ts';
import { DAY, HOUR, read, target } from './support.ts';

describe('a selector', () => {
  const shop = target({ labels: { tier: 'critical', team: 'sales' } });
  test.for<{ select: Selector; matches: boolean }>([
    { select: {}, matches: true },
    { select: { environment: 'prod' }, matches: true },
    { select: { environment: ['staging', 'prod'] }, matches: true },
    { select: { environment: 'staging' }, matches: false },
    { select: { engine: 'postgres', labels: { tier: 'critical' } }, matches: true },
    { select: { engine: 'redis', labels: { tier: 'critical' } }, matches: false },
    { select: { labels: { tier: 'critical', team: 'ops' } }, matches: false },
    { select: { host: 'db-1', target: ['shop', 'crm'] }, matches: true },
  ])('$select matches the target: $matches', ({ select, matches }) => {
    expect(selects(select, shop)).toBe(matches);
  });

  test.for<{ wide: Selector; narrow: Selector; is: boolean }>([
    { wide: {}, narrow: { engine: 'redis' }, is: true },
    { wide: { engine: 'redis' }, narrow: {}, is: false },
    { wide: { engine: ['redis', 'postgres'] }, narrow: { engine: 'redis' }, is: true },
    { wide: { labels: { tier: 'critical' } }, narrow: { labels: { tier: 'critical', team: 'ops' } }, is: true },
    { wide: { labels: { tier: 'critical' } }, narrow: { labels: { tier: 'low' } }, is: false },
  ])('$wide covers $narrow: $is', ({ wide, narrow, is }) => {
    expect(covers(wide, narrow)).toBe(is);
  });
});

const policies = {
  base: {
    select: {},
    objectives: { rpo: '24h', restoreTest: '30d' },
    backup: [{ method: 'logical', cron: '0 2 * * *' }],
    retention: { keepWithin: '3d', minimum: 2 },
    alerts: { contacts: ['devops'], backupAge: '30h', mute: ['backup_duration', 'log_lag'] },
  },
  critical: {
    select: { labels: { tier: 'critical' } },
    objectives: { rpo: '1h', rto: '4h' },
    requireStream: true,
    backup: [
      { method: 'logical', cron: '0 2 * * *' },
      { name: 'evening', method: 'logical', cron: '0 20 * * *' },
    ],
    verify: [{ level: 6, cron: '0 6 * * 0', spread: '1h', catchUp: 'none' }],
    retention: { keepWithin: '7d', keepLast: 5 },
    alerts: { contacts: ['dba'], repeat: '1h', escalate: { after: '2h', contacts: ['boss'] }, mute: ['log_lag'] },
  },
};
const file = read({ environments: { prod: { timezone: 'America/Sao_Paulo' } }, policies });

describe('the effective policy', () => {
  test('is none for a target that no policy selects', () => {
    expect(effectivePolicy(read({ policies: { critical: policies.critical } }), target())).toBeNull();
  });

  test('of one policy has its schedules with all defaults, in the time zone of the environment', () => {
    const policy = effectivePolicy(file, target());
    expect(policy?.policies).toEqual(['base']);
    expect(policy?.schedules).toEqual([
      {
        name: 'backup-logical',
        policies: ['base'],
        work: { command: 'backup', method: 'logical', databases: null, options: {} },
        schedule: {
          scheduleId: scheduleIdOf(target(), 'backup-logical'),
          cron: '0 2 * * *',
          timezone: 'America/Sao_Paulo',
          spreadMs: 0,
          spreadKey: 'prod/db-1/shop',
          windowMs: HOUR,
          maxRunMs: 12 * HOUR,
          catchUp: 'last',
        },
      },
    ]);
    expect(policy?.alerts).toEqual({
      contacts: ['devops'],
      pings: [],
      repeatMs: 4 * HOUR,
      escalate: null,
      backupAgeMs: 30 * HOUR,
      backupDurationMs: HOUR,
      sizeChangePercent: 50,
      logLagMs: 24 * HOUR,
      mute: ['backup_duration', 'log_lag'],
    });
  });

  test('of several adds up schedules, and takes the stricter objective and the longer retention', () => {
    const policy = effectivePolicy(file, target({ labels: { tier: 'critical' } }));
    expect(policy?.policies).toEqual(['base', 'critical']);
    expect(policy?.objectives).toEqual({ rpoMs: HOUR, rtoMs: 4 * HOUR, restoreTestMs: 30 * DAY });
    expect(policy?.requireStream).toBe(true);
    expect(policy?.schedules.map(({ name, policies: by }) => `${name} ${by.join('+')}`)).toEqual([
      'backup-logical base+critical',
      'evening critical',
      'verify-l6 critical',
    ]);
    expect(policy?.conflicts).toEqual([]);
    expect(policy?.retention).toEqual({ keepWithin: 7 * DAY, keepLast: 5, minimum: 2 });
    expect(policy?.alerts).toMatchObject({
      contacts: ['devops', 'dba'],
      repeatMs: HOUR,
      escalate: { afterMs: 2 * HOUR, contacts: ['boss'] },
      mute: ['log_lag'],
    });
  });

  test('waits for the backup age that the RPO allows before it raises an alert', () => {
    const weekly = read({ policies: { slow: { select: {}, objectives: { rpo: '8d' } } } });
    expect(effectivePolicy(weekly, target())?.alerts.backupAgeMs).toBe(8 * DAY);
  });

  test('reports schedules of one name that differ', () => {
    const differing = read({
      policies: { ...policies, other: { select: {}, backup: [{ method: 'logical', cron: '0 4 * * *' }] } },
    });
    expect(effectivePolicy(differing, target())?.conflicts).toEqual([
      { name: 'backup-logical', policies: ['base', 'other'], path: ['policies', 'other', 'backup', 0] },
    ]);
  });

  test('gives each target schedules of its own', () => {
    const ids = ['a', 'b'].map((host) => effectivePolicy(file, target({ host }))?.schedules[0]?.schedule.scheduleId);
    expect(new Set(ids).size).toBe(2);
  });
});
