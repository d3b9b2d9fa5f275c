import { randomUUID } from 'node:crypto';
import type { StoredBackup } from '@lastgood/core';
import type { BackupContent, BackupSummary, Manifest } from '@lastgood/protocol';

/** Databases with these names, each one byte large. */
export const someDatabases = (...names: readonly string[]): BackupContent[] =>
  names.map((name) => ({ kind: 'database', name, bytes: 1 }));

const AT = '2026-01-15T12:00:00Z';

/** The summary of a good, never verified backup of target and database `shop`, as an agent reports it. */
export const aBackupSummary = (more: Partial<BackupSummary> = {}): BackupSummary => ({
  backupId: randomUUID(),
  target: 'shop',
  repository: 'local',
  copies: [],
  engine: 'postgres',
  method: 'logical',
  sequence: 1,
  jobId: randomUUID(),
  startedAt: AT,
  recoveryPoint: AT,
  finishedAt: '2026-01-15T12:00:01Z',
  contents: someDatabases('shop'),
  dependsOn: [],
  restoreUnit: 'database',
  restorable: { ok: true },
  producedBytes: 1,
  storedBytes: 1,
  manifestSha256: '0'.repeat(64),
  state: 'good',
  verified: null,
  hold: null,
  warnings: [],
  ...more,
});

/** A manifest of databases with these sizes. Each is stored at a tenth of its size. */
export function aManifest(databases: Readonly<Record<string, number>>, more: Partial<Manifest> = {}): Manifest {
  const object = (index: number, role: string, contents: string | null, size: number) => ({
    name: `data/${String(index).padStart(4, '0')}.dump.zst`,
    role,
    contents,
    compression: 'zstd',
    encryption: null,
    produced: { sha256: 'a'.repeat(64), size },
    stored: { sha256: 'b'.repeat(64), size: Math.ceil(size / 10) },
  });
  const entries = Object.entries(databases);
  return {
    format: 1,
    backupId: randomUUID(),
    jobId: randomUUID(),
    attempt: 1,
    sequence: 1,
    repositoryId: '0b8f0000-7a55-4c53-9b8e-0a6f4c8f9d22',
    environment: 'test',
    host: 'db-1',
    target: 'shop',
    engine: 'postgres',
    method: 'logical',
    startedAt: AT,
    recoveryPoint: AT,
    finishedAt: AT,
    lastgoodVersion: '0.1.0',
    tool: { name: 'pg_dump', version: '15.1' },
    server: { version: '15.1', systemId: '1' },
    objects: [
      ...entries.map(([name, size], index) => object(index + 1, 'dump', name, size)),
      object(entries.length + 1, 'globals', null, 1_000),
    ],
    contents: entries.map(([name, bytes]) => ({ kind: 'database', name, bytes })),
    dependsOn: [],
    logRange: null,
    encryption: null,
    keyId: null,
    signature: null,
    engineFacts: {},
    warnings: [],
    checksum: 'c'.repeat(64),
    ...more,
  };
}

/** A restorable, never verified backup, as a repository lists it. */
export const aStoredBackup = (manifest: Manifest, more: Partial<StoredBackup> = {}): StoredBackup => ({
  manifest,
  manifestSha256: 'd'.repeat(64),
  verified: null,
  held: null,
  restorable: { ok: true },
  ...more,
});
