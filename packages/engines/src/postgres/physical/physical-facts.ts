import { Failure } from '@lastgood/core';
import type { Manifest } from '@lastgood/protocol';
import { z } from 'zod';
import type { BackupRecord } from '../point-in-time/target.ts';
import { parseInstant } from '../wal/instant.ts';
import { isLsn, parseLsn } from '../wal/lsn.ts';

const lsn = z.string().refine(isLsn);

/** What a physical backup needs of the server it was taken from; stored as `engineFacts` of its manifest. */
export const physicalFactsSchema = z.object({
  timeline: z.int().min(1),
  startLsn: lsn,
  endLsn: lsn,
  /** The clock of the server after the end of the backup, in microseconds. */
  finishedAt: z.string(),
  majorVersion: z.int(),
  segmentBytes: z.int(),
  blockBytes: z.int(),
  hasChecksums: z.boolean(),
  checkedPages: z.int(),
  standby: z.boolean(),
  /** The first superuser of the cluster, by which a started copy is read. */
  superuser: z.string(),
  /** In the order of the objects with role `archive`. */
  tablespaces: z.array(z.object({ oid: z.string().nullable(), location: z.string().nullable(), object: z.string() })),
  settings: z.object({
    max_connections: z.int(),
    max_worker_processes: z.int(),
    max_wal_senders: z.int(),
    max_prepared_transactions: z.int(),
    max_locks_per_transaction: z.int(),
  }),
});
export type PhysicalFacts = z.infer<typeof physicalFactsSchema>;

/** Reads the facts of a physical backup. Throws MANIFEST_INVALID. */
export function physicalFactsOf({ backupId, engineFacts }: Manifest): PhysicalFacts {
  const parsed = physicalFactsSchema.safeParse(engineFacts);
  if (parsed.success) return parsed.data;
  throw new Failure('MANIFEST_INVALID', `the engine facts of backup ${backupId} are not those of a physical backup`, {
    cause: parsed.error,
  });
}

/** A physical backup as recovery is planned with it. Throws MANIFEST_INVALID. */
export function backupRecordOf(manifest: Manifest): BackupRecord {
  const { timeline, startLsn, endLsn, finishedAt } = physicalFactsOf(manifest);
  const instant = parseInstant(finishedAt);
  if (instant.kind !== 'instant')
    throw new Failure('MANIFEST_INVALID', `backup ${manifest.backupId} has no valid time of its end`);
  return {
    id: manifest.backupId,
    timeline,
    startLsn: parseLsn(startLsn),
    endLsn: parseLsn(endLsn),
    finishedAt: instant.instant,
  };
}
