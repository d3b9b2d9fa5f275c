import { createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { canonicalJson } from './canonical-json.ts';

/** A public Ed25519 key, as people see and compare it: `ed25519:` and its 32 bytes in base64url. */
const KEY_ID = /^ed25519:([A-Za-z0-9_-]{43})$/;

/** Whether the signature of a key counts. */
export const isTrusted = (trusted: TrustedKeys, keyId: string | null): boolean =>
  trusted === null || (keyId !== null && trusted.has(keyId));

/** Signs what one host writes into repositories. */
export interface Signer {
  readonly keyId: string;
  sign(bytes: Buffer): Buffer;
}
/** The ids of the keys whose signatures count; null where every manifest is taken, signed or not. */
export type TrustedKeys = ReadonlySet<string> | null;

export function keyIdOf(key: KeyObject): string {
  const { x } = createPublicKey(key).export({ format: 'jwk' });
  return `ed25519:${x}`;
}

export const isKeyId = (text: string): boolean => KEY_ID.test(text);

/** A signer with the private key of a host. */
export const signerWith = (key: KeyObject): Signer => ({
  keyId: keyIdOf(key),
  sign: (bytes) => sign(null, bytes, key),
});

/** What is signed: the kind keeps a signed claim from being used as a manifest. */
const message = (kind: 'manifest' | 'segment', content: unknown): Buffer =>
  Buffer.from(`lastgood ${kind} 1\n${canonicalJson(content)}`);

export function signContent(signer: Signer, kind: 'manifest' | 'segment', content: unknown): string {
  return signer.sign(message(kind, content)).toString('base64url');
}

/** False when the key did not sign this content, or is not a key. */
export function isSignedBy(keyId: string, kind: 'manifest' | 'segment', content: unknown, signature: string): boolean {
  const x = KEY_ID.exec(keyId)?.[1];
  if (x === undefined) return false;
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
  return verify(null, message(kind, content), key, Buffer.from(signature, 'base64url'));
}
