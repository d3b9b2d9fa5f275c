import type { Clock } from '@lastgood/core';
import { post } from './post.ts';
import { readSecretLines } from './secret-file.ts';
import type { SendResult } from './sender.ts';

/** What a ping reports about a job, in the grammar of Healthchecks. */
export type PingEvent = 'start' | 'success' | 'fail';

export interface Ping {
  /** Names the check: `prod-db-1-shop-backup-logical`. */
  readonly slug: string;
  readonly event: PingEvent;
  /** Ties the start of a run to its end. */
  readonly runId: string;
  /** Shown with the ping: a code and a few words, no output of tools. */
  readonly note: string;
}

/** The slug of a schedule of a target, of the characters that Healthchecks allows. */
export const pingSlug = (target: { environment: string; host: string; target: string }, schedule: string): string =>
  [target.environment, target.host, target.target, schedule].join('-');

/** `base` ends with the ping key of a project; its checks are created by their first ping. */
export function pingUrl(base: string, { slug, event, runId }: Ping): string {
  const suffix = event === 'success' ? '' : `/${event}`;
  return `${base.replace(/\/+$/, '')}/${slug}${suffix}?create=1&rid=${runId}`;
}

/** Sends pings about jobs to one project of Healthchecks or a service with the same grammar. */
export class HealthchecksPinger {
  readonly #urlFile: string;
  readonly #clock: Clock;

  constructor(urlFile: string, clock: Clock) {
    this.#urlFile = urlFile;
    this.#clock = clock;
  }
  async ping(ping: Ping, signal: AbortSignal): Promise<SendResult> {
    const [base] = await readSecretLines(this.#urlFile);
    const headers = { 'content-type': 'text/plain; charset=utf-8' };
    return post({ url: pingUrl(base, ping), body: ping.note, headers }, this.#clock.now(), signal);
  }
}
