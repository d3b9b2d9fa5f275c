import { describe, expect, test } from 'vitest';
import { parseNotifyConfig } from '../../src/notify/notify-config.ts';
import { makePinger, makeSenders } from '../../src/notify/senders.ts';
import { clockAt, NOW } from './support.ts';

const VALID = `smtp: { host: mail.example.com, from: lastgood@example.com, user: lastgood, passwordFile: /etc/lastgood/smtp }
channels:
  pager: { type: webhook, url: "https://example.com/hook", secretFile: /etc/lastgood/pager }
  chat: { type: slack, urlFile: /etc/lastgood/chat }
  hc: { type: healthchecks, urlFile: /etc/lastgood/hc }
deadManSwitch: { urlFile: /etc/lastgood/dead-man }
baseUrl: https://lastgood.example.com
`;

describe('the notification file', () => {
  test('has safe defaults', () => {
    const { smtp, deadManSwitch } = parseNotifyConfig(VALID, 'notify.yaml');
    expect(smtp).toMatchObject({ port: 587, tls: 'starttls' });
    expect(deadManSwitch?.every).toBe(300_000);
  });

  test('of nothing sends nothing', () => {
    expect(parseNotifyConfig('', 'notify.yaml')).toEqual({ channels: {} });
  });

  test('reports every problem at once, with its place', () => {
    const text = `smtp: { host: mail, from: nobody, user: x, tls: maybe }
channels:
  a: { type: webhook, url: "ftp://example.com", secretFile: relative }
  b: { type: pigeon }
`;
    expect(() => parseNotifyConfig(text, 'notify.yaml')).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
    const message = (() => {
      try {
        return parseNotifyConfig(text, 'notify.yaml');
      } catch (error) {
        return error instanceof Error ? error.message : '';
      }
    })();
    expect(
      String(message)
        .split('\n')
        .map((line) => line.split(' ').slice(0, 2).join(' ')),
    ).toEqual([
      'notify.yaml:1:27 smtp.from',
      'notify.yaml:1:49 smtp.tls',
      'notify.yaml:3:28 channels.a.url',
      'notify.yaml:3:61 channels.a.secretFile',
      'notify.yaml:4:14 channels.b.type',
    ]);
  });

  test('gives each destination its sender', () => {
    const config = parseNotifyConfig(VALID, 'notify.yaml');
    const senderOf = makeSenders(config, clockAt(NOW));
    const names = ['pager', 'chat', 'hc', 'none'].map((name) => senderOf({ type: 'channel', name })?.constructor.name);
    expect(names).toEqual(['WebhookSender', 'SlackSender', undefined, undefined]);
    expect(senderOf({ type: 'email', address: 'a@example.com' })?.constructor.name).toBe('EmailSender');
    expect(makePinger(config, 'hc', clockAt(NOW))).toBeDefined();
    expect(makePinger(config, 'pager', clockAt(NOW))).toBeUndefined();
    const without = makeSenders(parseNotifyConfig('', 'f'), clockAt(NOW));
    expect(without({ type: 'email', address: 'a@example.com' })).toBeUndefined();
  });
});
