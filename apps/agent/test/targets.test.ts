import type { StoredBackup } from '@lastgood/core';
import type { ManifestObject } from '@lastgood/protocol';
import { expect, test } from 'vitest';
import { expectedBytes, partsOf, summariesOf } from '../src/jobs/targets.ts';

const object = (role: ManifestObject['role'], database: string | null, size: number): ManifestObject => ({
  name: 'data/0001.dump.zst',
  role,
  database,
  compression: 'zstd',
  encryption: null,
  produced: { sha256: 'a'.repeat(64), size: size * 10 },
  stored: { sha256: 'b'.repeat(64), size },
});

/** A backup that holds these databases, each with the stored size of its dump. */
const backup = (sequence: number, databases: Record<string, number>, passedLevel?: 1 | 4): StoredBackup => ({
  manifest: {
    format: 1,
    checksum: 'c'.repeat(64),
    backupId: `0b8f0000-7a55-7c53-9b8e-00000000000${sequence}`,
    jobId: '0b8f0000-7a55-7c53-9b8e-0a6f4c8f9d22',
    attempt: 1,
    sequence,
    repositoryId: '0b8f0000-7a55-4c53-9b8e-0a6f4c8f9d22',
    environment: 'test',
    host: 'db-1',
    target: 'main',
    engine: 'postgres',
    kind: 'logical',
    startedAt: '2026-01-01T00:00:00Z',
    snapshotAt: '2026-01-01T00:00:00Z',
    finishedAt: '2026-01-01T00:00:00Z',
    lastgoodVersion: '0.1.0',
    tool: { name: 'pg_dump', version: '15.1' },
    server: { version: '15.1', systemId: '1' },
    objects: [
      ...Object.entries(databases).map(([name, size]) => object('dump', name, size)),
      object('globals', null, 100),
    ],
    facts: {},
    warnings: [],
  },
  manifestSha256: 'd'.repeat(64),
  verified: passedLevel === undefined ? null : { level: passedLevel, at: '2026-01-01T00:00:00Z', passed: true },
});
const MIB = 1_048_576;

test('a backup belongs to one group for each of its databases, so that another set of them starts nothing anew', () => {
  const groups = (databases: Record<string, number>) =>
    partsOf(backup(1, databases).manifest).map(({ group }) => group);
  expect(groups({ shop: 1, copy: 1 })[0]).toBe(groups({ shop: 2 })[0]);
  expect(new Set(groups({ shop: 1, copy: 1 })).size).toBe(2);
});

test('one database of many that shrank makes the backup suspect, until it was loaded into a server', () => {
  const series = [backup(1, { shop: 900 * MIB, crm: MIB }), backup(2, { shop: 900 * MIB, crm: MIB })];
  const states = (level?: 1 | 4) =>
    summariesOf([...series, backup(3, { shop: 900 * MIB, crm: 10 }, level)], 'local').map(({ state }) => state);
  expect(states()).toEqual(['good', 'good', 'suspect']);
  expect(states(1)).toEqual(['good', 'good', 'suspect']);
  expect(states(4)).toEqual(['good', 'good', 'good']);
});

test('a database that is new, or gone, does not make the others suspect', () => {
  const series = [backup(1, { shop: MIB }), backup(2, { shop: MIB, huge: 900 * MIB }), backup(3, { shop: MIB })];
  expect(summariesOf(series, 'local').map(({ state }) => state)).toEqual(['good', 'good', 'good']);
});

test('the space for a backup is judged by the last one of each database that it will hold', () => {
  const series = [backup(1, { shop: 500, huge: 9_000_000 }), backup(2, { shop: 700 })];
  expect(expectedBytes(series, ['shop'])).toBe(700);
  expect(expectedBytes(series, ['shop', 'huge', 'new'])).toBe(9_000_700);
  expect(expectedBytes([], ['shop'])).toBe(0);
});
