import { Failure } from '@lastgood/core';
import { aManifest } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { canonicalJson } from '../src/format/canonical-json.ts';
import { parseManifest, sealManifest } from '../src/format/manifest.ts';
import { sha256 } from '../src/format/metadata.ts';

const { checksum: _checksum, ...content } = aManifest({ shop: 100, crm: 200 });
const { backupId, repositoryId, environment, host, target } = content;
const expected = { backupId, repositoryId, environment, host, target };
const understood = [{ engine: 'postgres', method: 'logical', roles: ['dump', 'globals'] }];

/** A manifest with other content and the checksum that belongs to it, as another version writes it. */
const sealed = (more: object): string => {
  const changed = { ...content, ...more };
  return JSON.stringify({ ...changed, checksum: sha256(canonicalJson(changed)) });
};
const parse = (text: string) => parseManifest(text, expected, understood);
const unknownPart = (text: string): unknown => {
  const { restorable } = parse(text);
  return restorable.ok ? 'restorable' : [restorable.reason.code, restorable.reason.params];
};
const codeOf = (text: string): string => {
  try {
    parse(text);
    return 'accepted';
  } catch (error) {
    return error instanceof Failure ? error.code : String(error);
  }
};
const [first, ...others] = content.objects;

test('reads back what it wrote, and can restore it', () => {
  const { text, manifest } = sealManifest(content, undefined);
  expect(parse(text)).toEqual({ manifest, restorable: { ok: true } });
});

for (const [what, more, part, name] of [
  ['an unknown engine', { engine: 'redis' }, 'engine', 'redis'],
  ['an unknown method', { method: 'physical' }, 'method', 'physical'],
  ['an unknown role', { objects: [{ ...first, role: 'wal' }, ...others] }, 'role', 'wal'],
  ['an unknown compression', { objects: [{ ...first, compression: 'lz4' }, ...others] }, 'compression', 'lz4'],
  [
    'an unknown encryption',
    { objects: [{ ...first, encryption: { format: 'gpg', recipients: ['A1B2'] } }, ...others] },
    'encryption',
    'gpg',
  ],
  ['an unknown key', { shards: 3 }, 'key', 'shards'],
  ['an unknown key of an object', { objects: [{ ...first, offset: 1 }, ...others] }, 'key', 'objects.0.offset'],
  ['a signature of an unknown kind', { keyId: 'x', signature: 'x' }, 'key', 'keyId'],
  [
    'an encrypted object',
    { objects: [{ ...first, encryption: { format: 'age', recipients: ['age1'] } }, ...others] },
    null,
    null,
  ],
  ['encryption of the backup without recipients', { encryption: { format: 'age' } }, 'key', 'encryption'],
  ['a name of an object that this version does not make', { objects: [{ ...first, name: 'data/base/1' }] }, null, null],
] as const)
  test(`B12: a manifest with ${what} is read, and ${part === null ? 'can be restored' : 'cannot be restored here'}`, () => {
    const text = sealed(more);
    expect(unknownPart(text)).toEqual(part === null ? 'restorable' : ['NEWER_FORMAT', { part, name }]);
    expect(parse(text).manifest.backupId).toBe(backupId);
  });

test('a manifest of a later format is read as far as it is understood, and cannot be restored here', () => {
  const where = { format: 2, ...expected };
  expect(unknownPart(JSON.stringify(where))).toEqual(['NEWER_FORMAT', { part: 'format', name: '2' }]);
  const { manifest } = parse(JSON.stringify({ ...where, sequence: 7, engine: 'mysql', objects: 'elsewhere' }));
  expect(manifest).toMatchObject({ format: 2, backupId, sequence: 7, engine: 'mysql', method: 'unknown', objects: [] });
  expect(Date.parse(manifest.finishedAt)).not.toBeNaN();
  // Where it belongs is the same in every format.
  expect(codeOf(JSON.stringify({ ...where, host: 'elsewhere' }))).toBe('MANIFEST_INVALID');
});

for (const [what, text] of [
  ['no JSON', '{'],
  ['a list', '[]'],
  ['without a format', JSON.stringify({ ...content, format: undefined })],
  ['of format 0', sealed({ format: 0 })],
  ['of format 1.5', sealed({ format: 1.5 })],
  ['without a checksum', JSON.stringify(content)],
  ['with the checksum of another', JSON.stringify({ ...content, checksum: sha256('') })],
  ['of another host', sealed({ host: 'db-2' })],
  ['of another repository', sealed({ repositoryId: backupId })],
  ['without objects', sealed({ objects: [] })],
  ['with the same object twice', sealed({ objects: [first, first] })],
  ['with an object outside of its folder', sealed({ objects: [{ ...first, name: 'data/../../owner.json' }] })],
  ['with an absolute object', sealed({ objects: [{ ...first, name: '/etc/passwd' }] })],
  ['without a recovery point', sealed({ recoveryPoint: undefined })],
] as const)
  test(`B12: a manifest ${what} is invalid`, () => {
    expect(codeOf(text)).toBe('MANIFEST_INVALID');
  });
