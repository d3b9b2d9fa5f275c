import { randomBytes } from 'node:crypto';
import { uuidv7 } from '@lastgood/host';
import { type TokenRecord, tokenHash } from '../catalog/tokens.ts';

/** Creates a token with 256 random bits: shown once, stored as a hash. */
export function newToken(
  fields: Pick<TokenRecord, 'name' | 'kind' | 'scope' | 'environment' | 'host' | 'expiresAt' | 'usesLeft'>,
  now: number,
): { token: string; record: TokenRecord } {
  const token = `${fields.kind === 'enroll' ? 'lge' : 'lg'}_${randomBytes(32).toString('base64url')}`;
  return {
    token,
    record: { ...fields, id: uuidv7(now), hash: tokenHash(token), createdAt: now, lastUsedAt: null, revokedAt: null },
  };
}
