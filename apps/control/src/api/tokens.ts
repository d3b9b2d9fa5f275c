import { randomBytes } from 'node:crypto';
import { type Clock, Failure } from '@lastgood/core';
import { uuidv7 } from '@lastgood/host';
import type { Scope, TokenView } from '@lastgood/protocol';
import { type Catalog, isLiving, type TokenRecord } from '../catalog/catalog.ts';
import { hashOf } from '../fleet/enrollment.ts';

/** Whoever a request comes from. */
export interface Actor {
  readonly tokenId: string;
  readonly name: string;
  readonly scope: Scope;
}
const SEEN_EVERY_MS = 60_000;

/** A token with 256 random bits: shown once, kept as a hash. */
export function newToken(
  fields: Pick<TokenRecord, 'name' | 'kind' | 'scope' | 'environment' | 'host' | 'expiresAt' | 'usesLeft'>,
  now: number,
): { token: string; record: TokenRecord } {
  const token = `${fields.kind === 'enroll' ? 'lge' : 'lg'}_${randomBytes(32).toString('base64url')}`;
  return {
    token,
    record: { ...fields, id: uuidv7(now), hash: hashOf(token), createdAt: now, lastUsedAt: null, revokedAt: null },
  };
}

export function tokenView({ hash: _hash, ...record }: TokenRecord): TokenView {
  return record;
}

/** Decides who a call comes from. */
export class TokenCheck {
  readonly #catalog: Catalog;
  readonly #clock: Clock;
  /** When a use was last noted, whether or not that could be written; for tokens that are known, so there are few. */
  readonly #noted = new Map<string, number>();

  constructor(catalog: Catalog, clock: Clock) {
    this.#catalog = catalog;
    this.#clock = clock;
  }

  /** Who holds this bearer token; UNAUTHENTICATED for anything that is no living API token. */
  async actorOf(header: string | undefined): Promise<Actor> {
    const token = /^Bearer ([\w-]{20,128})$/.exec(header ?? '')?.[1];
    if (token === undefined) throw new Failure('UNAUTHENTICATED', 'the call carries no token');
    const record = await this.#catalog.tokenByHash(hashOf(token));
    const now = this.#clock.now();
    if (record === undefined || record.scope === null || !isLiving(record, now))
      throw new Failure('UNAUTHENTICATED', 'the token is unknown, expired or revoked');
    this.#note(record.id, Math.max(record.lastUsedAt ?? 0, this.#noted.get(record.id) ?? 0), now);
    return { tokenId: record.id, name: record.name, scope: record.scope };
  }

  /** Nobody waits for it: who only reads is served though nothing can be written (C5), and /healthz tells of that. */
  #note(id: string, before: number, now: number): void {
    if (now - before <= SEEN_EVERY_MS) return;
    this.#noted.set(id, now);
    this.#catalog.commit([{ type: 'tokenSeen', id, at: now }]).catch(() => undefined);
  }
}
