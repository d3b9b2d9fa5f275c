import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { captureTool } from '@lastgood/host';
import { freePort, headerOf, SmtpInbox, TcpFaultProxy, temporaryFolder } from '@lastgood/testkit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmailSender } from '../../src/notify/email-sender.ts';
import type { SmtpConfig } from '../../src/notify/notify-config.ts';
import { MESSAGE_ID, message, never, secretFile } from './support.ts';

const PASSWORD = 'correct horse battery';
const cleanup = new AsyncDisposableStack();
let folder: string;
let certificate: { cert: string; key: string; file: string } | null = null;

beforeAll(async () => {
  folder = cleanup.use(await temporaryFolder()).path;
  const [file, key] = [join(folder, 'server.crt'), join(folder, 'server.key')];
  const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  const rest = ['-subj', '/CN=mail', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', file];
  certificate = await captureTool({ file: 'openssl', args: [...args, ...rest], signal: never, timeoutMs: 60_000 }).then(
    () => ({ cert: readFileSync(file, 'utf8'), key: readFileSync(key, 'utf8'), file }),
    () => null,
  );
});
afterAll(() => cleanup.disposeAsync());

const config = (port: number, more: Partial<SmtpConfig> = {}): SmtpConfig => ({
  host: '127.0.0.1',
  port,
  tls: 'none',
  from: 'lastgood@empresa.com',
  ...more,
});
const send = (smtp: SmtpConfig, more: Parameters<typeof message>[0] = {}, signal = never) =>
  new EmailSender(smtp, 'dba@empresa.com').send(message(more), signal);

describe('a mail', () => {
  test('has subject, text, HTML and the headers of an automatic message', async () => {
    await using inbox = await SmtpInbox.open();
    expect(await send(config(inbox.port))).toEqual({ outcome: 'sent' });
    const [mail] = inbox.received;
    expect(mail).toMatchObject({ from: 'lastgood@empresa.com', to: ['dba@empresa.com'], isSecure: false, user: null });
    if (mail === undefined) return;
    expect(headerOf(mail, 'Subject')).toBe('[prod] prod/db-1/shop: last backup failed');
    expect(headerOf(mail, 'From')).toBe('Lastgood <lastgood@empresa.com>');
    expect(headerOf(mail, 'Message-ID')).toBe(`<${MESSAGE_ID}@empresa.com>`);
    expect(headerOf(mail, 'Auto-Submitted')).toBe('auto-generated');
    expect(headerOf(mail, 'In-Reply-To')).toBeUndefined();
    expect(mail.raw).toContain('last backup failed (NO_SPACE)');
    expect(mail.raw).toContain('text/html');
  });

  test('of a thread is a reply to its first', async () => {
    await using inbox = await SmtpInbox.open();
    const threadId = '00000000-0000-5000-8000-000000000001';
    await send(config(inbox.port), { threadId });
    const [mail] = inbox.received;
    if (mail === undefined) return expect.unreachable('no mail');
    expect(headerOf(mail, 'In-Reply-To')).toBe(`<${threadId}@empresa.com>`);
    expect(headerOf(mail, 'References')).toBe(`<${threadId}@empresa.com>`);
  });

  test('cannot be given headers by a subject', async () => {
    await using inbox = await SmtpInbox.open();
    await send(config(inbox.port), { subject: 'x\r\nBcc: all@empresa.com' });
    expect(inbox.received[0]?.to).toEqual(['dba@empresa.com']);
    expect(
      headerOf(inbox.received[0] ?? { raw: '', from: '', to: [], isSecure: false, user: null }, 'Bcc'),
    ).toBeUndefined();
  });
});

describe('a login', () => {
  test('takes the password from its file', async () => {
    await using inbox = await SmtpInbox.open({ login: { user: 'lastgood', password: PASSWORD } });
    const passwordFile = await secretFile(folder, 'password', `${PASSWORD}\n`);
    expect(await send(config(inbox.port, { user: 'lastgood', passwordFile }))).toEqual({ outcome: 'sent' });
    expect(inbox.received[0]?.user).toBe('lastgood');
  });
  test('that is rejected is tried again later, and the password is in no result', async () => {
    await using inbox = await SmtpInbox.open({ login: { user: 'lastgood', password: PASSWORD } });
    const passwordFile = await secretFile(folder, 'wrong', 'another password');
    const result = await send(config(inbox.port, { user: 'lastgood', passwordFile }));
    expect(result).toEqual({ outcome: 'retry', cause: 'SMTP_535', retryAfterMs: null });
  });
  test('with a password that other users can read is refused', async () => {
    const passwordFile = await secretFile(folder, 'open', PASSWORD, 0o644);
    await expect(send(config(1, { user: 'lastgood', passwordFile }))).rejects.toMatchObject({
      code: 'DATA_FOLDER_UNSAFE',
      message: `${passwordFile} is accessible to other users`,
    });
  });
  test('with a password file that is missing or empty is refused', async () => {
    const passwordFile = join(folder, 'missing');
    await expect(send(config(1, { user: 'x', passwordFile }))).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    const empty = await secretFile(folder, 'empty', '\n \n');
    await expect(send(config(1, { user: 'x', passwordFile: empty }))).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  });
});

describe('TLS', () => {
  test('by STARTTLS and from the first byte, with the authority from its file', async ({ skip }) => {
    if (certificate === null) return skip('openssl is not installed');
    for (const tls of ['starttls', 'implicit'] as const) {
      await using inbox = await SmtpInbox.open({ tls: certificate, implicitTls: tls === 'implicit' });
      expect(await send(config(inbox.port, { tls, caFile: certificate.file }))).toEqual({ outcome: 'sent' });
      expect(inbox.received[0]?.isSecure).toBe(true);
    }
  });
  test('of an unknown authority is refused, and nothing is sent', async ({ skip }) => {
    if (certificate === null) return skip('openssl is not installed');
    for (const tls of ['starttls', 'implicit'] as const) {
      await using inbox = await SmtpInbox.open({ tls: certificate, implicitTls: tls === 'implicit' });
      expect(await send(config(inbox.port, { tls }))).toMatchObject({ outcome: 'retry' });
      expect(inbox.attempts).toBe(0);
    }
  });
  test('that the server does not offer is not done without', async () => {
    await using inbox = await SmtpInbox.open();
    expect(await send(config(inbox.port, { tls: 'starttls' }))).toMatchObject({ outcome: 'retry' });
    expect(inbox.attempts).toBe(0);
  });
});

describe('a try that fails', () => {
  test('is final when the server rejects the message, and retried when the server defers it', async () => {
    await using inbox = await SmtpInbox.open();
    inbox.rejectNext('recipient', 550);
    expect(await send(config(inbox.port))).toEqual({ outcome: 'rejected', cause: 'SMTP_550' });
    inbox.rejectNext('recipient', 450);
    expect(await send(config(inbox.port))).toEqual({ outcome: 'retry', cause: 'SMTP_450', retryAfterMs: null });
    inbox.rejectNext('data', 452);
    expect(await send(config(inbox.port))).toEqual({ outcome: 'retry', cause: 'SMTP_452', retryAfterMs: null });
    inbox.rejectNext('data', 554);
    expect(await send(config(inbox.port))).toEqual({ outcome: 'rejected', cause: 'SMTP_554' });
    expect(await send(config(inbox.port))).toEqual({ outcome: 'sent' });
  });
  test('is retried when nothing listens', async () => {
    expect(await send(config(await freePort()))).toEqual({
      outcome: 'retry',
      cause: 'ECONNREFUSED',
      retryAfterMs: null,
    });
  });
  test('is retried when the connection is cut in the middle', async () => {
    await using inbox = await SmtpInbox.open();
    await using proxy = await TcpFaultProxy.open({ port: inbox.port });
    proxy.cutAfter({ direction: 'toServer', bytes: 60 });
    expect(await send(config(proxy.port))).toMatchObject({ outcome: 'retry' });
  });
  test('ends at once when it is stopped while the server does not respond', async () => {
    await using inbox = await SmtpInbox.open();
    await using proxy = await TcpFaultProxy.open({ port: inbox.port });
    proxy.hold('toClient');
    const stop = new AbortController();
    const sending = send(config(proxy.port), {}, stop.signal);
    await proxy.until(({ accepted }) => accepted === 1);
    stop.abort();
    expect(await sending).toMatchObject({ outcome: 'retry' });
  });
});
