import { Bug } from '../failure.ts';

const BLOCK_BYTES = 64;

const rotateLeft = (word: number, bits: number): number => (word << bits) | (word >>> (32 - bits));

/** The message with its padding: a one bit, zeros, and the length in bits at the end of the last block. */
function pad(message: Uint8Array): DataView {
  const blocks = Math.ceil((message.length + 9) / BLOCK_BYTES);
  const padded = new Uint8Array(blocks * BLOCK_BYTES);
  padded.set(message);
  padded[message.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setBigUint64(padded.length - 8, BigInt(message.length) * 8n);
  return view;
}

/** The 80 words of one block. */
function expandBlock(view: DataView, start: number): Int32Array {
  const words = new Int32Array(80);
  for (let index = 0; index < 16; index += 1) words[index] = view.getInt32(start + index * 4);
  const at = (index: number): number => words[index] ?? 0;
  for (let index = 16; index < 80; index += 1)
    words[index] = rotateLeft(at(index - 3) ^ at(index - 8) ^ at(index - 14) ^ at(index - 16), 1);
  return words;
}

function mix(round: number, b: number, c: number, d: number): number {
  if (round < 20) return ((b & c) | (~b & d)) + 0x5a827999;
  if (round < 40) return (b ^ c ^ d) + 0x6ed9eba1;
  if (round < 60) return ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
  return (b ^ c ^ d) + 0xca62c1d6;
}

/** SHA-1 in plain code, because this package uses no `node:` module. It only derives ids and protects nothing. */
function sha1(message: Uint8Array): Uint8Array {
  const view = pad(message);
  let [h0, h1, h2, h3, h4] = [0x67452301, 0xefcdab89 | 0, 0x98badcfe | 0, 0x10325476, 0xc3d2e1f0 | 0];
  for (let start = 0; start < view.byteLength; start += BLOCK_BYTES) {
    const words = expandBlock(view, start);
    let [a, b, c, d, e] = [h0, h1, h2, h3, h4];
    for (let round = 0; round < 80; round += 1) {
      const next = (rotateLeft(a, 5) + mix(round, b, c, d) + e + (words[round] ?? 0)) | 0;
      [e, d, c, b, a] = [d, c, rotateLeft(b, 30), a, next];
    }
    [h0, h1, h2, h3, h4] = [(h0 + a) | 0, (h1 + b) | 0, (h2 + c) | 0, (h3 + d) | 0, (h4 + e) | 0];
  }
  const digest = new DataView(new ArrayBuffer(20));
  for (const [index, word] of [h0, h1, h2, h3, h4].entries()) digest.setInt32(index * 4, word);
  return new Uint8Array(digest.buffer);
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

const toHex = (bytes: Uint8Array): string => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');

/**
 * The UUID version 5 (RFC 9562) of a name within a namespace, which is a lower-case UUID. Equal inputs give equal ids on every
 * machine, so both sides of a connection know the id of a thing that neither has sent.
 */
export function deriveUuid(namespace: string, name: string): string {
  if (!UUID.test(namespace)) throw new Bug(`invalid namespace: ${namespace}`);
  const prefix = Uint8Array.from(namespace.replaceAll('-', '').match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
  const digest = sha1(Uint8Array.of(...prefix, ...new TextEncoder().encode(name))).slice(0, 16);
  digest[6] = ((digest[6] ?? 0) & 0x0f) | 0x50;
  digest[8] = ((digest[8] ?? 0) & 0x3f) | 0x80;
  const hex = toHex(digest);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
