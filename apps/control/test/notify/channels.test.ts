import { join } from 'node:path';
import { freePort, temporaryFolder } from '@lastgood/testkit';
import { Webhook } from 'standardwebhooks';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { runDeadManSwitch } from '../../src/notify/dead-man-switch.ts';
import { HealthchecksPinger, pingSlug, pingUrl } from '../../src/notify/healthchecks.ts';
import type { SendResult } from '../../src/notify/sender.ts';
import { SlackSender } from '../../src/notify/slack-sender.ts';
import { WebhookSender } from '../../src/notify/webhook-sender.ts';
import { HttpReceiver } from './http-receiver.ts';
import { clockAt, HOUR, LogBook, MESSAGE_ID, message, NOW, never, secretFile } from './support.ts';

const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const OTHER_SECRET = 'whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD';
const cleanup = new AsyncDisposableStack();
let folder: string;
let receiver: HttpReceiver;

beforeAll(async () => {
  folder = cleanup.use(await temporaryFolder()).path;
});
afterAll(() => cleanup.disposeAsync());
beforeEach(async () => {
  receiver = await HttpReceiver.open();
});
afterEach(() => receiver[Symbol.asyncDispose]());

describe('a webhook', () => {
  /** The library of the specification rejects timestamps that are far from its own clock. */
  const clock = clockAt(Date.now());
  const send = async (secrets: string, url = receiver.url, signal = never): Promise<SendResult> => {
    const secret = await secretFile(folder, 'webhook', secrets);
    return new WebhookSender({ url, secretFile: secret }, clock).send(message(), signal);
  };
  const headersOf = (index = 0): Record<string, string> =>
    Object.fromEntries(
      Object.entries(receiver.received[index]?.headers ?? {}).map(([name, value]) => [name, String(value)]),
    );

  test('is verified by the library of Standard Webhooks', async () => {
    expect(await send(SECRET)).toEqual({ outcome: 'sent' });
    const [request] = receiver.received;
    expect(request).toMatchObject({ method: 'POST', path: '/' });
    expect(headersOf()['webhook-id']).toBe(MESSAGE_ID);
    expect(headersOf()['content-type']).toBe('application/json');
    expect(new Webhook(SECRET).verify(request?.body ?? '', headersOf())).toEqual(message().payload);
    expect(() => new Webhook(OTHER_SECRET).verify(request?.body ?? '', headersOf())).toThrow();
    expect(() => new Webhook(SECRET).verify(`${request?.body} `, headersOf())).toThrow();
  });

  test('is signed with both secrets while keys are exchanged', async () => {
    await send(`${SECRET}\n${OTHER_SECRET}\n`);
    for (const secret of [SECRET, OTHER_SECRET])
      expect(new Webhook(secret).verify(receiver.received[0]?.body ?? '', headersOf())).toEqual(message().payload);
  });

  test('with something else than a secret in its file is refused, without showing it', async () => {
    const error = await send('hunter2 hunter2').catch((each: unknown) => each);
    expect(error).toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('webhook') });
    expect(String(error)).not.toContain('hunter2');
    expect(receiver.received).toEqual([]);
  });

  test.for<[number, Record<string, string>, SendResult]>([
    [204, {}, { outcome: 'sent' }],
    [400, {}, { outcome: 'retry', cause: 'HTTP_400', retryAfterMs: null }],
    [410, {}, { outcome: 'rejected', cause: 'HTTP_410' }],
    [429, { 'retry-after': '120' }, { outcome: 'retry', cause: 'HTTP_429', retryAfterMs: 120_000 }],
    [503, { 'retry-after': '99999999' }, { outcome: 'retry', cause: 'HTTP_503', retryAfterMs: 6 * HOUR }],
    [503, { 'retry-after': 'soon' }, { outcome: 'retry', cause: 'HTTP_503', retryAfterMs: null }],
    [500, {}, { outcome: 'retry', cause: 'HTTP_500', retryAfterMs: null }],
  ])('that is answered with %d %j', async ([status, headers, expected]) => {
    receiver.answerNext(status, headers);
    expect(await send(SECRET)).toEqual(expected);
  });

  test('is not taken to another receiver by a redirect', async () => {
    await using elsewhere = await HttpReceiver.open();
    receiver.answerNext(307, { location: elsewhere.url });
    expect(await send(SECRET)).toEqual({ outcome: 'retry', cause: 'HTTP_307', retryAfterMs: null });
    expect(elsewhere.received).toEqual([]);
  });

  test('is retried when nobody listens, or the connection ends without an answer', async () => {
    const refused = await send(SECRET, `http://127.0.0.1:${await freePort()}`);
    expect(refused).toEqual({ outcome: 'retry', cause: 'ECONNREFUSED', retryAfterMs: null });
    receiver.dropNext();
    expect(await send(SECRET)).toMatchObject({ outcome: 'retry', retryAfterMs: null });
  });

  test('ends at once when it is stopped', async () => {
    receiver.hangNext();
    const stop = new AbortController();
    const sending = send(SECRET, receiver.url, stop.signal);
    await receiver.untilReceived(1);
    stop.abort();
    expect(await sending).toMatchObject({ outcome: 'retry' });
  });
});

describe('a Slack-compatible channel', () => {
  test('gets text in which no name is markup', async () => {
    const urlFile = await secretFile(folder, 'slack', `${receiver.url}/services/T0/B0/secret\n`);
    const sender = new SlackSender(urlFile, clockAt(NOW));
    expect(await sender.send(message({ subject: 'a <b> & c', text: 'see <@everyone>' }), never)).toEqual({
      outcome: 'sent',
    });
    expect(receiver.received[0]?.path).toBe('/services/T0/B0/secret');
    expect(JSON.parse(receiver.received[0]?.body ?? '')).toEqual({
      text: '*a &lt;b&gt; &amp; c*\nsee &lt;@everyone&gt;',
    });
  });
});

describe('pings of a job', () => {
  const runId = MESSAGE_ID;
  const slug = pingSlug({ environment: 'prod', host: 'db-1', target: 'shop' }, 'backup-logical');
  test('follow the grammar of Healthchecks', () => {
    const url = (event: 'start' | 'success' | 'fail', base = 'https://hc-ping.com/key'): string =>
      pingUrl(base, { slug, event, runId, note: '' });
    expect(url('start')).toBe(`https://hc-ping.com/key/prod-db-1-shop-backup-logical/start?create=1&rid=${runId}`);
    expect(url('success')).toBe(`https://hc-ping.com/key/prod-db-1-shop-backup-logical?create=1&rid=${runId}`);
    expect(url('fail', 'https://hc.example.com/ping/key/')).toBe(
      `https://hc.example.com/ping/key/prod-db-1-shop-backup-logical/fail?create=1&rid=${runId}`,
    );
  });
  test('are sent with the same run id at start and end', async () => {
    const urlFile = await secretFile(folder, 'healthchecks', `${receiver.url}/key`);
    const pinger = new HealthchecksPinger(urlFile, clockAt(NOW));
    await pinger.ping({ slug, event: 'start', runId, note: '' }, never);
    await pinger.ping({ slug, event: 'fail', runId, note: 'NO_SPACE' }, never);
    expect(receiver.received.map(({ method, path, body }) => `${method} ${path} ${body}`.trim())).toEqual([
      `POST /key/${slug}/start?create=1&rid=${runId}`,
      `POST /key/${slug}/fail?create=1&rid=${runId} NO_SPACE`,
    ]);
  });
});

describe('the dead-man switch', () => {
  /** Runs one round for each entry, healthy or not. Returns what was logged. */
  async function run(rounds: readonly boolean[], url = receiver.url): Promise<string[]> {
    const log = new LogBook();
    const stop = new AbortController();
    let round = 0;
    const urlFile = await secretFile(folder, 'dead-man', `${url}/ping`);
    await runDeadManSwitch(
      {
        urlFile,
        everyMs: 300_000,
        isHealthy: () => rounds[round] ?? false,
        wait: async () => {
          round += 1;
          if (round >= rounds.length) stop.abort();
        },
        clock: clockAt(NOW),
        log,
      },
      stop.signal,
    );
    return log.lines;
  }
  test('calls the monitor each round, and not while the control plane is unhealthy', async () => {
    expect(await run([true, false, false, true])).toEqual([]);
    expect(receiver.received.map(({ path }) => path)).toEqual(['/ping', '/ping']);
  });
  test('goes on when the monitor cannot be reached', async () => {
    receiver.answerNext(500);
    expect(await run([true, true])).toEqual(['warn the dead-man switch could not be reached {"cause":"HTTP_500"}']);
    expect(receiver.received).toHaveLength(2);
  });
  test('reports a missing file, and goes on', async () => {
    const log = new LogBook();
    const stop = new AbortController();
    const options = { everyMs: 1, isHealthy: () => true, clock: clockAt(NOW), log };
    const wait = async (): Promise<void> => stop.abort();
    await runDeadManSwitch({ ...options, urlFile: join(folder, 'none'), wait }, stop.signal);
    expect(log.lines[0]).toContain('CONFIG_INVALID');
  });
});
