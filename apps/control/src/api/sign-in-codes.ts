import { randomBytes } from 'node:crypto';
import type { Clock } from '@lastgood/core';
import { tokenHash } from '../catalog/tokens.ts';

/** More open codes than people sign in at once; the oldest is dropped. */
const MAX_OPEN = 100;

/** One-time codes that sign a browser in. They are kept in memory: a restart makes them invalid. */
export class SignInCodes {
  readonly #clock: Clock;
  readonly #open = new Map<string, { tokenId: string; expiresAt: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  create(tokenId: string, validMs: number): { code: string; expiresAt: number } {
    const code = randomBytes(32).toString('base64url');
    const expiresAt = this.#clock.now() + validMs;
    this.#open.set(tokenHash(code), { tokenId, expiresAt });
    const [oldest] = this.#open.keys();
    if (this.#open.size > MAX_OPEN && oldest !== undefined) this.#open.delete(oldest);
    return { code, expiresAt };
  }

  /** The token that a code stands for; undefined when it is unknown, used or expired. It cannot be used again. */
  redeem(code: string): string | undefined {
    const hash = tokenHash(code);
    const found = this.#open.get(hash);
    this.#open.delete(hash);
    return found !== undefined && found.expiresAt >= this.#clock.now() ? found.tokenId : undefined;
  }
}
