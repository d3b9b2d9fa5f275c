import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { deriveUuid } from '../../src/schedules/index.ts';

const DNS = '6ba7b810-9dad-11d1-80b4-00c04fd430c8';

test('derives the example of RFC 9562', () => {
  expect(deriveUuid(DNS, 'www.example.com')).toBe('2ed6657d-e927-568b-95e1-2665a8aea6a2');
});

test('equals the SHA-1 of Node for names of any length and script', () => {
  const expected = (name: string): string => {
    const digest = createHash('sha1')
      .update(Buffer.from(DNS.replaceAll('-', ''), 'hex'))
      .update(name)
      .digest();
    return digest.toString('hex');
  };
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 200 }), (name) => {
      const id = deriveUuid(DNS, name).replaceAll('-', '');
      // Version and variant replace six bits of the digest.
      const withoutMarks = (hex: string): string => hex.slice(0, 12) + hex.slice(13, 16) + hex.slice(17, 32);
      expect(withoutMarks(id)).toBe(withoutMarks(expected(name)));
      expect(id[12]).toBe('5');
      expect('89ab').toContain(id[16] ?? '');
    }),
    { numRuns: 500 },
  );
});

test('refuses a namespace that is not a UUID', () => {
  expect(() => deriveUuid('shop', 'x')).toThrow('invalid namespace: shop');
});
