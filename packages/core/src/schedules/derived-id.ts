import { Bug } from '../failure.ts';

const BLOCK_BYTES = 64;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));
const encoder = new TextEncoder();

const rotateLeft = (word: number, bits: number): number => (word << bits) | (word >>> (32 - bits));

/** The message with its padding: a one bit, zeros, and the length in bits at the end of the last block. */
function pad(message: Uint8Array): DataView {
  const padded = new Uint8Array(Math.ceil((message.length + 9) / BLOCK_BYTES) * BLOCK_BYTES);
  padded.set(message);
  padded[message.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(padded.length - 4, message.length * 8);
  return view;
}

/** The 80 words of one block. */
function expandBlock(view: DataView, start: number, words: Int32Array): void {
  for (let index = 0; index < 16; index += 1) words[index] = view.getInt32(start + index * 4);
  for (let index = 16; index < 80; index += 1) {
    const mixed =
      (words[index - 3] ?? 0) ^ (words[index - 8] ?? 0) ^ (words[index - 14] ?? 0) ^ (words[index - 16] ?? 0);
    words[index] = rotateLeft(mixed, 1);
  }
}

function mix(round: number, b: number, c: number, d: number): number {
  if (round < 20) return ((b & c) | (~b & d)) + 0x5a827999;
  if (round < 40) return (b ^ c ^ d) + 0x6ed9eba1;
  if (round < 60) return ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
  return (b ^ c ^ d) + 0xca62c1d6;
}

/** Adds one block to the digest. Plain variables: a fleet derives hundreds of thousands of ids at once. */
function addBlock(digest: Int32Array, words: Int32Array): void {
  let a = digest[0] ?? 0;
  let b = digest[1] ?? 0;
  let c = digest[2] ?? 0;
  let d = digest[3] ?? 0;
  let e = digest[4] ?? 0;
  for (let round = 0; round < 80; round += 1) {
    const next = (rotateLeft(a, 5) + mix(round, b, c, d) + e + (words[round] ?? 0)) | 0;
    e = d;
    d = c;
    c = rotateLeft(b, 30);
    b = a;
    a = next;
  }
  // An Int32Array keeps the sums within 32 bits.
  digest[0] = (digest[0] ?? 0) + a;
  digest[1] = (digest[1] ?? 0) + b;
  digest[2] = (digest[2] ?? 0) + c;
  digest[3] = (digest[3] ?? 0) + d;
  digest[4] = (digest[4] ?? 0) + e;
}

/** SHA-1 in plain code, because this package uses no `node:` module. It only derives ids and protects nothing. */
function sha1(message: Uint8Array): Int32Array {
  const view = pad(message);
  const digest = Int32Array.of(0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0);
  const words = new Int32Array(80);
  for (let start = 0; start < view.byteLength; start += BLOCK_BYTES) {
    expandBlock(view, start, words);
    addBlock(digest, words);
  }
  return digest;
}

/** The 16 bytes of the namespace, before the bytes of the name. */
function concatenate(namespace: string, name: string): Uint8Array {
  const text = encoder.encode(name);
  const message = new Uint8Array(16 + text.length);
  const hex = namespace.replaceAll('-', '');
  for (let index = 0; index < 16; index += 1) message[index] = Number.parseInt(hex.slice(index * 2, index * 2 + 2), 16);
  message.set(text, 16);
  return message;
}

/**
 * The UUID version 5 (RFC 9562) of a name within a namespace, which is a lower-case UUID. Equal inputs give equal ids on every
 * machine, so both sides of a connection know the id of a thing that neither has sent.
 */
export function deriveUuid(namespace: string, name: string): string {
  if (!UUID.test(namespace)) throw new Bug(`invalid namespace: ${namespace}`);
  const digest = sha1(concatenate(namespace, name));
  digest[1] = ((digest[1] ?? 0) & 0xffff0fff) | 0x5000;
  digest[2] = ((digest[2] ?? 0) & 0x3fffffff) | 0x80000000;
  let hex = '';
  for (let index = 0; index < 16; index += 1) {
    const byte = ((digest[index >> 2] ?? 0) >>> (24 - 8 * (index & 3))) & 0xff;
    hex += HEX[byte];
    if (index === 3 || index === 5 || index === 7 || index === 9) hex += '-';
  }
  return hex;
}
