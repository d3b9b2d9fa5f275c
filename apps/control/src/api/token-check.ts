import { type Clock, Failure } from '@lastgood/core';
import type { Catalog } from '../catalog/catalog.ts';
import { isValid, type TokenRecord, tokenHash } from '../catalog/tokens.ts';
import type { Actor } from './api-parts.ts';

const SEEN_EVERY_MS = 60_000;

/** Finds out which caller a request comes from. */
export class TokenCheck {
  readonly #catalog: Catalog;
  readonly #clock: Clock;
  /** When a use was last noted, whether or not that could be written; for known tokens only, so there are few. */
  readonly #noted = new Map<string, number>();

  constructor(catalog: Catalog, clock: Clock) {
    this.#catalog = catalog;
    this.#clock = clock;
  }

  /** The holder of this bearer token. Throws UNAUTHENTICATED for anything but a valid API token. */
  async actorOf(header: string | undefined): Promise<Actor> {
    const token = /^Bearer ([\w-]{20,128})$/.exec(header ?? '')?.[1];
    if (token === undefined)
      throw new Failure('UNAUTHENTICATED', header === undefined ? 'the call carries no token' : 'malformed token');
    return this.actorOfRecord(await this.#catalog.tokens.byHash(tokenHash(token)));
  }

  /** The holder of this token. Throws UNAUTHENTICATED unless it is a valid API token. */
  actorOfRecord(record: TokenRecord | undefined): Actor {
    const now = this.#clock.now();
    if (record === undefined || record.scope === null || !isValid(record, now))
      throw new Failure('UNAUTHENTICATED', 'the token is unknown, expired or revoked');
    this.#note(record.id, Math.max(record.lastUsedAt ?? 0, this.#noted.get(record.id) ?? 0), now);
    return { tokenId: record.id, name: record.name, scope: record.scope };
  }

  /** Nobody waits for it: a reader is served even if nothing can be written (C5), and /healthz reports that. */
  #note(id: string, before: number, now: number): void {
    if (now - before <= SEEN_EVERY_MS) return;
    this.#noted.set(id, now);
    this.#catalog.commit([{ type: 'token.seen', id, at: now }]).catch(() => undefined);
  }
}
