import { setTimeout as delay } from 'node:timers/promises';
import { type AdminApi, LIMITS, type WatchEvent } from '@lastgood/protocol';
import type { ApiParts } from './api-parts.ts';
import type { JobsService } from './jobs-service.ts';

const POLL_MS = 200;
const POLLS_PER_ALIVE = LIMITS.watchAliveMs / POLL_MS;
/** The caller subscribes again after this, and its session or token is checked again. */
const MAX_POLLS = (5 * 60_000) / POLL_MS;

/** What pages receive while they are open. */
export class WatchService {
  readonly #parts: ApiParts;
  readonly #jobs: JobsService;

  constructor(parts: ApiParts, jobs: JobsService) {
    this.#parts = parts;
    this.#jobs = jobs;
  }

  /** Throws NOT_FOUND for an unknown job. */
  async *watch({ jobId }: Parameters<AdminApi['watch']>[0], signal: AbortSignal): AsyncGenerator<WatchEvent> {
    let sent = '';
    for (let poll = 0; poll < MAX_POLLS && !signal.aborted; poll += 1) {
      if (poll % POLLS_PER_ALIVE === 0) yield { kind: 'alive', at: this.#parts.clock.now() };
      if (jobId !== undefined) {
        const job = await this.#jobs.get(jobId);
        const text = JSON.stringify(job);
        if (text !== sent) yield { kind: 'job', job };
        sent = text;
      }
      await delay(POLL_MS, undefined, { signal }).catch(() => undefined);
    }
  }
}
