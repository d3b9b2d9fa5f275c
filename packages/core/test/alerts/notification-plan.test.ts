import { describe, expect, test } from 'vitest';
import {
  type Alert,
  type AlertCode,
  type AlertRoute,
  acknowledge,
  GROUP_INTERVAL_MS,
  GROUP_WAIT_MS,
  type Maintenance,
  makeRoutingTable,
  mutedBy,
  type NotificationGroup,
  planNotifications,
  type RoutingTable,
  routeOf,
  type Silence,
} from '../../src/alerts/index.ts';
import { alert, HOUR, MINUTE, NOW } from './support.ts';

const route = (more: Partial<AlertRoute> = {}): AlertRoute => ({
  contacts: ['dba'],
  repeatMs: 4 * HOUR,
  escalate: null,
  ...more,
});
const table = (targets: Record<string, AlertRoute>, contacts: Record<string, string[] | null> = {}): RoutingTable =>
  makeRoutingTable(
    Object.entries({ dba: null, ops: null, boss: null, ...contacts }).map(
      ([name, environments]) => [name, { environments }] as const,
    ),
    Object.entries(targets),
  );

/** Plays alerts over time against one stored set of groups. */
class Desk {
  groups: NotificationGroup[] = [];
  alerts: Alert[] = [];
  silences: Silence[] = [];
  maintenances: Maintenance[] = [];
  table = table({ 'prod/db-1/postgres': route() });

  /** What is sent at a time after `NOW`: `firing dba: a1 a2 resolved a3`. */
  at(ms: number): string[] {
    const { messages, groups } = planNotifications({
      alerts: this.alerts,
      groups: this.groups,
      table: this.table,
      muting: { silences: this.silences, maintenances: this.maintenances },
      nowMs: NOW + ms,
    });
    const changed = new Map(groups.map((each) => [`${each.environment} ${each.contact}`, each]));
    const known = this.groups.map((each) => {
      const key = `${each.environment} ${each.contact}`;
      const next = changed.get(key) ?? each;
      changed.delete(key);
      return next;
    });
    this.groups = [...known, ...changed.values()];
    return messages.map(({ kind, contact, firing, resolved, isEscalation }) =>
      [
        `${kind} ${contact}${isEscalation ? ' (escalated)' : ''}:`,
        ...firing.map(({ alertId }) => alertId),
        ...(resolved.length > 0 ? ['resolved', ...resolved.map(({ alertId }) => alertId)] : []),
      ].join(' '),
    );
  }
  resolve(alertId: string): void {
    this.alerts = this.alerts.map((each) => (each.alertId === alertId ? { ...each, state: 'resolved' } : each));
  }
}
const open = (alertId: string, more: Partial<Alert> = {}): Alert => alert({ alertId, ...more });
const onTarget = (target: string): Pick<Alert, 'subject'> => ({
  subject: { kind: 'target', environment: 'prod', host: 'db-1', target },
});

describe('a group', () => {
  test('gets one message for what fires together, after a short wait, and one when all is resolved', () => {
    const desk = new Desk();
    desk.alerts = [open('a1'), open('a2', { code: 'rpo_missed' })];
    expect(desk.at(0)).toEqual([]);
    expect(desk.at(GROUP_WAIT_MS)).toEqual(['firing dba: a1 a2']);
    expect(desk.at(GROUP_WAIT_MS + 1)).toEqual([]);
    desk.resolve('a1');
    expect(desk.at(MINUTE)).toEqual([]);
    desk.resolve('a2');
    expect(desk.at(2 * MINUTE)).toEqual(['resolved dba: resolved a1 a2']);
    expect(desk.at(9 * HOUR)).toEqual([]);
  });

  test('gets what is new at once a while after the last message, else with the next one', () => {
    const desk = new Desk();
    desk.alerts = [open('a1')];
    desk.at(GROUP_WAIT_MS);
    desk.alerts.push(open('a2', { code: 'rpo_missed', firedAtMs: NOW + MINUTE }));
    expect(desk.at(2 * MINUTE)).toEqual([]);
    expect(desk.at(GROUP_WAIT_MS + GROUP_INTERVAL_MS)).toEqual(['firing dba: a1 a2']);
  });

  test('is reminded while an alert fires, and not while all are acknowledged', () => {
    const desk = new Desk();
    desk.alerts = [open('a1')];
    desk.at(GROUP_WAIT_MS);
    expect(desk.at(GROUP_WAIT_MS + 4 * HOUR - 1)).toEqual([]);
    expect(desk.at(GROUP_WAIT_MS + 4 * HOUR)).toEqual(['repeat dba: a1']);
    desk.alerts = desk.alerts.map((each) => acknowledge(each, 'anna', null, NOW + 5 * HOUR));
    expect(desk.at(20 * HOUR)).toEqual([]);
    desk.resolve('a1');
    expect(desk.at(21 * HOUR)).toEqual(['resolved dba: resolved a1']);
  });

  test('lists critical alerts first', () => {
    const desk = new Desk();
    const code = (name: AlertCode): Partial<Alert> => ({ code: name });
    desk.alerts = [open('warning', code('log_lag')), open('critical', code('rpo_missed'))];
    expect(desk.at(GROUP_WAIT_MS)).toEqual(['firing dba: critical warning']);
  });

  test('is notified of nothing that is pending', () => {
    const desk = new Desk();
    desk.alerts = [open('a1', { state: 'pending', firedAtMs: null })];
    expect(desk.at(HOUR)).toEqual([]);
  });

  test('exists per environment and contact', () => {
    const desk = new Desk();
    desk.table = table({
      'prod/db-1/postgres': route({ contacts: ['dba', 'ops'] }),
      'staging/db-1/postgres': route(),
    });
    desk.alerts = [
      open('a1'),
      open('a2', { subject: { kind: 'target', environment: 'staging', host: 'db-1', target: 'postgres' } }),
    ];
    expect(desk.at(GROUP_WAIT_MS)).toEqual(['firing dba: a1', 'firing ops: a1', 'firing dba: a2']);
  });

  test('of a contact that was removed gets nothing', () => {
    const desk = new Desk();
    desk.alerts = [open('a1')];
    desk.at(GROUP_WAIT_MS);
    desk.table = { ...desk.table, contacts: new Map([['ops', { environments: null }]]) };
    desk.resolve('a1');
    expect(desk.at(HOUR)).toEqual([]);
    expect(desk.groups.find(({ contact }) => contact === 'dba')?.notified).toEqual([]);
  });

  test('keeps one thread until it is resolved, and a planned message keeps its id', () => {
    const desk = new Desk();
    desk.alerts = [open('a1')];
    const plan = (nowMs: number) =>
      planNotifications({ alerts: desk.alerts, groups: desk.groups, table: desk.table, muting: desk, nowMs });
    const first = plan(NOW + GROUP_WAIT_MS).messages[0];
    expect(plan(NOW + GROUP_WAIT_MS + 5).messages[0]?.messageId).toBe(first?.messageId);
    desk.at(GROUP_WAIT_MS);
    const repeated = plan(NOW + 5 * HOUR).messages[0];
    expect(repeated?.threadId).toBe(first?.messageId);
    expect(repeated?.messageId).not.toBe(first?.messageId);
    desk.resolve('a1');
    expect(plan(NOW + 6 * HOUR).messages[0]?.threadId).toBe(first?.messageId);
    desk.at(6 * HOUR);
    desk.alerts = [open('a2', { firedAtMs: NOW + 7 * HOUR })];
    const next = plan(NOW + 8 * HOUR).messages[0];
    expect(next?.threadId).toBe(next?.messageId);
  });
});

describe('an escalation', () => {
  const escalated = (): Desk => {
    const desk = new Desk();
    desk.table = table({ 'prod/db-1/postgres': route({ escalate: { afterMs: HOUR, contacts: ['boss', 'dba'] } }) });
    desk.alerts = [open('a1')];
    desk.at(GROUP_WAIT_MS);
    return desk;
  };
  test('notifies others when nobody has acknowledged the alert in time, and when it is resolved', () => {
    const desk = escalated();
    expect(desk.at(HOUR - 1)).toEqual([]);
    expect(desk.at(HOUR)).toEqual(['firing boss (escalated): a1']);
    desk.resolve('a1');
    expect(desk.at(2 * HOUR).toSorted()).toEqual(['resolved boss: resolved a1', 'resolved dba: resolved a1']);
  });
  test('does not happen when somebody has', () => {
    const desk = escalated();
    desk.alerts = desk.alerts.map((each) => acknowledge(each, 'anna', null, NOW + MINUTE));
    expect(desk.at(9 * HOUR)).toEqual([]);
  });
});

describe('silences and maintenance', () => {
  const silence = (more: Partial<Silence> = {}): Silence => ({
    silenceId: 's1',
    match: { code: 'backup_failed' },
    reason: 'disk is being replaced',
    createdBy: 'anna',
    startsMs: NOW - HOUR,
    endsMs: NOW + HOUR,
    ...more,
  });
  test('keep notifications back until their end', () => {
    const desk = new Desk();
    desk.silences = [silence()];
    desk.alerts = [open('a1')];
    expect(desk.at(HOUR - 1)).toEqual([]);
    expect(desk.at(HOUR)).toEqual(['firing dba: a1']);
  });
  test('of an alert that was notified keep back repetition and resolution', () => {
    const desk = new Desk();
    desk.alerts = [open('a1')];
    desk.at(GROUP_WAIT_MS);
    desk.silences = [silence({ endsMs: NOW + 90 * HOUR })];
    expect(desk.at(9 * HOUR)).toEqual([]);
    desk.resolve('a1');
    expect(desk.at(10 * HOUR)).toEqual([]);
    expect(desk.groups[0]?.notified).toEqual([]);
  });
  test('of an alert that was notified and outlives them do not report it as new', () => {
    const desk = new Desk();
    desk.alerts = [open('a1')];
    desk.at(GROUP_WAIT_MS);
    desk.silences = [silence()];
    expect(desk.at(30 * MINUTE)).toEqual([]);
    expect(desk.at(2 * HOUR)).toEqual([]);
    expect(desk.at(5 * HOUR)).toEqual(['repeat dba: a1']);
  });

  const muting = (more: Partial<Silence>[], maintenances: Maintenance[] = []) => ({
    silences: more.map(silence),
    maintenances,
  });
  test.for<[string, Silence['match'], boolean]>([
    ['code', { code: 'backup_failed' }, true],
    ['another code', { code: 'log_lag' }, false],
    ['environment and host', { environment: 'prod', host: 'db-1' }, true],
    ['another host', { environment: 'prod', host: 'db-2' }, false],
    ['target and code', { code: 'backup_failed', target: 'postgres' }, true],
    ['another target', { code: 'backup_failed', target: 'crm' }, false],
  ])('a silence matches by %s', ([, match, is]) => {
    expect(mutedBy(open('a1'), muting([{ match }]), NOW) !== null).toBe(is);
  });
  test('a silence of a target does not match an alert of its host', () => {
    const ofHost = open('a1', { code: 'agent_offline', subject: { kind: 'host', environment: 'prod', host: 'db-1' } });
    expect(mutedBy(ofHost, muting([{ match: { target: 'postgres' } }]), NOW)).toBeNull();
    expect(mutedBy(ofHost, muting([{ match: { host: 'db-1' } }]), NOW)).toMatchObject({ kind: 'silence' });
  });
  test('a silence holds from its start to its end', () => {
    for (const [startsMs, endsMs] of [
      [NOW + 1, NOW + 2],
      [NOW - 2, NOW],
    ] as const)
      expect(mutedBy(open('a1'), muting([{ startsMs, endsMs }]), NOW)).toBeNull();
  });
  test('maintenance covers a host with its targets, or one target', () => {
    const maintenance = { environment: 'prod', host: 'db-1', target: null, untilMs: NOW + HOUR, reason: 'upgrade' };
    const is = (more: Partial<Maintenance>, about = open('a1')): boolean =>
      mutedBy(about, muting([], [{ ...maintenance, ...more }]), NOW) !== null;
    const ofHost = open('a2', { subject: { kind: 'host', environment: 'prod', host: 'db-1' } });
    expect([is({}), is({}, ofHost), is({ target: 'postgres' }), is({ target: 'postgres' }, ofHost)]).toEqual([
      true,
      true,
      true,
      false,
    ]);
    expect([is({ host: 'db-2' }), is({ untilMs: NOW })]).toEqual([false, false]);
  });
});

describe('the route of an alert', () => {
  const contactsOf = (about: Partial<Alert>, by: RoutingTable): string[] => [...routeOf(open('a', about), by).contacts];
  const ofHost = { subject: { kind: 'host', environment: 'prod', host: 'db-1' } } as const;
  test('of a target are the contacts of its policies that are for its environment', () => {
    const by = table({ 'prod/db-1/postgres': route({ contacts: ['dba', 'ops'] }) }, { ops: ['staging'] });
    expect(contactsOf({}, by)).toEqual(['dba']);
  });
  test('of a host are the contacts of all its targets', () => {
    const by = table({
      'prod/db-1/postgres': route(),
      'prod/db-1/crm': route({
        contacts: ['ops', 'dba'],
        repeatMs: HOUR,
        escalate: { afterMs: HOUR, contacts: ['boss'] },
      }),
      'prod/db-10/x': route({ contacts: ['boss'] }),
    });
    expect(routeOf(open('a', ofHost), by)).toEqual({
      contacts: ['dba', 'ops'],
      repeatMs: HOUR,
      escalate: { afterMs: HOUR, contacts: ['boss'] },
    });
  });
  test('without a policy is every contact of the environment', () => {
    expect(contactsOf(onTarget('unknown'), table({}, { ops: ['staging'], boss: ['prod'] }))).toEqual(['dba', 'boss']);
  });
  test('is every contact when none is for the environment, and for the control plane itself', () => {
    const by = table({}, { dba: ['staging'], ops: ['staging'], boss: ['staging'] });
    expect(contactsOf({}, by)).toEqual(['dba', 'ops', 'boss']);
    expect(contactsOf({ code: 'catalog_backup_old', subject: { kind: 'fleet', name: 'catalog' } }, table({}))).toEqual([
      'dba',
      'ops',
      'boss',
    ]);
  });
});
