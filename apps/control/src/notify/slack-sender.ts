import type { Clock } from '@lastgood/core';
import { post } from './post.ts';
import { readSecretLines } from './secret-file.ts';
import type { OutgoingMessage, Sender, SendResult } from './sender.ts';

/** Slack shows about this much of a message. */
const MAX_TEXT = 3500;

/** `&`, `<` and `>` are markup in Slack: a name must not become a link or a mention. */
const escapeMarkup = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

/** Posts to an incoming webhook of Slack or of a service that understands the same (Mattermost, Rocket.Chat, Discord with `/slack`). */
export class SlackSender implements Sender {
  readonly #urlFile: string;
  readonly #clock: Clock;

  constructor(urlFile: string, clock: Clock) {
    this.#urlFile = urlFile;
    this.#clock = clock;
  }
  async send({ subject, text }: OutgoingMessage, signal: AbortSignal): Promise<SendResult> {
    const [url] = await readSecretLines(this.#urlFile);
    const body = JSON.stringify({ text: `*${escapeMarkup(subject)}*\n${escapeMarkup(text).slice(0, MAX_TEXT)}` });
    return post({ url, body, headers: { 'content-type': 'application/json' } }, this.#clock.now(), signal);
  }
}
