import { createHmac } from 'node:crypto';
import { type Clock, Failure } from '@lastgood/core';
import { post } from './post.ts';
import { readSecretLines } from './secret-file.ts';
import type { OutgoingMessage, Sender, SendResult } from './sender.ts';

const PREFIX = 'whsec_';

/** The signature of the Standard Webhooks specification: HMAC-SHA256 over id, timestamp and body. */
export function signWebhook(secret: string, id: string, timestampS: number, body: string): string {
  const key = Buffer.from(secret.replace(PREFIX, ''), 'base64');
  return `v1,${createHmac('sha256', key).update(`${id}.${timestampS}.${body}`).digest('base64')}`;
}

/** Posts signed messages as Standard Webhooks specifies. With several secrets each message is signed with all of them. */
export class WebhookSender implements Sender {
  readonly #url: string;
  readonly #secretFile: string;
  readonly #clock: Clock;

  constructor({ url, secretFile }: { readonly url: string; readonly secretFile: string }, clock: Clock) {
    this.#url = url;
    this.#secretFile = secretFile;
    this.#clock = clock;
  }
  async send({ messageId, payload }: OutgoingMessage, signal: AbortSignal): Promise<SendResult> {
    const secrets = await readSecretLines(this.#secretFile);
    if (!secrets.every((secret) => /^whsec_[A-Za-z0-9+/]{32,}={0,2}$/.test(secret)))
      throw new Failure('CONFIG_INVALID', `${this.#secretFile} holds a line that is not a webhook secret`, {
        remedy: 'Write whsec_ and at least 24 random bytes in base64: echo "whsec_$(openssl rand -base64 24)".',
      });
    const nowMs = this.#clock.now();
    const timestampS = Math.floor(nowMs / 1000);
    const body = JSON.stringify(payload);
    const headers = {
      'content-type': 'application/json',
      'user-agent': 'lastgood',
      'webhook-id': messageId,
      'webhook-timestamp': String(timestampS),
      'webhook-signature': secrets.map((secret) => signWebhook(secret, messageId, timestampS, body)).join(' '),
    };
    return post({ url: this.#url, body, headers }, nowMs, signal);
  }
}
