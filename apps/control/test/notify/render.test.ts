import { describe, expect, test } from 'vitest';
import { renderNotification, renderTestMessage } from '../../src/notify/render.ts';
import { alert, MESSAGE_ID, MINUTE, NOW, notification } from './support.ts';

describe('a notification', () => {
  test('of one alert says all in its subject', () => {
    const { subject, text, payload } = renderNotification(notification(), 'https://lastgood.example.com/');
    expect(subject).toBe('[prod] prod/db-1/shop: last backup failed');
    expect(text).toMatchInlineSnapshot(`
      "Firing
        critical  prod/db-1/shop: last backup failed (NO_SPACE)  [backup_failed, since 2027-06-01 11:59+00]

      https://lastgood.example.com/alerts
      Sent to contact dba. Acknowledge: lastgood alerts ack.
      "
    `);
    expect(payload).toEqual({
      version: 1,
      type: 'alerts.firing',
      messageId: MESSAGE_ID,
      environment: 'prod',
      contact: 'dba',
      isEscalation: false,
      firing: [
        {
          alertId: 'a1',
          code: 'backup_failed',
          severity: 'critical',
          state: 'firing',
          subject: { kind: 'target', environment: 'prod', host: 'db-1', target: 'shop' },
          params: { cause: 'NO_SPACE' },
          text: 'prod/db-1/shop: last backup failed (NO_SPACE)',
          firedAt: '2027-06-01T11:59:00.000Z',
          acknowledgedBy: null,
        },
      ],
      firingCount: 1,
      resolved: [],
      resolvedCount: 0,
    });
  });

  test('of several alerts lists them, acknowledged and resolved ones as such', () => {
    const taken = alert({
      alertId: 'a2',
      code: 'log_lag',
      params: { lagMs: 2 * MINUTE, limitMs: MINUTE },
      state: 'acknowledged',
      acknowledged: { by: 'anna', atMs: NOW, note: null },
    });
    const resolved = [
      alert({
        alertId: 'a3',
        code: 'agent_offline',
        subject: { kind: 'host', environment: 'prod', host: 'db-2' },
        params: { state: 'offline', sinceMs: NOW },
        state: 'resolved',
      }),
    ];
    const { subject, text } = renderNotification(
      notification({ firing: [alert(), taken], resolved, kind: 'repeat' }),
      null,
    );
    expect(subject).toBe('[prod] still firing: 2 alerts, first prod/db-1/shop: last backup failed');
    expect(text).toMatchInlineSnapshot(`
      "Firing
        critical  prod/db-1/shop: last backup failed (NO_SPACE)  [backup_failed, since 2027-06-01 11:59+00]
        warning  prod/db-1/shop: log stream lags behind (2m, limit 1m)  [log_lag, acknowledged by anna at 2027-06-01 12:00+00]

      Resolved
        prod/db-2: agent is offline (offline since 2027-06-01T12:00Z)  [agent_offline]

      Sent to contact dba. Acknowledge: lastgood alerts ack.
      "
    `);
  });

  test.for([
    [
      { kind: 'resolved' as const, firing: [], resolved: [alert({ state: 'resolved' })] },
      '[prod] resolved: prod/db-1/shop: last backup failed',
    ],
    [{ isEscalation: true }, '[prod] escalated: prod/db-1/shop: last backup failed'],
    [
      {
        environment: null,
        firing: [
          alert({ code: 'catalog_backup_old', subject: { kind: 'fleet', name: 'catalog' }, params: { ageMs: 1 } }),
        ],
      },
      '[Lastgood] catalog: catalog has no recent backup',
    ],
  ] as const)('%j has the subject %s', ([more, subject]) => {
    expect(renderNotification(notification(more), null).subject).toBe(subject);
  });

  test('stays small when a whole fleet is down', () => {
    const firing = Array.from({ length: 2000 }, (_, index) =>
      alert({
        alertId: `a${index}`,
        subject: { kind: 'target', environment: 'prod', host: `db-${index}`, target: 'shop' },
      }),
    );
    const { text, payload } = renderNotification(notification({ firing }), null);
    expect(text).toContain('and 1950 more');
    expect(payload).toMatchObject({ firingCount: 2000 });
    // The limit that Standard Webhooks recommends.
    expect(JSON.stringify(payload).length).toBeLessThan(20_000);
  });

  test('has no markup from names', () => {
    const { html } = renderNotification(notification({ contact: '<img src=x>' }), null);
    expect(html).not.toContain('<img');
  });
});

test('a test message says that it is one', () => {
  const { subject, text, payload } = renderTestMessage('dba', MESSAGE_ID, NOW);
  expect(subject).toBe('[Lastgood] test of contact dba');
  expect(text).toContain('This is a test of contact dba, sent at 2027-06-01 12:00+00.');
  expect(payload).toMatchObject({ type: 'test', contact: 'dba' });
});
