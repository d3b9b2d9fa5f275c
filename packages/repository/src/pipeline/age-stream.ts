import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { Transform, type TransformCallback } from 'node:stream';
import { Decrypter, Encrypter } from 'age-encryption';

/**
 * The payload of the age format (age-encryption.org/v1) with the ciphers of Node, which are ten times as fast as the library's own. The
 * library makes and reads the header.
 */
const CHUNK_BYTES = 64 * 1024;
const TAG_BYTES = 16;
const NONCE_BYTES = 16;
const MAX_HEADER_BYTES = 1024 * 1024;
const STREAM_BYTES = 1024 * 1024;
const CIPHER = 'chacha20-poly1305';

/** The ciphertext is not that of an age file, or was changed. */
export class AgeFormatError extends Error {}

const payloadKey = (fileKey: Uint8Array, nonce: Uint8Array): Buffer =>
  Buffer.from(hkdfSync('sha256', fileKey, nonce, 'payload', 32));

/** Eleven bytes count the chunks, the twelfth marks the last one: chunks can be neither reordered nor cut off. */
function chunkNonce(index: number, isLast: boolean): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUIntBE(index, 5, 6);
  nonce.writeUInt8(isLast ? 1 : 0, 11);
  return nonce;
}

/** The length of the header with its line end; undefined when it is not complete. */
function headerLength(bytes: Buffer): number | undefined {
  const mac = bytes.indexOf('\n--- ');
  const end = mac < 0 ? -1 : bytes.indexOf(10, mac + 1);
  return end < 0 ? undefined : end + 1;
}

/** Cuts what passes into chunks of one size. The last chunk is known only at the end, and may be shorter. */
abstract class ChunkStream extends Transform {
  readonly #size: number;
  #rest: Buffer = Buffer.alloc(0);
  #index = 0;

  constructor(size: number) {
    super({ highWaterMark: STREAM_BYTES });
    this.#size = size;
  }

  protected abstract convert(chunk: Buffer, index: number, isLast: boolean): Buffer;

  protected pushChunks(bytes: Buffer): void {
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    const converted: Buffer[] = [];
    let at = 0;
    for (; all.length - at > this.#size; at += this.#size)
      converted.push(this.convert(all.subarray(at, at + this.#size), this.#index++, false));
    this.#rest = all.subarray(at);
    if (converted.length > 0) this.push(Buffer.concat(converted));
  }

  protected pushLast(): void {
    this.push(this.convert(this.#rest, this.#index, true));
  }
}

class EncryptStream extends ChunkStream {
  readonly #key: Buffer;

  constructor(header: Buffer, fileKey: Uint8Array) {
    super(CHUNK_BYTES);
    const nonce = randomBytes(NONCE_BYTES);
    this.#key = payloadKey(fileKey, nonce);
    this.push(Buffer.concat([header, nonce]));
  }

  protected override convert(chunk: Buffer, index: number, isLast: boolean): Buffer {
    const cipher = createCipheriv(CIPHER, this.#key, chunkNonce(index, isLast), { authTagLength: TAG_BYTES });
    return Buffer.concat([cipher.update(chunk), cipher.final(), cipher.getAuthTag()]);
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.pushChunks(chunk);
    done();
  }

  override _flush(done: TransformCallback): void {
    this.pushLast();
    done();
  }
}

class DecryptStream extends ChunkStream {
  readonly #identities: readonly string[];
  #start: Buffer = Buffer.alloc(0);
  #key: Buffer | undefined;

  constructor(identities: readonly string[]) {
    super(CHUNK_BYTES + TAG_BYTES);
    this.#identities = identities;
  }

  protected override convert(chunk: Buffer, index: number, isLast: boolean): Buffer {
    if (this.#key === undefined || chunk.length < TAG_BYTES) throw new AgeFormatError('the ciphertext ends early');
    // Only the ciphertext of an empty file has an empty chunk.
    if (isLast && index > 0 && chunk.length === TAG_BYTES) throw new AgeFormatError('the last chunk is empty');
    const at = chunk.length - TAG_BYTES;
    const cipher = createDecipheriv(CIPHER, this.#key, chunkNonce(index, isLast), { authTagLength: TAG_BYTES });
    cipher.setAuthTag(chunk.subarray(at));
    return Buffer.concat([cipher.update(chunk.subarray(0, at)), cipher.final()]);
  }

  /** The bytes behind the header and the nonce; undefined until they have arrived. */
  async #readHeader(bytes: Buffer): Promise<Buffer | undefined> {
    this.#start = Buffer.concat([this.#start, bytes]);
    const length = headerLength(this.#start);
    if (length === undefined && this.#start.length > MAX_HEADER_BYTES)
      throw new AgeFormatError('the header is too long');
    if (length === undefined || this.#start.length < length + NONCE_BYTES) return undefined;
    const decrypter = new Decrypter();
    for (const identity of this.#identities) decrypter.addIdentity(identity);
    const fileKey = await decrypter.decryptHeader(new Uint8Array(this.#start.subarray(0, length)));
    this.#key = payloadKey(fileKey, this.#start.subarray(length, length + NONCE_BYTES));
    return this.#start.subarray(length + NONCE_BYTES);
  }

  async #decrypt(chunk: Buffer): Promise<void> {
    const bytes = this.#key === undefined ? await this.#readHeader(chunk) : chunk;
    if (bytes !== undefined) this.pushChunks(bytes);
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#decrypt(chunk).then(() => done(), done);
  }

  override _flush(done: TransformCallback): void {
    try {
      this.pushLast();
      done();
    } catch (error) {
      done(error instanceof Error ? error : new AgeFormatError(String(error)));
    }
  }
}

/** A stream that encrypts to recipients (`age1...`). Each stream has a file key of its own. */
export async function encryptTo(recipients: readonly string[]): Promise<Transform> {
  const encrypter = new Encrypter();
  for (const recipient of recipients) encrypter.addRecipient(recipient);
  let fileKey: Uint8Array | undefined;
  encrypter.addRecipient({
    wrapFileKey: (key) => {
      fileKey = Uint8Array.from(key);
      return [];
    },
  });
  const empty = Buffer.from(await encrypter.encrypt(new Uint8Array(0)));
  const length = headerLength(empty);
  if (length === undefined || fileKey === undefined) throw new AgeFormatError('the header was not made');
  return new EncryptStream(empty.subarray(0, length), fileKey);
}

/** A stream that decrypts with identities (`AGE-SECRET-KEY-1...`). Fails when none fits, and when the ciphertext was changed or cut off. */
export const decryptWith = (identities: readonly string[]): Transform => new DecryptStream(identities);
