import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import { writeFileDurably } from '@lastgood/host';

/** Signs the reports of runs with a key of this control plane, so that a report that was changed outside of it is noticed. */
export class EvidenceKey {
  readonly #key: KeyObject;
  /** The public key as PEM. */
  readonly publicKey: string;

  private constructor(key: KeyObject) {
    this.#key = key;
    this.publicKey = createPublicKey(key).export({ type: 'spki', format: 'pem' }).toString();
  }

  /** Reads the key of the data folder, or makes one. Throws IO_ERROR when it cannot be read. */
  static async open(dataDir: string): Promise<EvidenceKey> {
    const file = join(dataDir, 'evidence.key');
    const stored = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw new Failure('IO_ERROR', `cannot read ${file} (${error.code})`, { cause: error });
    });
    if (stored !== undefined) return new EvidenceKey(createPrivateKey(stored));
    const { privateKey } = generateKeyPairSync('ed25519');
    await writeFileDurably(file, privateKey.export({ type: 'pkcs8', format: 'pem' }).toString());
    return new EvidenceKey(privateKey);
  }

  /** The Ed25519 signature of a text, in base64. */
  sign(text: string): string {
    return sign(null, Buffer.from(text), this.#key).toString('base64');
  }
}
