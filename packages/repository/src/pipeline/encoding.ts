import type { Transform } from 'node:stream';
import { createZstdCompress, createZstdDecompress, constants as zlib } from 'node:zlib';
import { Failure } from '@lastgood/core';
import type { ManifestObject } from '@lastgood/protocol';
import { decryptWith, encryptTo } from './age-stream.ts';
import { assertDecryptable, type RepositoryKeys } from './keys.ts';

export const CHUNK_BYTES = 1024 * 1024;
const ZSTD_LEVEL = 1;
/** One frame per object, with the checksum that zstd leaves out unless asked: without it a flipped bit decodes silently. */
const ZSTD = {
  chunkSize: CHUNK_BYTES,
  params: { [zlib.ZSTD_c_compressionLevel]: ZSTD_LEVEL, [zlib.ZSTD_c_checksumFlag]: 1 },
};
export const AGE = 'age';

/** How the bytes in the store are made from those of the tool. */
export type Encoding = Pick<ManifestObject, 'compression' | 'encryption'>;

/** How objects are written with these keys. */
export const encodingWith = ({ recipients }: Pick<RepositoryKeys, 'recipients'>): Encoding => ({
  compression: 'zstd',
  encryption: recipients.length === 0 ? null : { format: AGE, recipients: [...recipients] },
});

/** What the name of an object ends with. */
export const suffixOf = ({ encryption }: Encoding): string => (encryption === null ? '.zst' : '.zst.age');

/**
 * The stages from the produced to the stored bytes, in order. The cipher follows the compressor: ciphertext does not compress, and the
 * hash of the stored bytes covers it.
 */
export async function encodingStages({ encryption }: Encoding): Promise<[Transform, ...Transform[]]> {
  const compress = createZstdCompress(ZSTD);
  return encryption === null ? [compress] : [compress, await encryptTo(encryption.recipients)];
}

/**
 * The stages from the stored back to the produced bytes. Throws NEWER_FORMAT for an encoding that this version does not know, and
 * IDENTITY_NEEDED when no key of this host fits.
 */
export async function decodingStages(encoding: Encoding, keys: RepositoryKeys): Promise<Transform[]> {
  const { compression, encryption } = encoding;
  if (encryption !== null && encryption.format !== AGE)
    throw new Failure('NEWER_FORMAT', `unknown encryption ${encryption.format}`);
  const decrypt = encryption === null ? [] : [decryptWith(await identitiesFor(encryption.recipients, keys))];
  if (compression === 'zstd') return [...decrypt, createZstdDecompress({ chunkSize: CHUNK_BYTES })];
  if (compression === 'none') return decrypt;
  throw new Failure('NEWER_FORMAT', `unknown compression ${compression}`);
}

/** The identities of this host. Throws IDENTITY_NEEDED unless one belongs to one of the recipients. */
export async function identitiesFor(recipients: readonly string[], keys: RepositoryKeys): Promise<readonly string[]> {
  const identities = await keys.identities();
  await assertDecryptable(identities, recipients);
  return identities;
}
