import { describe, expect, test } from 'vitest';
import { diffFleetFiles } from '../../src/fleet-file/index.ts';
import { NOW, read, target } from './support.ts';

const base = {
  environments: { prod: { timezone: 'America/Sao_Paulo' } },
  contacts: { dba: { email: ['a@example.com', 'b@example.com'] }, ops: { email: ['c@example.com'] } },
  policies: {
    p: {
      select: { engine: 'postgres' },
      objectives: { rpo: '24h' },
      requireStream: true,
      backup: [{ method: 'logical', cron: '0 2 * * *', options: { digests: true } }],
      verify: [{ level: 6, cron: '0 6 * * 0' }],
      retention: { keepWithin: '7d', keepLast: 3 },
      rotate: [{ cron: '0 8 * * *' }],
      alerts: { contacts: ['dba', 'ops'], backupAge: '24h', escalate: { after: '1h', contacts: ['ops'] } },
    },
    q: { select: { labels: { tier: 'low' } }, backup: [{ method: 'logical', name: 'q', cron: '0 3 * * *' }] },
  },
  runbooks: { r: { drill: { cron: '0 9 1 * *' }, steps: { a: { wait: '1m' } } } },
};
type Base = typeof base;

/** The changes after an edit, as `path kind loss`. */
function changes(edit: (copy: Base) => unknown, from: Base = base): string[] {
  const copy = structuredClone(from);
  edit(copy);
  return diffFleetFiles(read(from), read(copy), [], NOW).changes.map(
    ({ path, kind, loss }) => `${path.join('.')} ${kind}${loss === null ? '' : ` ${loss}`}`,
  );
}
const drop = (record: object, key: string): boolean => Reflect.deleteProperty(record, key);

test('equal files have no changes, in whatever order they are written', () => {
  expect(changes(() => undefined)).toEqual([]);
  expect(changes((copy) => Object.assign(copy, { policies: { q: copy.policies.q, p: copy.policies.p } }))).toEqual([]);
});

test('a change has both values as the file writes them', () => {
  const after = structuredClone(base);
  after.policies.p.retention.keepWithin = '3d';
  expect(diffFleetFiles(read(base), read(after), [], NOW).changes).toEqual([
    {
      path: ['policies', 'p', 'retention', 'keepWithin'],
      kind: 'changed',
      before: '7d',
      after: '3d',
      loss: 'retention_shortened',
    },
  ]);
});

test('names the targets that have no policy afterwards', () => {
  const after = { ...base, policies: { q: base.policies.q } };
  const targets = [target(), target({ host: 'db-2', labels: { tier: 'low' } }), target({ engine: 'redis' })];
  expect(diffFleetFiles(read(base), read(after), targets, NOW).unprotected).toEqual(['prod/db-1/shop']);
});

describe('a loss is', () => {
  test.for<[string, (copy: Base) => unknown, string[]]>([
    [
      'a shorter rule',
      ({ policies: { p } }) => Object.assign(p.retention, { keepLast: 2 }),
      ['policies.p.retention.keepLast changed retention_shortened'],
    ],
    [
      'a rule that is gone',
      ({ policies: { p } }) => drop(p.retention, 'keepLast'),
      ['policies.p.retention.keepLast removed retention_shortened'],
    ],
    [
      'the first rule where all was kept',
      ({ policies: { q } }) => Object.assign(q, { retention: { keepLast: 9 } }),
      ['policies.q.retention.keepLast added retention_shortened'],
    ],
    ['a policy that is gone', ({ policies }) => drop(policies, 'q'), ['policies.q removed protection_removed']],
    [
      'a narrower selector',
      ({ policies: { p } }) => Object.assign(p.select, { environment: 'prod' }),
      ['policies.p.select changed protection_removed'],
    ],
    [
      'a stream that is not required any more',
      ({ policies: { p } }) => drop(p, 'requireStream'),
      ['policies.p.requireStream removed protection_removed'],
    ],
    [
      'a backup that is gone',
      ({ policies: { p } }) => drop(p, 'backup'),
      ['policies.p.backup.backup-logical removed protection_removed'],
    ],
    [
      'a backup that runs less often',
      ({ policies: { p } }) => Object.assign(p.backup[0] ?? {}, { cron: '0 2 * * 1-5' }),
      ['policies.p.backup.backup-logical changed protection_removed'],
    ],
    [
      'a backup without digests',
      ({ policies: { p } }) => Object.assign(p.backup[0] ?? {}, { options: { digests: false } }),
      ['policies.p.backup.backup-logical changed protection_removed'],
    ],
    [
      'a backup of fewer databases',
      ({ policies: { p } }) => Object.assign(p.backup[0] ?? {}, { databases: ['shop'] }),
      ['policies.p.backup.backup-logical changed protection_removed'],
    ],
    [
      'runs that are not made up for',
      ({ policies: { p } }) => Object.assign(p.backup[0] ?? {}, { catchUp: 'none' }),
      ['policies.p.backup.backup-logical changed protection_removed'],
    ],
    [
      'a lower level under the same name',
      ({ policies: { p } }) => Object.assign(p, { verify: [{ name: 'verify-l6', level: 2, cron: '0 6 * * 0' }] }),
      ['policies.p.verify.verify-l6 changed protection_removed'],
    ],
    [
      'a looser objective',
      ({ policies: { p } }) => Object.assign(p.objectives, { rpo: '30h' }),
      ['policies.p.objectives.rpo changed alert_silenced'],
    ],
    [
      'a contact of a policy that is gone',
      ({ policies: { p } }) => Object.assign(p.alerts, { contacts: ['dba'] }),
      ['policies.p.alerts.contacts changed alert_silenced'],
    ],
    [
      'a higher threshold',
      ({ policies: { p } }) => Object.assign(p.alerts, { backupAge: '48h' }),
      ['policies.p.alerts.backupAge changed alert_silenced'],
    ],
    [
      'a threshold above the default',
      ({ policies: { p } }) => Object.assign(p.alerts, { backupDuration: '2h' }),
      ['policies.p.alerts.backupDuration added alert_silenced'],
    ],
    [
      'a later escalation',
      ({ policies: { p } }) => Object.assign(p.alerts.escalate, { after: '2h' }),
      ['policies.p.alerts.escalate changed alert_silenced'],
    ],
    [
      'an alert that is muted',
      ({ policies: { p } }) => Object.assign(p.alerts, { mute: ['backup_failed'] }),
      ['policies.p.alerts.mute added alert_silenced'],
    ],
    [
      'an address that is gone',
      ({ contacts: { dba } }) => dba.email.pop(),
      ['contacts.dba.email changed alert_silenced'],
    ],
    ['a contact that is gone', ({ contacts }) => drop(contacts, 'ops'), ['contacts.ops removed alert_silenced']],
    [
      'a contact for fewer environments',
      ({ contacts: { ops } }) => Object.assign(ops, { environments: ['prod'] }),
      ['contacts.ops.environments added alert_silenced'],
    ],
    ['a runbook that is gone', ({ runbooks }) => drop(runbooks, 'r'), ['runbooks.r removed protection_removed']],
    ['a runbook without drills', ({ runbooks: { r } }) => drop(r, 'drill'), ['runbooks.r changed protection_removed']],
  ])('%s', ([, edit, expected]) => {
    expect(changes(edit)).toEqual(expected);
  });
});

describe('no loss is', () => {
  test.for<[string, (copy: Base) => unknown, string[]]>([
    [
      'a longer rule',
      ({ policies: { p } }) => Object.assign(p.retention, { keepWithin: '8d' }),
      ['policies.p.retention.keepWithin changed'],
    ],
    [
      'another rule beside one',
      ({ policies: { p } }) => Object.assign(p.retention, { weekly: 4 }),
      ['policies.p.retention.weekly added'],
    ],
    [
      'no rule at all: then all is kept',
      ({ policies: { p } }) => drop(p, 'retention'),
      ['policies.p.retention.keepLast removed', 'policies.p.retention.keepWithin removed'],
    ],
    [
      'a new policy',
      ({ policies }) => Object.assign(policies, { n: { select: {}, retention: { keepLast: 1 } } }),
      ['policies.n added'],
    ],
    [
      'a wider selector',
      ({ policies: { p } }) => Object.assign(p.select, { engine: ['postgres', 'redis'] }),
      ['policies.p.select changed'],
    ],
    [
      'a policy under another name',
      ({ policies }) => {
        Object.assign(policies, { z: policies.q });
        drop(policies, 'q');
      },
      ['policies.q removed', 'policies.z added'],
    ],
    [
      'a backup at another hour',
      ({ policies: { p } }) => Object.assign(p.backup[0] ?? {}, { cron: '0 4 * * *' }),
      ['policies.p.backup.backup-logical changed'],
    ],
    [
      'a backup more often',
      ({ policies: { p } }) => Object.assign(p.backup[0] ?? {}, { cron: '0 4,16 * * *' }),
      ['policies.p.backup.backup-logical changed'],
    ],
    [
      'a stricter objective',
      ({ policies: { p } }) => Object.assign(p.objectives, { rpo: '1h', rto: '1h' }),
      ['policies.p.objectives.rpo changed', 'policies.p.objectives.rto added'],
    ],
    ['less rotation', ({ policies: { p } }) => drop(p, 'rotate'), ['policies.p.rotate.rotate removed']],
    [
      'one more contact',
      ({ policies: { p }, contacts }) => {
        Object.assign(contacts, { boss: { email: ['d@example.com'] } });
        p.alerts.contacts.push('boss');
      },
      ['contacts.boss added', 'policies.p.alerts.contacts changed'],
    ],
    [
      'another time zone',
      ({ environments: { prod } }) => Object.assign(prod, { timezone: 'UTC' }),
      ['environments.prod.timezone changed'],
    ],
  ])('%s', ([, edit, expected]) => {
    expect(changes(edit)).toEqual(expected);
  });
});

test('rotation that begins is a loss where rules were written and never took effect', () => {
  const without: Base = structuredClone(base);
  drop(without.policies.p, 'rotate');
  expect(changes((copy) => Object.assign(copy.policies.p, { rotate: base.policies.p.rotate }), without)).toEqual([
    'policies.p.rotate.rotate added retention_shortened',
  ]);
});
