import type { Transform } from 'node:stream';
import { createZstdCompress, createZstdDecompress, constants as zlib } from 'node:zlib';
import { Failure } from '@lastgood/core';
import type { ManifestObject } from '@lastgood/protocol';

export const CHUNK_BYTES = 1024 * 1024;
const ZSTD_LEVEL = 1;
/** One frame per object, with the checksum that zstd leaves out unless asked: without it a flipped bit decodes silently. */
const ZSTD = {
  chunkSize: CHUNK_BYTES,
  params: { [zlib.ZSTD_c_compressionLevel]: ZSTD_LEVEL, [zlib.ZSTD_c_checksumFlag]: 1 },
};

/** How the bytes in the store are made from those of the tool. */
export type Encoding = Pick<ManifestObject, 'compression' | 'encryption'>;

/** How objects are written. */
export const ENCODING = { compression: 'zstd', encryption: null } as const satisfies Encoding;
/** What the names of objects end with when they are written so. */
export const ENCODING_SUFFIX = '.zst';

/**
 * The stages from the produced to the stored bytes, in order. A cipher belongs behind the compressor: ciphertext does not compress,
 * and the hash of the stored bytes covers it.
 */
export function encodingStages(): [Transform, ...Transform[]] {
  return [createZstdCompress(ZSTD)];
}

/** The stages from the stored back to the produced bytes. Throws NEWER_FORMAT for an encoding that this version does not know. */
export function decodingStages({ compression, encryption }: Encoding): Transform[] {
  if (encryption !== null) throw new Failure('NEWER_FORMAT', `unknown encryption ${encryption.format}`);
  if (compression === 'zstd') return [createZstdDecompress({ chunkSize: CHUNK_BYTES })];
  if (compression === 'none') return [];
  throw new Failure('NEWER_FORMAT', `unknown compression ${compression}`);
}
