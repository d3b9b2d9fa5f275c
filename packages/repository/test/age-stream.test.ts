/** The age format, against the stock `age` and against the library that our payload code stands in for. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { captureTool } from '@lastgood/host';
import { temporaryFolder } from '@lastgood/testkit';
import { Decrypter, Encrypter } from 'age-encryption';
import { expect, test } from 'vitest';
import { decryptWith, encryptTo } from '../src/pipeline/age-stream.ts';
import { createIdentity } from '../src/pipeline/keys.ts';

const CHUNK = 65_536;
const TAG = 16;
const SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 17];

const { identity, recipient } = await createIdentity();
const other = await createIdentity();

async function encrypt(bytes: Buffer, recipients = [recipient]): Promise<Buffer> {
  const cipher = await encryptTo(recipients);
  const [, encrypted] = await Promise.all([pipeline(Readable.from(pieces(bytes)), cipher), buffer(cipher)]);
  return encrypted;
}
async function decrypt(bytes: Buffer, identities = [identity]): Promise<Buffer> {
  const cipher = decryptWith(identities);
  const [, decrypted] = await Promise.all([pipeline(Readable.from(pieces(bytes)), cipher), buffer(cipher)]);
  return decrypted;
}
/** Pieces that end at no boundary of the format. */
function* pieces(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += 40_001) yield bytes.subarray(at, at + 40_001);
}

test.for(SIZES)('decrypts what it encrypted, and what the library encrypted: %i bytes', async (size) => {
  const bytes = randomBytes(size);
  expect((await decrypt(await encrypt(bytes))).equals(bytes)).toBe(true);
  const encrypter = new Encrypter();
  encrypter.addRecipient(recipient);
  expect((await decrypt(Buffer.from(await encrypter.encrypt(bytes)))).equals(bytes)).toBe(true);
});

test.for(SIZES)('the library decrypts what it encrypted: %i bytes', async (size) => {
  const bytes = randomBytes(size);
  const decrypter = new Decrypter();
  decrypter.addIdentity(identity);
  expect(Buffer.from(await decrypter.decrypt(await encrypt(bytes))).equals(bytes)).toBe(true);
});

test('each of several recipients decrypts, and nobody else does', async () => {
  const encrypted = await encrypt(Buffer.from('rows'), [recipient, other.recipient]);
  for (const each of [identity, other.identity]) expect((await decrypt(encrypted, [each])).toString()).toBe('rows');
  await expect(decrypt(encrypted, [(await createIdentity()).identity])).rejects.toThrow();
});

test('the same bytes are encrypted differently each time', async () => {
  const bytes = randomBytes(100);
  expect((await encrypt(bytes)).equals(await encrypt(bytes))).toBe(false);
});

test('B10: refuses ciphertext with a flipped bit anywhere, or cut off anywhere', async () => {
  const encrypted = await encrypt(randomBytes(2 * CHUNK + 5));
  const header = encrypted.length - (2 * CHUNK + 5 + 3 * TAG) - 16;
  for (const at of [0, header - 2, header + 3, header + 16, header + 16 + CHUNK + 3, encrypted.length - 1]) {
    const damaged = Buffer.from(encrypted);
    damaged.writeUInt8(damaged.readUInt8(at) ^ 1, at);
    await expect(decrypt(damaged), `bit at ${at}`).rejects.toThrow();
  }
  const afterChunks = [0, 1, 2].map((chunks) => header + 16 + chunks * (CHUNK + TAG));
  for (const length of [0, 10, header, ...afterChunks, encrypted.length - 1])
    await expect(decrypt(encrypted.subarray(0, length)), `cut at ${length}`).rejects.toThrow();
});

test('B10: refuses chunks in another order', async () => {
  const encrypted = await encrypt(randomBytes(3 * CHUNK));
  const start = encrypted.length - 3 * (CHUNK + TAG);
  const chunk = (index: number): Buffer =>
    encrypted.subarray(start + index * (CHUNK + TAG), start + (index + 1) * (CHUNK + TAG));
  const swapped = Buffer.concat([encrypted.subarray(0, start), chunk(1), chunk(0), chunk(2)]);
  await expect(decrypt(swapped)).rejects.toThrow();
});

const AGE = ['/usr/bin/age', '/usr/local/bin/age'].find((path) => existsSync(path)) ?? '';

test.skipIf(AGE === '')('the stock age decrypts what it encrypted, and the other way round (needs age)', async () => {
  await using folder = await temporaryFolder();
  const [key, plain, encrypted] = ['key', 'plain', 'encrypted'].map((name) => join(folder.path, name)) as [
    string,
    string,
    string,
  ];
  const run = { file: AGE, signal: new AbortController().signal, timeoutMs: 60_000 };
  await writeFile(key, `${identity}\n`, { mode: 0o600 });
  // Some versions of age create no file when there are no bytes.
  for (const size of SIZES.filter((each) => each > 0)) {
    const bytes = randomBytes(size);
    await writeFile(encrypted, await encrypt(bytes));
    await captureTool({ ...run, args: ['--decrypt', '--identity', key, '--output', plain, encrypted] });
    expect((await readFile(plain)).equals(bytes)).toBe(true);
    await captureTool({ ...run, args: ['--encrypt', '--recipient', recipient, '--output', encrypted, plain] });
    expect((await decrypt(await readFile(encrypted))).equals(bytes)).toBe(true);
  }
});
